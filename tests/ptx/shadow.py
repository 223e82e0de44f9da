"""What happened to each granule of memory: who wrote and read it, and after how many barriers, so races are seen.

Two accesses of a granule by different threads, one of them a write, are ordered by a barrier of their block between
them, or by a barrier of their warp if they are in one; nothing orders blocks. Granules are 4 bytes, or fewer where
something smaller was accessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import PtxError

Array = Any
NOBODY, MANY = -1, -2


@dataclass
class Who:
    """The threads of an access: global numbers, their warps and blocks, and the barriers that each has passed."""

    thread: Array
    warp: Array
    block: Array
    epoch: Array  # barriers of the block
    warp_epoch: Array  # barriers of the warp
    caller: Array | None = None  # where ``thread`` is not who gave the address

    def as_warps(self, *, writes: bool) -> Who:
        """Of ldmatrix and stmatrix, whose rows are data of many lanes: a thread beside those of the warp."""
        return Who(-3 - 2 * self.warp - writes, self.warp, self.block, self.epoch, self.warp_epoch, self.thread)

    def repeat(self, times: int) -> Who:
        return self if times == 1 else self._each(lambda x: np.repeat(x, times))

    def at(self, chosen: Array) -> Who:
        return self._each(lambda x: x[chosen])

    def _each(self, change: Callable[[Array], Array]) -> Who:
        caller = None if self.caller is None else change(self.caller)
        block, epoch, warp_epoch = change(self.block), change(self.epoch), change(self.warp_epoch)
        return Who(change(self.thread), change(self.warp), block, epoch, warp_epoch, caller)


class Past:
    """The last accesses of one sort: of each granule one thread, or MANY of one warp, of one block, or of several."""

    def __init__(self, count: int) -> None:
        self.thread, self.warp, self.block, self.epoch, self.warp_epoch = (
            np.full(count, NOBODY, np.int32) for _ in range(5)
        )

    def refine(self, times: int) -> None:
        self.thread, self.warp, self.block, self.epoch, self.warp_epoch = (
            np.repeat(x, times) for x in (self.thread, self.warp, self.block, self.epoch, self.warp_epoch)
        )

    def unordered(self, cells: Array, who: Who) -> Array | None:
        """Where the last access was by another thread, and no barrier lies between; None: nowhere."""
        thread = self.thread[cells]
        other = (thread != NOBODY) & (thread != who.thread)
        if not other.any():
            return None
        ordered = (self.block[cells] == who.block) & (self.epoch[cells] < who.epoch)
        ordered |= (self.warp[cells] == who.warp) & (self.warp_epoch[cells] < who.warp_epoch)
        found = other & ~ordered
        return found if found.any() else None

    def replace(self, cells: Array, who: Who) -> None:
        """These are the last now: all before them is ordered before them."""
        self.thread[cells], self.warp[cells], self.block[cells] = who.thread, who.warp, who.block
        self.epoch[cells], self.warp_epoch[cells] = who.epoch, who.warp_epoch

    def add(self, cells: Array, who: Who) -> None:
        """These too; a barrier of the block since the last ones makes them the only ones that count in it."""
        before, warp, block = self.thread[cells], self.warp[cells], self.block[cells]
        alone = (before == NOBODY) | ((block == who.block) & (self.epoch[cells] < who.epoch))
        several = _repeated(cells)
        self.replace(cells, who)
        if several is not None:
            for own, mine in ((self.thread, who.thread), (self.warp, who.warp), (self.block, who.block)):
                different = mine[several[0]] != mine[several[1]]
                own[cells[several[0][different]]] = MANY
        if alone.all():
            return
        for own, old, mine in ((self.thread, before, who.thread), (self.warp, warp, who.warp)):
            own[cells[~alone & (old != mine)]] = MANY
        self.block[cells[(before != NOBODY) & (block != who.block)]] = MANY


def _repeated(cells: Array) -> tuple[Array, Array] | None:
    """Positions (a, b) of the same granule, next to each other once sorted."""
    if len(cells) < 2 or (cells[1:] > cells[:-1]).all():
        return None
    order = np.argsort(cells, kind="stable")
    ranked = cells[order]
    same = np.flatnonzero(ranked[1:] == ranked[:-1])
    return (order[same], order[same + 1]) if len(same) else None


class Shadow:
    """The granules of ``size`` bytes of ``what``."""

    def __init__(self, size: int, what: str, name_of: Callable[[int], str]) -> None:
        self.what, self.name_of = what, name_of
        self.granule = 4
        count = -(-size // 4)
        self.ready = np.zeros(count, bool)
        self.pending = np.zeros(count, bool)  # copies that are on their way
        self.atomic = np.zeros(count, bool)
        self.writes, self.reads = Past(count), Past(count)
        self.any_pending = False

    def start_from(self, ready: Array) -> None:
        """The bytes that were written before the launch."""
        for granule in (4, 2, 1):
            parts = ready.reshape(-1, granule)
            if (parts.any(1) == parts.all(1)).all():
                self.refine(granule)
                self.ready = parts.all(1)
                return

    def cells(self, offsets: Array, width: int) -> tuple[Array, int]:
        """The granules of accesses of ``width`` bytes, and how many each has."""
        if width < self.granule:
            self.refine(width)
        times = max(1, width // self.granule)
        first = offsets // self.granule
        return (first if times == 1 else (first[:, None] + np.arange(times)).ravel()), times

    def refine(self, granule: int) -> None:
        times, self.granule = self.granule // granule, granule
        if times > 1:
            self.ready, self.pending, self.atomic = (
                np.repeat(x, times) for x in (self.ready, self.pending, self.atomic)
            )
            self.writes.refine(times)
            self.reads.refine(times)

    # ---------------------------------------------------------------- accesses

    def read(self, offsets: Array, width: int, who: Who, *, atomic: bool = False) -> None:
        cells, times = self.cells(offsets, width)
        who = who.repeat(times)
        self._arrived(cells, who, "uninitialised")
        self._refuse(~self.ready[cells], who, "uninitialised", "is read and nobody wrote it")
        self._ordered(self.writes, cells, who, atomic, "is read while another thread may write it")
        self.reads.add(cells, who)

    def write(self, offsets: Array, width: int, who: Who, *, atomic: bool = False, pending: bool = False) -> None:
        cells, times = self.cells(offsets, width)
        who = who.repeat(times)
        self._arrived(cells, who, "race")
        self._ordered(self.writes, cells, who, atomic, "is written while another thread may write it")
        self._ordered(self.reads, cells, who, False, "is written while another thread may read it")
        if atomic:
            self.writes.add(cells, who)
        else:
            self._alone(cells, who)
            self.writes.replace(cells, who)
        self.atomic[cells] = atomic
        self.ready[cells] = True
        if pending:
            self.any_pending = True
            self.pending[cells] = True

    def update(self, offsets: Array, width: int, who: Who) -> None:
        """An atomic read and write."""
        cells, times = self.cells(offsets, width)
        self._refuse(~self.ready[cells], who.repeat(times), "uninitialised", "is updated and nobody wrote it")
        self.write(offsets, width, who, atomic=True)

    def arrive(self, offsets: Array, width: int, who: Who) -> None:
        """Copies of these threads are done: from here on they are writes like others."""
        cells, times = self.cells(offsets, width)
        self.pending[cells] = False
        self.writes.replace(cells, who.repeat(times))

    # ---------------------------------------------------------------- checks

    def _arrived(self, cells: Array, who: Who, kind: str) -> None:
        if self.any_pending:
            self._refuse(self.pending[cells], who, kind, "is used before the copy that fills it is waited for")

    def _ordered(self, past: Past, cells: Array, who: Who, atomic: bool, message: str) -> None:
        bad = past.unordered(cells, who)
        if bad is not None:
            self._refuse(bad & ~self.atomic[cells] if atomic else bad, who, "race", message)

    def _alone(self, cells: Array, who: Who) -> None:
        several = _repeated(cells)
        if several is not None:
            bad = np.zeros(len(cells), bool)
            bad[several[0][who.thread[several[0]] != who.thread[several[1]]]] = True
            self._refuse(bad, who, "race", "is written by several threads at once")

    def _refuse(self, bad: Array, who: Who, kind: str, message: str) -> None:
        if bad.any():
            callers = who.thread if who.caller is None else who.caller
            thread = int(callers[int(np.flatnonzero(bad)[0])])
            raise PtxError(kind, f"{self.what} {message}", thread=self.name_of(thread))
