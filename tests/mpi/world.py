"""The C table of a world, called from Python with NumPy arrays as buffers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cffi import FFI

from mlc.ir.types import DTYPES
from mlc.runtime import header
from mlc.runtime._rt import ffi as runtime_ffi
from mlc.runtime._rt import lib

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "collective_broadcast")
REDUCTIONS = ("add", "multiply", "maximum", "minimum", "and", "or", "xor")
Array = npt.NDArray[Any]


def _declarations() -> str:
    """runtime/collective.h without its preprocessor lines and inclusions."""
    text = (header().parent / "collective.h").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return "struct mlc_error { char *text; size_t size; };\n" + "\n".join(lines)


ffi = FFI()
ffi.cdef(_declarations())


class WorldError(Exception):
    """A function of the world failed: its negative errno value and its text."""

    def __init__(self, code: int, text: str):
        super().__init__(text)
        self.code = code


class World:
    """An open world; `libraries` is the folder where MPI is looked for first."""

    def __init__(self, libraries: Path | None = Path(sys.prefix) / "lib"):
        out = runtime_ffi.new("struct mlc_world **")
        text = runtime_ffi.new("char[4096]")
        folder = runtime_ffi.NULL if libraries is None else runtime_ffi.new("char[]", str(libraries).encode())
        status = lib.mlc_mpi_open(folder, out, text, len(text))
        if status:
            raise WorldError(status, runtime_ffi.string(text).decode())
        self._opened = out[0]
        self._table = ffi.cast("struct mlc_world *", int(runtime_ffi.cast("uintptr_t", out[0])))
        self.rank: int = lib.mlc_world_rank(out[0])
        self.size: int = lib.mlc_world_size(out[0])
        self._text = ffi.new("char[4096]")
        self._error = ffi.new("struct mlc_error *", {"text": self._text, "size": len(self._text)})
        self._alive: dict[int, list[Any]] = {}

    def start(
        self,
        slot: int,
        kind: str,
        source: Array,
        destination: Array,
        count: int,
        *,
        dtype: str,
        reduction: str = "add",
        root: int = 0,
        groups: Sequence[Sequence[int]] | None = None,
        label: str = "here",
    ) -> None:
        groups = [range(self.size)] if groups is None else groups
        ranks = [r for group in groups for r in group]
        names = ffi.new("char[]", label.encode())
        order = ffi.new("uint32_t[]", ranks)
        what = ffi.new("struct mlc_collective *")
        what.kind, what.dtype, what.reduction = (
            KINDS.index(kind),
            list(DTYPES).index(dtype),
            REDUCTIONS.index(reduction),
        )
        what.root, what.count, what.ranks, what.label = root, count, order, names
        what.source = ffi.cast("void *", source.ctypes.data)
        what.destination = ffi.cast("void *", destination.ctypes.data)
        what.n_ranks, what.group_size = len(ranks), len(groups[0])
        self._check(self._table.start(self._table, slot, what, self._error))
        self._alive[slot] = [names, order, source, destination]

    def progress(self) -> None:
        self._check(self._table.progress(self._table, self._error))

    def wait(self, slot: int, poll: Any = ffi.NULL) -> None:
        self._check(self._table.wait(self._table, slot, poll, ffi.NULL, self._error))
        self._alive.pop(slot, None)

    def agree(self, program: str, schedule: int) -> None:
        self._check(self._table.agree(self._table, program.encode(), schedule, self._error))

    def close(self) -> None:
        lib.mlc_world_close(self._opened)

    def _check(self, status: int) -> None:
        if status:
            raise WorldError(status, ffi.string(self._text).decode())


def values(dtype: str, count: int, rank: int) -> Array:
    """`count` elements that differ from rank to rank and are small enough to add and multiply exactly in any dtype."""
    random = np.random.default_rng((count, rank, 7))
    if dtype == "bool":
        return random.integers(0, 2, count).astype(np.bool_)
    low = 0 if DTYPES[dtype].kind == "uint" else -3
    return random.integers(low, 4, count).astype(DTYPES[dtype].numpy)
