"""Walks a kernel and writes it anew, operands replaced: what all kernel passes are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlc.ir.kernel import Index, IndexVariable, Instruction, Kernel, Loop, Statement, Value, Writer, largest_id

Rule = Callable[[Writer, Instruction], Value | None]


def rewrite(kernel: Kernel, rule: Rule) -> Kernel:
    """The kernel with every instruction for which ``rule`` writes a replacement replaced by it.

    ``rule`` sees operands already replaced; it returns the value to use instead of the result, or None.
    """
    return Rewriter(kernel, rule).run()


class Rewriter:
    """Copies statements into ``writer`` with fresh ids; subclasses override ``loop`` or ``instruction``."""

    def __init__(self, kernel: Kernel, rule: Rule | None = None) -> None:
        self.kernel = kernel
        self.rule = rule
        self.writer = Writer(largest_id(kernel) + 1)
        self.values: dict[int, Value] = {}
        self.variables: dict[IndexVariable, Index] = {}

    def run(self) -> Kernel:
        return self.kernel.with_body(self.copy(self.kernel.body))

    def copy(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """A block with the statements of ``body``."""
        self.writer.open_block()
        self.block(body)
        return self.writer.close_block()

    def block(self, body: tuple[Statement, ...]) -> None:
        for s in body:
            if isinstance(s, Loop):
                self.loop(s)
            else:
                self.instruction(s)

    def instruction(self, n: Instruction) -> None:
        n = self.substitute(n)
        replacement = self.rule(self.writer, n) if self.rule is not None else None
        if replacement is None:
            self.keep(n)
        else:
            self.values[n.value.id] = replacement

    def substitute(self, n: Instruction) -> Instruction:
        """The instruction with operands and indices replaced, its result as it was."""
        return replace(n, operands=self.mapped(n.operands), indices=tuple(map(self.index, n.indices)))

    def keep(self, n: Instruction) -> None:
        """Writes ``n``, already substituted, with a fresh result."""
        if isinstance(n.result, Value):
            self.values[n.result.id] = Value(self.writer.fresh_id(), n.result.type)
            n = replace(n, result=self.values[n.result.id])
        elif n.result is not None:
            variable = IndexVariable("q", self.writer.fresh_id())
            self.variables[n.result] = Index.of(variable)
            n = replace(n, result=variable)
        self.writer.emit(n)

    def loop(self, loop: Loop) -> None:
        self.writer.emit(self.copied_loop(loop))

    def copied_loop(self, loop: Loop) -> Loop:
        initial, lower, upper = self.mapped(loop.initial), self.index(loop.lower), self.index(loop.upper)
        index = IndexVariable("i", self.writer.fresh_id())
        self.variables[loop.index] = Index.of(index)
        arguments = self.define(loop.arguments)
        body = self.copy(loop.body)
        yields = self.mapped(loop.yields)
        results = self.define(loop.results)
        return Loop(index, lower, upper, loop.step, initial, arguments, body, yields, results, loop.unroll)

    def define(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        fresh = tuple(Value(self.writer.fresh_id(), v.type) for v in values)
        self.values.update(zip((v.id for v in values), fresh, strict=True))
        return fresh

    def mapped(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(self.values[v.id] for v in values)

    def index(self, index: Index) -> Index:
        return index.substitute(self.variables)
