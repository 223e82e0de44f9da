"""The weights of a library: one table of constants for all its functions, and the two forms in which they travel.

Embedded they are one block of bytes that the assembler includes; beside the library they are a safetensors file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mlc.artifact.names import distinct
from mlc.errors import ArtifactError
from mlc.ir.types import DTYPES, DType, TensorType, dtype_of

ALIGNMENT = 64  # of every constant in memory, as the runtime wants it
_HEADER_LIMIT = 100 << 20  # safetensors' own

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Weight:
    """One constant of the library's table."""

    name: str
    array: Array

    @property
    def type(self) -> TensorType:
        return TensorType(self.array.shape, dtype_of(self.array.dtype))


def collect(functions: Sequence[Sequence[tuple[str, Array]]]) -> tuple[list[Weight], list[list[int]]]:
    """One table without repeats from the (name, array) lists of all functions, and each function's places in it."""
    names: list[str] = []
    arrays: list[Array] = []
    places: dict[tuple[str, tuple[int, ...], bytes], int] = {}
    tables = []
    for constants in functions:
        table = []
        for name, array in constants:
            array = np.asarray(array, order="C")
            key = (dtype_of(array.dtype).name, array.shape, hashlib.sha256(_bytes(array)).digest())
            if key not in places:
                places[key] = len(arrays)
                names.append(name)
                arrays.append(array)
            table.append(places[key])
        tables.append(table)
    return [Weight(n, a) for n, a in zip(distinct(names), arrays, strict=True)], tables


def write_block(weights: Sequence[Weight], path: Path) -> list[int]:
    """Write all data to one file, each constant aligned; gives their offsets."""
    offsets = []
    with path.open("wb") as file:
        for weight in weights:
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            offsets.append(file.tell())
            file.write(_bytes(weight.array))
    return offsets


def write_safetensors(weights: Sequence[Weight], file: BinaryIO, metadata: Mapping[str, str] | None = None) -> None:
    """Write the weights as safetensors. Its tensors leave no gaps: those that keep the next one aligned come first."""
    ordered = sorted(weights, key=lambda w: w.array.nbytes % ALIGNMENT != 0)
    entries, offset = {}, 0
    for weight in ordered:
        end = offset + weight.array.nbytes
        dtype = _safetensors_name(weight.type.dtype)
        entries[weight.name] = {"dtype": dtype, "shape": list(weight.array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(
        {"__metadata__": {"format": "mlc", **(metadata or {})}, **entries}, separators=(",", ":")
    ).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    file.write(len(text).to_bytes(8, "little") + text)
    for weight in ordered:
        file.write(_bytes(weight.array))


def read_safetensors(data: memoryview, expected: Mapping[str, tuple[DType, tuple[int, ...]]]) -> dict[str, Array]:
    """The expected tensors in `data`, aligned: views where they lie so, else copies.

    Raises ArtifactError for damage and for tensors that are missing or of another type.
    """
    header, start = _header(data)
    found = {}
    for name, (dtype, shape) in expected.items():
        entry = header.get(name)
        if not isinstance(entry, dict):
            raise ArtifactError(f"weights: {name!r} is missing")
        begin, end = _offsets(entry, name, len(data) - start)
        count = int(np.prod(shape, dtype=object)) if shape else 1
        good = entry.get("dtype") == _safetensors_name(dtype) and entry.get("shape") == list(shape)
        if not good or end - begin != count * dtype.itemsize:
            raise ArtifactError(f"weights: {name!r} is not {TensorType(shape, dtype)}")
        raw = np.frombuffer(data, np.uint8, end - begin, start + begin)
        found[name] = _aligned(raw).view(dtype.numpy).reshape(shape)
    return found


def read_all(data: memoryview) -> dict[str, Array]:
    """Every tensor in `data` by its name. Raises ArtifactError for damage and for element types that mlc has not."""
    types = {_safetensors_name(t): t for t in DTYPES.values()}
    expected = {}
    for name, entry in _header(data)[0].items():
        if name == "__metadata__":
            continue
        dtype, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
        if dtype not in types or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise ArtifactError(f"weights: {name!r} has no type that mlc knows")
        expected[name] = (types[dtype], tuple(shape))
    return read_safetensors(data, expected)


def read_metadata(data: memoryview) -> dict[str, str]:
    """What was written besides the tensors. Raises ArtifactError for damage."""
    found = _header(data)[0].get("__metadata__")
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def _bytes(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _aligned(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """`raw`, or a copy of it that begins at a multiple of the alignment."""
    if raw.ctypes.data % ALIGNMENT == 0:
        return raw
    space = np.empty(raw.size + ALIGNMENT, np.uint8)
    begin = -space.ctypes.data % ALIGNMENT
    copy = space[begin : begin + raw.size]
    copy[:] = raw
    copy.flags.writeable = False
    return copy


def _header(data: memoryview) -> tuple[dict[str, Any], int]:
    if len(data) < 8:
        raise ArtifactError("weights: the file is cut off")
    size = int.from_bytes(data[:8], "little")
    if size > min(len(data) - 8, _HEADER_LIMIT):
        raise ArtifactError("weights: the header is longer than the file")
    try:
        header = json.loads(bytes(data[8 : 8 + size]))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"weights: the header is damaged: {error}") from error
    if not isinstance(header, dict):
        raise ArtifactError("weights: the header is no table")
    return header, 8 + size


def _offsets(entry: dict[str, Any], name: str, limit: int) -> tuple[int, int]:
    offsets = entry.get("data_offsets")
    if isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int for n in offsets):
        begin, end = offsets
        if 0 <= begin <= end <= limit:
            return begin, end
    raise ArtifactError(f"weights: {name!r} lies outside the file")


def _safetensors_name(dtype: DType) -> str:
    """bool is BOOL, every other type its name in capitals."""
    assert dtype.name in DTYPES
    return dtype.name.upper()
