"""``cp.async``: copies that are in shared memory when their group is waited for, and not before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PtxError
from .text import Instruction, Number

if TYPE_CHECKING:
    from .machine import Machine

Array = Any


@dataclass
class _Copy:
    lanes: Array
    group: Array  # of each thread
    cells: Array  # granules of shared memory: [threads, granules]
    done: Array


class Copies:
    """A thread's copies since its last commit are one group; ``wait_group n`` leaves its last n groups open."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.groups = np.zeros(machine.threads, np.int64)
        self.open: list[_Copy] = []

    def run(self, n: Instruction) -> None:
        name = n.parts[2]
        if n.parts[1] != "async" or name == "bulk":
            raise PtxError("unknown_instruction", f"{n} is of sm_90 and later, whose meaning only a GPU shows")
        m = self.machine
        if name == "commit_group":
            self.groups[m.lanes] += 1
        elif name == "wait_group":
            assert isinstance(n.operands[0], Number)
            self._complete(self.groups[m.lanes] - n.operands[0].bits)
        elif name == "wait_all":
            self._complete(self.groups[m.lanes] + 1)
        elif name in ("ca", "cg"):
            self._start(n)
        else:
            raise PtxError("unknown_instruction", str(n))

    def _start(self, n: Instruction) -> None:
        """The source is read now, ``src-size`` bytes of it and zeros for the rest; the target is not to be read yet."""
        m = self.machine
        to, source = m.addresses(n.operands[0]), m.addresses(n.operands[1])
        assert isinstance(n.operands[2], Number)
        width = n.operands[2].bits
        if ((to | source) % width).any():
            raise PtxError("misaligned", f"cp.async of {width} bytes")
        taken = np.full(len(m.lanes), width)
        if len(n.operands) > 3:
            taken = m.read(n.operands[3], "u32").astype(np.int64)
        raw = np.zeros((len(m.lanes), width), np.uint8)
        lanes = m.lanes
        for size in np.unique(taken[taken > 0]):
            if width % size:
                raise PtxError("unknown_instruction", f"cp.async of {size} of {width} bytes")
            chosen = np.flatnonzero(taken == size)
            m.lanes = lanes[chosen]
            raw[chosen, :size] = m.spaces.load("global", source[chosen], int(size))
            m.lanes = lanes
        m.spaces.store("shared", to, raw, pending=True)
        shadow = m.spaces.shared_shadow
        at = to.astype(np.int64) + m.block_of[lanes] * m.spaces.shared_stride
        cells, times = shadow.of(at, width, writes=False)
        self.open.append(_Copy(lanes, self.groups[lanes].copy(), cells.reshape(-1, times), np.zeros(len(lanes), bool)))

    def _complete(self, before: Array) -> None:
        """Copies of groups under ``before`` of the threads here are done; others see them after a barrier."""
        m = self.machine
        limit = np.full(m.threads, -1, np.int64)
        limit[m.lanes] = before
        shadow = m.spaces.shared_shadow
        for copy in self.open:
            ready = (copy.group < limit[copy.lanes]) & ~copy.done
            if not ready.any():
                continue
            cells, threads = copy.cells[ready], copy.lanes[ready]
            shadow.pending[cells] = False
            shadow.writer[cells] = threads[:, None]
            shadow.writer_epoch[cells] = m.epoch[threads][:, None]
            shadow.writer_warp_epoch[cells] = m.warp_epoch[threads][:, None]
            copy.done |= ready
        self.open = [copy for copy in self.open if not copy.done.all()]

    def finish(self) -> None:
        """The end of the kernel: copies that nobody waited for and nobody read are harmless."""
        self.machine.spaces.finish()
