"""``cp.async``: copies that are in shared memory when their group is waited for, and not before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PtxError
from .shadow import Who
from .syntax import Instruction, Number, Operand, Register

if TYPE_CHECKING:
    from .machine import Machine

Array = Any


@dataclass
class _Copy:
    lanes: Array
    group: Array  # of each thread
    offsets: Array  # in the shared memory of all blocks
    width: int
    done: Array


class Copies:
    """A thread's copies since its last commit are one group; ``wait_group n`` leaves its last n groups open."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.groups = np.zeros(machine.threads, np.int64)
        self.open: list[_Copy] = []

    def run(self, n: Instruction) -> None:
        m, name = self.machine, n.parts[2]
        if n.parts[1] != "async" or name not in ("commit_group", "wait_group", "wait_all", "ca", "cg"):
            raise PtxError("unknown_instruction", f"{n} is of sm_90 and later, whose meaning only a GPU shows")
        if name == "commit_group":
            self.groups[m.lanes] += 1
        elif name == "wait_group":
            assert isinstance(n.operands[0], Number)
            self._complete(self.groups[m.lanes] - n.operands[0].bits)
        elif name == "wait_all":
            self._complete(self.groups[m.lanes] + 1)
        else:
            self._start(n)

    def _start(self, n: Instruction) -> None:
        """The source is read now, ``src-size`` bytes of it and zeros for the rest; the target is not to be read yet."""
        m, lanes = self.machine, self.machine.lanes
        to, width = m.addresses(n.operands[0]), self._width(n)
        raw = self._source(n, width)
        m.spaces.store("shared", to, raw, pending=True)
        offsets = to.astype(np.int64) + m.block_of[lanes] * m.spaces.shared_stride
        self.open.append(_Copy(lanes, self.groups[lanes].copy(), offsets, width, np.zeros(len(lanes), bool)))

    def _width(self, n: Instruction) -> int:
        assert isinstance(n.operands[2], Number)
        width = n.operands[2].bits
        if width not in ((16,) if n.parts[2] == "cg" else (4, 8, 16)):
            raise PtxError("unknown_instruction", f"{n} of {width} bytes")
        return width

    def _source(self, n: Instruction, width: int) -> Array:
        m, lanes, source = self.machine, self.machine.lanes, self.machine.addresses(n.operands[1])
        m.spaces.aligned(source, width)
        taken = np.full(len(lanes), width)
        if len(n.operands) > 3:
            taken = self._taken(n.operands[3], width)
        if (taken > width).any():
            raise PtxError("out_of_bounds", f"src-size {int(taken.max())} of {width} bytes")
        raw = np.zeros((len(lanes), width), np.uint8)
        whole = np.flatnonzero(taken == width)
        try:
            for chosen, first, size in ((whole, 0, width), *self._pieces(taken, width)):
                if len(chosen):
                    m.lanes = lanes[chosen]
                    raw[chosen, first : first + size] = m.spaces.load("global", source[chosen] + np.uint64(first), size)
        finally:
            m.lanes = lanes
        return raw

    def _taken(self, operand: Operand, width: int) -> Array:
        """src-size, or the predicate ignore-src."""
        if isinstance(operand, Register) and self.machine.kernel.registers.get(operand.name) == "pred":
            return np.where(self.machine.read(operand, "pred"), 0, width)
        return self.machine.read(operand, "u32").astype(np.int64)

    def _pieces(self, taken: Array, width: int) -> list[tuple[Array, int, int]]:
        """(threads, first byte, bytes) of copies of fewer than ``width`` bytes, of aligned powers of two each."""
        found = []
        for size in np.unique(taken[taken < width]).tolist():
            chosen, first = np.flatnonzero(taken == size), 0
            while first < size:
                piece = 1 << ((size - first).bit_length() - 1)
                found.append((chosen, first, piece))
                first += piece
        return found

    def _complete(self, before: Array) -> None:
        """Copies of groups under ``before`` of the threads here are done; others see them after a barrier."""
        m = self.machine
        limit = np.full(m.threads, -1, np.int64)
        limit[m.lanes] = before
        for copy in self.open:
            ready = (copy.group < limit[copy.lanes]) & ~copy.done
            if ready.any():
                lanes = copy.lanes[ready]
                who = Who(lanes, m.warp_of[lanes], m.block_of[lanes], m.epoch[lanes], m.warp_epoch[lanes])
                m.spaces.shared_shadow.arrive(copy.offsets[ready], copy.width, who)
                copy.done |= ready
        self.open = [copy for copy in self.open if not copy.done.all()]
