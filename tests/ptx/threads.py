"""Numbers of threads in a grid: what special registers tell a thread of itself, and what errors call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
Extent = tuple[int, int, int]
WARP = 32


def special_registers(grid: Extent, block: Extent, block_of: Array, inside: Array) -> dict[str, Array]:
    """``%tid.x`` and the others, for all threads; ``inside`` is a thread's number in its block, x first."""
    found: dict[str, Array] = {}
    for axis, letter in enumerate("xyz"):
        found[f"%tid.{letter}"] = inside // int(np.prod(block[:axis])) % block[axis]
        found[f"%ctaid.{letter}"] = block_of // int(np.prod(grid[:axis])) % grid[axis]
        found[f"%ntid.{letter}"] = np.full(len(inside), block[axis])
        found[f"%nctaid.{letter}"] = np.full(len(inside), grid[axis])
    lane = inside % WARP
    found["%laneid"], found["%warpid"] = lane, inside // WARP
    found["%nwarpid"] = np.full(len(inside), -(-int(np.prod(block)) // WARP))
    found["%lanemask_eq"] = 1 << lane
    found["%lanemask_lt"], found["%lanemask_le"] = (1 << lane) - 1, (2 << lane) - 1
    found["%lanemask_ge"], found["%lanemask_gt"] = ~((1 << lane) - 1), ~((2 << lane) - 1)
    found["WARP_SZ"] = np.full(len(inside), WARP)
    return {name: values.astype(np.uint32) for name, values in found.items()}


def names(grid: Extent, block: Extent) -> Callable[[int], str]:
    """What to call thread number ``i`` of the grid.

    >>> names((4, 1, 1), (8, 2, 1))(17)
    'thread (1, 0, 0) of block (1, 0, 0)'
    """

    def name(i: int) -> str:
        of_block, inside = divmod(i, block[0] * block[1] * block[2])
        return f"thread {_place(inside, block)} of block {_place(of_block, grid)}"

    return name


def _place(i: int, extent: Extent) -> Extent:
    return i % extent[0], i // extent[0] % extent[1], i // (extent[0] * extent[1])
