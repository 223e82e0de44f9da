"""NAME=VALUE words of the command line to arrays: from .npy and .npz files, JSON, or random numbers."""

from __future__ import annotations

import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from mlc.errors import ArtifactError
from mlc.ir.types import BOOL, DTYPES, DType, TensorType

if TYPE_CHECKING:
    from mlc.ir.graph import Graph
    from mlc.ir.plan import PlanInput, PlanOutput

Array = npt.NDArray[Any]


def by_name(words: tuple[str, ...], option: str) -> dict[str, str]:
    """What each NAME of NAME=VALUE words is; a name counts once."""
    pairs = [_split(word, option) for word in words]
    for i, (name, _) in enumerate(pairs):
        if name in (earlier for earlier, _ in pairs[:i]):
            raise click.UsageError(f"{option}: {name} is given twice")
    return dict(pairs)


def _split(text: str, option: str) -> tuple[str, str]:
    """NAME=VALUE; the name may hold brackets and quotes, so the first = counts."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        form = "NAME=NUMBER" if option == "--size" else "NAME=@FILE or NAME=JSON"
        raise click.UsageError(f"{option} {text}: it is {form}")
    return name, value


Leaf = dict[str, Any]  # name, dtype and shape of an input, as in a manifest: sizes are numbers or text


def leaves_of(
    inputs: Sequence[Leaf],
    feeds: Mapping[str, str],
    seed: int | None = None,
    sizes: Mapping[str, int] | None = None,
) -> list[Array]:
    """The arrays to run on, in order, of the dtypes that the function takes.

    Where a ``seed`` is given, inputs that are not fed are filled with random numbers, of the symbolic ``sizes`` where
    fed arrays do not say them. Raises UsageError for names that are not there or missing.
    """
    names = [i["name"] for i in inputs]
    unknown = [n for n in feeds if n not in names]
    missing = [n for n in names if n not in feeds]
    if unknown or (missing and seed is None):
        what = f"there is no input {unknown[0]!r}" if unknown else f"the input {missing[0]!r} is missing"
        raise click.UsageError(f"--feed: {what}; the inputs are {', '.join(names)}")
    found: dict[int, Array] = {}
    for i, leaf in enumerate(inputs):
        if leaf["name"] in feeds:
            found[i] = _cast(value_of(feeds[leaf["name"]], leaf["name"]), DTYPES[leaf["dtype"]], leaf)
    bound = dict(sizes or {})
    for i, array in found.items():
        if array.ndim == len(inputs[i]["shape"]):
            bound.update(
                (n, have) for n, have in zip(inputs[i]["shape"], array.shape, strict=True) if isinstance(n, str)
            )
    rng = np.random.default_rng(seed)
    return [found[i] if i in found else random_array(rng, leaf, bound) for i, leaf in enumerate(inputs)]


def leaves_of_graph(graph: Graph) -> list[Leaf]:
    """The parameters of a graph as inputs: those without a name are in0, in1, ..."""
    return [
        {"name": p["name"] or f"in{i}", "dtype": p.tensor.dtype.name, "shape": _shape_words(p.tensor)}
        for i, p in enumerate(graph.parameters)
    ]


def leaves_of_plan(values: Sequence[PlanInput | PlanOutput]) -> list[Leaf]:
    return [{"name": v.name, "dtype": v.type.dtype.name, "shape": _shape_words(v.type)} for v in values]


def _shape_words(tensor: TensorType) -> list[int | str]:
    return [n if isinstance(n, int) else str(n) for n in tensor.shape]


def typical_sizes(symbols: Iterable[tuple[str, int, int]], chosen: Sequence[str] = ()) -> dict[str, int]:
    """A value for every (name, lower, upper): what ``NAME=N`` words say, else 32 or the bound that is nearest."""
    found = {name: min(max(lower, 32), upper) for name, lower, upper in symbols}
    for name, text in by_name(tuple(chosen), "--size").items():
        if name not in found or not text.isdigit():
            raise click.UsageError(f"--size {name}={text}: it is NAME=NUMBER, of {', '.join(found) or 'no sizes'}")
        found[name] = int(text)
    return found


def random_array(rng: np.random.Generator, leaf: Leaf, sizes: Mapping[str, int]) -> Array:
    """Normal floats, integers below 8 (labels, indices), truth values."""
    dtype = DTYPES[leaf["dtype"]]
    shape = tuple(n if isinstance(n, int) else _size(n, sizes) for n in leaf["shape"])
    if dtype.is_float:
        return rng.standard_normal(shape).astype(dtype.numpy)
    return rng.integers(0, 2 if dtype == BOOL else 8, shape).astype(dtype.numpy)


def _size(text: str, sizes: Mapping[str, int]) -> int:
    """The value of a size as it is printed: a sum of products."""
    total = 0
    for sign, term in re.findall(r"([+-]?)([^+-]+)", text):
        factors = [int(f) if f.isdigit() else sizes.get(f) for f in term.split("*")]
        if None in factors:
            raise click.UsageError(f"the size {text} is open: feed an array that has it, or say --size NAME=N")
        total += (-1 if sign == "-" else 1) * math.prod(f for f in factors if f is not None)
    return total


def _cast(array: Array, dtype: DType, leaf: Leaf) -> Array:
    """`array` as `dtype` where NumPy calls that safe within the kind (f64 text as f32); UsageError elsewhere."""
    if dtype.name == "bf16" and array.dtype == np.uint16:
        return array.view(dtype.numpy)
    if array.dtype == dtype.numpy:
        return np.asarray(array, order="C")
    if not np.can_cast(array.dtype, dtype.numpy, "same_kind"):
        raise click.UsageError(f"--feed {leaf['name']}: it takes {leaf['dtype']}, got {array.dtype}")
    return np.asarray(array.astype(dtype.numpy), order="C")


def value_of(text: str, name: str) -> Array:
    """The array of @file.npy, @file.npz (the array `name`, or its only one), or of JSON."""
    if not text.startswith("@"):
        try:
            return np.asarray(_with_floats(json.loads(text)))
        except ValueError as error:
            raise click.UsageError(f"{name}={text[:40]}: not JSON ({error}); a file is @FILE") from error
    path = Path(text[1:])
    if not path.is_file():
        raise click.UsageError(f"{name}=@{path}: there is no file {path}")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        key = name if name in loaded else loaded.files[0] if len(loaded.files) == 1 else None
        if key is None:
            raise click.UsageError(f"{path} has no array {name!r}; it has {', '.join(loaded.files)}")
        array: Array = loaded[key]
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"cannot read {path} for {name}: {error}") from error
    return array


def _with_floats(value: Any) -> Any:
    """`value` of JSON with the words that JSON has instead of a NaN or an infinity as floats."""
    if isinstance(value, list):
        return [_with_floats(element) for element in value]
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
