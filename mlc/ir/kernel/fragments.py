"""Which elements of a matrix each thread of a warp holds: the layouts of `mma.sync` (PTX ISA, matrix fragments)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mlc.errors import VerifyError

from .data import VectorType
from .numeric import Array


@lru_cache(maxsize=64)
def fragment_places(t: VectorType) -> tuple[Array, Array]:
    """Row and column of each element of a fragment of one warp: two arrays [32, elements of a thread].

    Operands hold 4 bytes of neighbours along K at a time; accumulators two neighbours of a row.

    Example:
        >>> from mlc.ir.types import F32
        >>> rows, columns = fragment_places(VectorType.of_fragment(16, 8, F32, "accumulator"))
        >>> rows[5].tolist(), columns[5].tolist()
        ([1, 1, 9, 9], [2, 3, 2, 3])
    """
    f = t.fragment
    if f is None or f.threads != 32:
        raise VerifyError(f"{t} is no fragment of a warp")
    thread = np.arange(32)[:, None]
    group, member = thread // 4, thread % 4
    element = np.arange(t.lanes)[None, :]
    if f.role == "accumulator":
        across = (group + element // 2 % 2 * 8) % f.rows
        return across, member * 2 + element % 2 + element // 4 * 8
    together = max(4 // t.dtype.itemsize, 1)  # elements of a register
    register = element // together
    if f.role == "b":
        return (member + register * 4) * together + element % together, np.broadcast_to(group, (32, t.lanes))
    return group + register % 2 * 8, (member + register // 2 * 4) * together + element % together


def gathered(t: VectorType, held: Array) -> Array:
    """The matrices [warps, rows, columns] of fragments as threads hold them, [threads, elements]."""
    assert t.fragment is not None
    rows, columns = fragment_places(t)
    found = np.zeros((len(held) // 32, t.fragment.rows, t.fragment.columns), held.dtype)
    found[:, rows, columns] = held.reshape(-1, 32, t.lanes)
    return found


def spread(t: VectorType, matrices: Array) -> Array:
    """The fragments of matrices as threads hold them: the inverse of ``gathered``."""
    rows, columns = fragment_places(t)
    return np.ascontiguousarray(matrices[:, rows, columns].reshape(-1, t.lanes))
