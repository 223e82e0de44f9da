"""Runs one function of an artifact, or a dumped stage, on arrays from files, for `mlc run`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from mlc.cli.feeds import by_name, leaves_of, typical_sizes, value_of
from mlc.cli.output import check_writable, print_json
from mlc.errors import ArgumentError, DTypeError, ShapeError

if TYPE_CHECKING:
    from mlc.artifact.loading import ArtifactFunction
    from mlc.cli.stage import StageFunction

Array = npt.NDArray[Any]


@click.command("run")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--feed", "feeds", multiple=True, metavar="NAME=VALUE", help="An input: @file.npy, @file.npz or JSON.")
@click.option("--function", "function_name", help="The function to run (default: the only one).")
@click.option("--fetch", "fetches", multiple=True, metavar="NAME", help="An output to keep (default: all).")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A .npz or .npy file to write.")
@click.option("--expect", "expects", multiple=True, metavar="NAME=VALUE", help="Exit 4 unless the output is this.")
@click.option("--rtol", default=1e-5, show_default=True, help="Relative tolerance of --expect.")
@click.option("--atol", default=1e-6, show_default=True, help="Absolute tolerance of --expect.")
@click.option("--check-nan", is_flag=True, help="Exit 4 where an output holds a NaN.")
@click.option("--threads", type=click.IntRange(1), help="How many threads.")
@click.option("--target", help="x86-64-v3 or x86-64-v4 instead of the best for this CPU.")
@click.option("--device", metavar="NAME", help="gpu:0: run on that GPU.")
@click.option("--random", "seed", type=int, metavar="SEED", help="Fill inputs that are not fed with random numbers.")
@click.option("--size", "sizes", multiple=True, metavar="NAME=N", help="A symbolic size of what --random fills.")
@click.option(
    "--interpret", is_flag=True, help="Evaluate a graph with NumPy, or interpret kernels: nothing is compiled."
)
@click.option("--json", "as_json", is_flag=True, help="Print the outputs as JSON.")
def run_artifact(
    path: Path,
    feeds: tuple[str, ...],
    function_name: str | None,
    fetches: tuple[str, ...],
    output: Path | None,
    expects: tuple[str, ...],
    rtol: float,
    atol: float,
    check_nan: bool,
    threads: int | None,
    target: str | None,
    device: str | None,
    seed: int | None,
    sizes: tuple[str, ...],
    interpret: bool,
    as_json: bool,
) -> int:
    """Run one function of the artifact PATH, or the graph or kernels of the stage PATH."""
    if output is not None and output.suffix not in (".npz", ".npy"):
        raise click.UsageError(f"{output}: outputs are written as .npz or .npy")
    if output is not None:
        check_writable(output)
    function = _opened(path, function_name, target, interpret, device)
    if threads is not None:
        from mlc.runtime import set_num_threads

        set_num_threads(threads)
    leaves = leaves_of(function.inputs, by_name(feeds, "--feed"), seed, typical_sizes(function.symbols, sizes))
    try:
        results = function.run_flat(leaves)
    except (ArgumentError, ShapeError, DTypeError) as error:  # of what was fed: the function itself was compiled
        raise click.UsageError(f"--feed: {error}") from error
    outputs = {o["name"]: np.asarray(r) for o, r in zip(function.outputs, results, strict=True)}
    kept = {name: _named(outputs, name, "--fetch") for name in fetches} or outputs
    if output is not None:
        _write(output, kept)
    if as_json:
        print_json({n: {"shape": list(a.shape), "dtype": a.dtype.name, "data": _plain(a)} for n, a in kept.items()})
    elif output is None:
        for name, array in kept.items():
            click.echo(f"{name} = {np.array2string(array, threshold=64, precision=6)}")
    wanted = {name: _numeric(value_of(text, name), name) for name, text in by_name(expects, "--expect").items()}
    failures = [_mismatch(n, _named(outputs, n, "--expect"), want, rtol, atol) for n, want in wanted.items()]
    if check_nan:
        failures += [_nan(name, array) for name, array in outputs.items()]
    for failure in filter(None, failures):
        click.echo(f"error: {failure}", err=True)
    return 4 if any(failures) else 0


def _opened(
    path: Path, name: str | None, target: str | None, interpret: bool, device: str | None
) -> ArtifactFunction | StageFunction:
    """What is to be run: the stage in ``path``, or the function ``name`` of the artifact."""
    from mlc.cli.stage import STAGES, open_stage

    if path.suffix in STAGES:
        if device is not None:
            raise click.UsageError("--device goes with an artifact or a program")
        return open_stage(path, target, interpret)
    if interpret:
        raise click.UsageError(f"--interpret goes with a stage ({', '.join(STAGES)})")
    from mlc.artifact.loading import open_artifact

    return _chosen(open_artifact(path, target=target, device=device).functions, name)


def _chosen(functions: Mapping[str, ArtifactFunction], name: str | None) -> ArtifactFunction:
    """The function `name`, or the only one."""
    if name is not None:
        if name not in functions:
            raise click.UsageError(f"no function {name!r}; there are {', '.join(functions)}")
        return functions[name]
    if len(functions) != 1:
        raise click.UsageError(f"--function is missing; the artifact has {', '.join(functions)}")
    return next(iter(functions.values()))


def _numeric(array: Array, name: str) -> Array:
    if array.dtype.kind not in "biuf":
        raise ArgumentError(f"--expect {name}: it holds {array.dtype}, not numbers")
    return array


def _named(outputs: dict[str, Array], name: str, option: str) -> Array:
    if name not in outputs:
        raise click.UsageError(f"{option}: there is no output {name!r}; the outputs are {', '.join(outputs)}")
    return outputs[name]


def _write(path: Path, outputs: dict[str, Array]) -> None:
    from mlc.artifact.package import replace_file

    plain = {name: _portable(array) for name, array in outputs.items()}
    content = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(content, **plain)  # type: ignore[arg-type]  # NumPy types its option allow_pickle among the arrays
    elif len(plain) == 1:
        np.save(content, next(iter(plain.values())))
    else:
        raise click.UsageError(f"{path} takes one output; choose it with --fetch, or write .npz")
    if path.exists() and not path.is_file():  # a device, a pipe
        path.write_bytes(content.getbuffer())
    else:
        replace_file(path.resolve(), content.getbuffer())


def _portable(array: Array) -> Array:
    """bf16 as f32: a .npy file has no name for it."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _plain(array: Array) -> Any:
    """Nested lists that every JSON parser reads: what is not finite is a word, as --feed takes it too."""
    plain = _portable(array)
    if plain.dtype.kind == "f" and not np.isfinite(plain).all():
        words = plain.astype(object)
        words[np.isnan(plain)] = "NaN"
        words[plain == np.inf] = "Infinity"
        words[plain == -np.inf] = "-Infinity"
        return words.tolist()
    return plain.tolist()


def _mismatch(name: str, got: Array, want: Array, rtol: float, atol: float) -> str | None:
    """What differs, in words; NaN equals NaN."""
    if got.shape != want.shape:
        return f"{name}: its shape is {list(got.shape)}, expected {list(want.shape)}"
    a, b = _portable(got).astype(np.float64), want.astype(np.float64)
    good = np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if good.all():
        return None
    first = tuple(int(i) for i in np.argwhere(~good)[0])
    bad = int((~good).sum())
    return f"{name}: {bad} of {got.size} elements differ; at {list(first)} it is {a[first]}, expected {b[first]}"


def _nan(name: str, array: Array) -> str | None:
    bad = np.isnan(_portable(array)) if _portable(array).dtype.kind == "f" else np.zeros(0, bool)
    return f"{name}: {int(bad.sum())} of {array.size} elements are NaN" if bad.any() else None
