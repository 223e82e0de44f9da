"""Sees when threads of a block touch an element of shared memory with no barrier between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .numeric import Array

_NONE, _MANY = -1, -2


@dataclass
class Clock:
    """How many barriers each thread has passed: of its block (those of its warp not counted), and of its warp."""

    thread: Array  # numbers of the threads, unique in the grid
    block: Array
    warp: Array
    blocks: Array  # barriers passed
    warps: Array

    def at(self, chosen: Array) -> Clock:
        return Clock(*(a[chosen] for a in (self.thread, self.block, self.warp, self.blocks, self.warps)))


class Races:
    """The last accesses to each of ``size`` elements. ``readers`` says whether reads before writes matter, too."""

    def __init__(self, size: int, readers: bool = True) -> None:
        self.writer = _Last(size)
        self.reader = _Last(size) if readers else None

    def read(self, at: Array, by: Clock) -> Array:
        """Which of the accesses race with an earlier write of another thread."""
        races = self.writer.unordered(at, by)
        if self.reader is not None:
            self.reader.join(at, by)
        return races

    def write(self, at: Array, by: Clock) -> Array:
        """Which of the accesses race with an access of another thread, also of the same instruction."""
        races = self.writer.unordered(at, by)
        if self.reader is not None:
            races |= self.reader.unordered(at, by)
            self.reader.thread[at] = _NONE
        self.writer.take(at, by)
        return np.asarray(races | (self.writer.thread[at] != by.thread))


class _Last:
    """Who accessed each element last; many threads, or threads of many warps or blocks, as a number of their own."""

    def __init__(self, size: int) -> None:
        self.thread = np.full(size, _NONE, np.int64)
        self.warp, self.block = self.thread.copy(), self.thread.copy()
        self.blocks, self.warps = np.zeros(size, np.int64), np.zeros(size, np.int64)

    def unordered(self, at: Array, by: Clock) -> Array:
        """Where the last access was another thread's, and no barrier of both came after it."""
        thread = self.thread[at]
        passed = (self.block[at] == by.block) & (self.blocks[at] < by.blocks)
        passed |= (self.warp[at] == by.warp) & (self.warps[at] < by.warps)
        return np.asarray((thread != _NONE) & (thread != by.thread) & ~passed)

    def take(self, at: Array, by: Clock) -> None:
        self.thread[at], self.warp[at], self.block[at] = by.thread, by.warp, by.block
        self.blocks[at], self.warps[at] = by.blocks, by.warps

    def join(self, at: Array, by: Clock) -> None:
        """As ``take``, beside those whose accesses no barrier orders before these."""
        same = self.unordered(at, by)
        before = self.thread[at], self.warp[at], self.block[at]
        self.take(at, by)
        for field, mine, was in zip((self.thread, self.warp, self.block), (by.thread, by.warp, by.block), before,
                                    strict=True):  # fmt: skip
            met = (field[at] != mine) | (same & (was != mine))  # of the same instruction, or of one before
            field[at[met]] = _MANY
