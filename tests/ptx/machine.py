"""Runs a kernel over all threads of a grid at once: the lowest program counter goes first, barriers park threads.

Every register is one NumPy array over all threads. Threads that diverged meet again where the text puts them at the
same instruction. What a GPU leaves unsaid is an error here: races, reads of what nobody wrote, accesses outside of
allocations or of their alignment, barriers that not all threads of a block reach (threads that have exited never do),
copies that nobody waited for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import warp
from .copies import Copies
from .dispatch import execute
from .errors import PtxError
from .memory import Memory
from .registers import Registers
from .spaces import Spaces
from .syntax import Instruction, Kernel, Operand, Symbol, Variable
from .threads import WARP, Extent, names, special_registers

Array = Any
LIMIT = 500_000  # instructions of one launch, each for some of its threads


class Machine:
    """One launch. ``lanes`` are the numbers, in the grid, of the threads that run the instruction at hand."""

    def __init__(
        self, kernel: Kernel, grid: Extent, block: Extent, memory: Memory, variables: list[Variable],
        symbols: dict[str, int], dynamic: int,
    ) -> None:  # fmt: skip
        self.kernel = kernel
        self.block_threads = block[0] * block[1] * block[2]
        self.blocks = grid[0] * grid[1] * grid[2]
        self.threads = n = self.blocks * self.block_threads
        self.name_of = names(grid, block)
        self.block_of, inside = np.divmod(np.arange(n), self.block_threads)
        self.warps = self.blocks * -(-self.block_threads // WARP)
        self.warp_of = self.block_of * -(-self.block_threads // WARP) + inside // WARP
        self.lane_of = inside % WARP
        self.epoch = np.zeros(n, np.int32)
        self.warp_epoch = np.zeros(n, np.int32)
        self.pc = np.zeros(n, np.int64)
        self.exited = np.zeros(n, bool)
        self.parked = np.zeros(n, bool)
        self.carry = np.zeros(n, bool)
        self.spaces = Spaces(self, memory, variables, symbols, dynamic)
        special = special_registers(grid, block, self.block_of, inside)
        special["%dynamic_smem_size"] = np.full(n, dynamic, np.uint32)
        special["%total_smem_size"] = np.full(n, self.spaces.shared_size, np.uint32)
        self.registers = Registers(kernel.registers, special, self.spaces.address_of, self.name_of, n)
        self.read, self.write, self.addresses = self.registers.read, self.registers.write, self.registers.addresses
        self.copies = Copies(self)

    @property
    def lanes(self) -> Array:
        return self.registers.lanes

    @lanes.setter
    def lanes(self, lanes: Array) -> None:
        self.registers.lanes = lanes

    # ---------------------------------------------------------------- scheduling

    def run(self) -> None:
        """Until all threads have exited; PtxError names the instruction. Overflow and NaN are what a GPU makes them."""
        with np.errstate(all="ignore"):
            self._run()
        self.spaces.finish()

    def _run(self) -> None:
        count, length = 0, len(self.kernel.code)
        while not self.exited.all():
            free = ~(self.exited | self.parked)
            if not free.any():
                self._release()
                continue
            at = int(self.pc[free].min())
            self.lanes = np.flatnonzero(free & (self.pc == at))
            others = self.pc[free & (self.pc > at)]
            stop = int(others.min()) if len(others) else length
            while at < stop:
                count += 1
                if count > LIMIT:
                    raise PtxError("deadlock", f"{LIMIT} instructions ran").at(*self._place(at))
                if not self._located(at):
                    break
                at += 1
            else:
                self.pc[self.lanes] = at
                self.exited[self.lanes[self.pc[self.lanes] >= length]] = True

    def _place(self, at: int) -> tuple[str, str, int]:
        n = self.kernel.code[at]
        return self.kernel.name, str(n), n.line

    def _located(self, at: int) -> bool:
        try:
            return self.step(at)
        except PtxError as error:
            raise error.at(*self._place(at)) from None

    def step(self, at: int) -> bool:
        """Run an instruction for the threads that are at it; False where they are not all at the next one then."""
        n, lanes = self.kernel.code[at], self.lanes
        chosen = lanes if n.guard is None else lanes[self.registers.predicate(n.guard)]
        name = n.parts[0]
        if name in ("bra", "brx", "ret", "exit", "trap"):
            self.pc[lanes] = at + 1
            self.lanes = chosen
            self._jump(n)
            return False
        if warp.is_barrier(n):
            warp.check_barrier(n, self.block_threads)
            self.pc[lanes] = at + 1
            self.pc[chosen], self.parked[chosen] = at, True
            return False
        if warp.is_collective(n):
            return self._together(at, chosen)
        if len(chosen):
            self.lanes = chosen
            execute(self, n)
            self.lanes = lanes
        return True

    def _jump(self, n: Instruction) -> None:
        if not len(self.lanes):
            return
        if n.parts[0] == "trap":
            raise PtxError("launch", "the kernel traps", thread=self.name_of(int(self.lanes[0])))
        if n.parts[0] in ("ret", "exit"):
            self.exited[self.lanes] = True
        elif n.parts[0] == "bra":
            self.pc[self.lanes] = self._target(n.operands[0])
        else:
            table = self.kernel.tables[_symbol(n.operands[1])]
            which = self.read(n.operands[0], "u32")
            if (which >= len(table)).any():
                raise PtxError("out_of_bounds", f"a branch to entry {which.max()} of {len(table)}")
            self.pc[self.lanes] = np.array([self._target(Symbol(t)) for t in table])[which]

    def _target(self, operand: Operand) -> int:
        name = _symbol(operand)
        if name not in self.kernel.labels:
            raise PtxError("syntax", f"no label is called {name}")
        return self.kernel.labels[name]

    # ---------------------------------------------------------------- waiting

    def _together(self, at: int, chosen: Array) -> bool:
        """An instruction of warps: threads that wait at it go on with those that are its last members to come."""
        n, lanes = self.kernel.code[at], self.lanes
        waiting = self.parked & (self.pc == at)
        if len(chosen) == self.threads and warp.names_all(n):
            execute(self, n)
            return True
        self.pc[lanes] = at + 1
        self.pc[chosen] = at
        waiting[chosen] = True
        self._run_complete(at, np.flatnonzero(waiting))
        return False

    def _run_complete(self, at: int, waiting: Array) -> bool:
        """Run it for those of ``waiting`` whose whole mask is there; whether there are any."""
        if not len(waiting):
            return False
        self.lanes = waiting
        n = self.kernel.code[at]
        complete = warp.complete(self, n)
        self.parked[waiting] = True
        self.lanes = waiting[complete]
        if not len(self.lanes):
            return False
        self.parked[self.lanes] = False
        self.pc[self.lanes] = at + 1
        execute(self, n)
        return True

    def _release(self) -> None:
        """No thread can go on: open the barriers that all threads of a block, or of a mask, have reached."""
        stops = np.unique(self.pc[self.parked]).tolist()
        for at in stops:
            if warp.is_collective(self.kernel.code[at]):
                try:
                    if self._run_complete(at, np.flatnonzero(self.parked & (self.pc == at))):
                        return
                except PtxError as error:
                    raise error.at(*self._place(at)) from None
        opened = False
        for at in stops:
            here = self.parked & (self.pc == at)
            count = np.bincount(self.block_of[here], minlength=self.blocks)
            ready = here & (count == self.block_threads)[self.block_of]
            if not warp.is_collective(self.kernel.code[at]) and ready.any():
                self.parked[ready] = False
                self.epoch[ready] += 1
                self.warp_epoch[ready] += 1
                self.pc[ready] += 1
                opened = True
        if not opened:
            waiting = int(np.flatnonzero(self.parked)[0])
            found = PtxError("divergent_barrier", "not all threads come here", thread=self.name_of(waiting))
            raise found.at(*self._place(int(self.pc[waiting])))


def _symbol(operand: Operand) -> str:
    assert isinstance(operand, Symbol), operand
    return operand.name
