"""What happened to each granule of memory: who wrote and read it, and after how many barriers, so that races are seen.

Two accesses of a granule by different threads, one of them a write, are ordered by a barrier of their block between
them, or by a barrier of their warp if they are in one; nothing orders blocks. Granules are 4 bytes, or 1 where something
smaller than 4 bytes was stored.
"""

from __future__ import annotations

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

    def repeat(self, times: int) -> Who:
        return Who(*(np.repeat(x, times) for x in (self.thread, self.warp, self.block, self.epoch, self.warp_epoch)))

    def at(self, chosen: Array) -> Who:
        return Who(*(x[chosen] for x in (self.thread, self.warp, self.block, self.epoch, self.warp_epoch)))


FIELDS = ("writer", "writer_epoch", "writer_warp_epoch", "reader", "reader_warp", "reader_block", "reader_epoch",
          "reader_warp_epoch")  # fmt: skip


class Shadow:
    """The granules of ``size`` bytes, in ``copies`` that do not share any (blocks, for shared memory)."""

    def __init__(self, size: int, what: str, threads_a_warp: Array, *, ready: bool = False) -> None:
        self.what = what
        self.size = size
        self.granule = 4
        count = -(-size // 4)
        self.ready = np.full(count, ready)
        self.pending = np.zeros(count, bool)
        self.warp_of, self.block_of = threads_a_warp
        self.forget(count)

    def forget(self, count: int | None = None) -> None:
        """Nobody has been here: at the start of a launch."""
        for name in FIELDS:
            setattr(self, name, np.full(len(self.ready) if count is None else count, NOBODY, np.int32))
        self.atomic = np.zeros(len(self.reader), bool)

    def of(self, offsets: Array, width: int, writes: bool) -> tuple[Array, int]:
        """The granules of accesses of ``width`` bytes, and how many each has."""
        if width < self.granule and writes:
            self._refine()
        times = max(1, width // self.granule)
        first = offsets // self.granule
        found = first if times == 1 else (first[:, None] + np.arange(times)).ravel()
        return found, times

    def _refine(self) -> None:
        for name in (*FIELDS, "ready", "pending", "atomic"):
            setattr(self, name, np.repeat(getattr(self, name), self.granule))
        self.granule = 1

    # ---------------------------------------------------------------- accesses

    def read(self, offsets: Array, width: int, who: Who, *, atomic: bool = False) -> None:
        cells, times = self.of(offsets, width, writes=False)
        who = who.repeat(times) if times > 1 else who
        self._require(~self.pending[cells], who, "uninitialised", "is read before the copy that fills it is waited for")
        self._require(self.ready[cells], who, "uninitialised", "is read and nobody wrote it")
        self._after_writes(cells, who, "read", atomic)
        same_block = self.reader_block[cells] == who.block
        fresh = self.reader[cells] == NOBODY
        later = same_block & (self.reader_epoch[cells] < who.epoch)
        alone = fresh | later
        previous, previous_warp = self.reader[cells], self.reader_warp[cells]
        reader = np.where(alone | (previous == who.thread), who.thread, MANY)
        warp = np.where(alone | (previous_warp == who.warp), who.warp, MANY)
        self.reader_block[cells] = np.where(fresh | same_block, who.block, MANY)
        self.reader[cells], self.reader_warp[cells] = reader, warp
        self.reader_epoch[cells] = who.epoch
        self.reader_warp_epoch[cells] = who.warp_epoch
        self._shared_reads(cells, who)

    def _shared_reads(self, cells: Array, who: Who) -> None:
        """Several threads of one instruction in a granule: assignment kept the last of them."""
        order = np.argsort(cells, kind="stable")
        near = np.flatnonzero(cells[order][1:] == cells[order][:-1])
        if not len(near):
            return
        a, b = order[near], order[near + 1]
        for name, values in (("reader", who.thread), ("reader_warp", who.warp), ("reader_block", who.block)):
            different = values[a] != values[b]
            getattr(self, name)[cells[a[different]]] = MANY

    def write(self, offsets: Array, width: int, who: Who, *, atomic: bool = False, pending: bool = False) -> None:
        cells, times = self.of(offsets, width, writes=True)
        who = who.repeat(times) if times > 1 else who
        if atomic:
            self._require(self.ready[cells], who, "uninitialised", "is updated and nobody wrote it")
        self._after_writes(cells, who, "written", atomic)
        previous, block = self.reader[cells], self.reader_block[cells]
        other = (previous != NOBODY) & (previous != who.thread)
        late = (block == who.block) & (self.reader_epoch[cells] < who.epoch)
        late |= (self.reader_warp[cells] == who.warp) & (self.reader_warp_epoch[cells] < who.warp_epoch)
        late |= self.atomic[cells] & atomic
        self._require(~other | late, who, "race", "is written while another thread may read it")
        if not atomic:
            self._alone(cells, who)
        self.writer[cells], self.writer_epoch[cells] = who.thread, who.epoch
        self.writer_warp_epoch[cells] = who.warp_epoch
        self.atomic[cells] = atomic
        self.ready[cells] = True
        self.pending[cells] = pending

    def _after_writes(self, cells: Array, who: Who, verb: str, atomic: bool) -> None:
        writer = self.writer[cells]
        other = (writer != NOBODY) & (writer != who.thread)
        if not other.any():
            return
        same_block = self.block_of[writer] == who.block
        late = same_block & (self.writer_epoch[cells] < who.epoch)
        late |= (self.warp_of[writer] == who.warp) & (self.writer_warp_epoch[cells] < who.warp_epoch)
        late |= self.atomic[cells] & atomic
        self._require(~other | late, who, "race", f"is {verb} while another thread may write it")

    def _alone(self, cells: Array, who: Who) -> None:
        order = np.argsort(cells, kind="stable")
        same = np.flatnonzero(cells[order][1:] == cells[order][:-1])
        if len(same):
            a, b = order[same], order[same + 1]
            bad = np.ones(len(cells), bool)
            bad[a[who.thread[a] != who.thread[b]]] = False
            self._require(bad, who, "race", "is written by several threads at once")

    def _require(self, good: Array, who: Who, kind: str, message: str) -> None:
        if not good.all():
            at = int(np.flatnonzero(~good)[0])
            raise PtxError(kind, f"{self.what} {message}", thread=f"thread {who.thread[at]} of block {who.block[at]}")
