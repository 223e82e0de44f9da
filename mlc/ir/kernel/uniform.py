"""Finds barriers of blocks that threads would reach a different number of times."""

from __future__ import annotations

from .data import Instruction, Kernel, Loop, Role, Statement, Value, While, blocks, walk
from .index import Index, IndexVariable


def divergent_barrier(kernel: Kernel) -> Statement | None:
    """The loop, while or role around a barrier of the whole block whose course depends on the thread; else None.

    What is loaded at a place that is the same for all threads is the same for all of them.
    """
    found = _Uniform(kernel)
    found.block(kernel.body)
    return found.divergent


class _Uniform:
    """``varying`` are the values and index variables that may differ between the threads of a block."""

    def __init__(self, kernel: Kernel) -> None:
        first = len(kernel.indices) - kernel.threads
        self.varying: set[int] = {v.id for v in kernel.indices[first:]}
        self.divergent: Statement | None = None

    def block(self, body: tuple[Statement, ...]) -> None:
        for s in body:
            if isinstance(s, Instruction):
                if isinstance(s.result, Value | IndexVariable) and self.instruction(s):
                    self.varying.add(s.result.id)
            elif isinstance(s, Role):
                self.check(s, True)
                self.block(s.body)
            else:
                self.repeated(s)

    def instruction(self, n: Instruction) -> bool:
        if n.op in ("warp_shuffle", "load_matrix", "mma"):
            return True
        if n.memory is not None and n.memory.access == "scratch":
            return True
        return self.any_varies(n.operands) or any(map(self.varies, n.indices))

    def repeated(self, s: Loop | While) -> None:
        """A loop, as often as new arguments are found to vary."""
        while True:
            before = len(self.varying)
            self.carry(s)
            if isinstance(s, Loop):
                differs = self.varies(s.lower) or self.varies(s.upper)
                if differs:
                    self.varying.add(s.index.id)
            else:
                self.block(s.test)
                differs = s.condition.id in self.varying
            if differs:
                self.varying.update(v.id for v in s.results)
            self.block(s.body)
            if len(self.varying) == before:
                break
        self.check(s, differs)

    def carry(self, s: Loop | While) -> None:
        for initial, argument, y, result in zip(s.initial, s.arguments, s.yields, s.results, strict=True):
            if {initial.id, y.id} & self.varying:
                self.varying |= {argument.id, result.id}

    def check(self, s: Statement, differs: bool) -> None:
        inside = (n for block in blocks(s) for n in walk(block))
        if differs and any(isinstance(n, Instruction) and n.op == "barrier" and n.attribute is None for n in inside):
            self.divergent = self.divergent or s

    def any_varies(self, values: tuple[Value, ...]) -> bool:
        return any(v.id in self.varying for v in values)

    def varies(self, index: Index) -> bool:
        return any(v.kind != "n" and v.id in self.varying for v in index.variables)
