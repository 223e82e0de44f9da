"""Walks a kernel and writes it anew, operands replaced: what all kernel passes are made of."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace

from mlc.ir.kernel import (
    Index,
    IndexVariable,
    Instruction,
    Kernel,
    Loop,
    Role,
    Statement,
    Value,
    While,
    Writer,
    largest_id,
    walk,
)

Rule = Callable[[Writer, Instruction], Value | None]


def rewrite(kernel: Kernel, rule: Rule) -> Kernel:
    """The kernel with every instruction for which ``rule`` writes a replacement replaced by it.

    ``rule`` sees operands already replaced; it returns the value to use instead of the result, or None.
    """
    return Rewriter(kernel, rule).run()


def has_op(kernel: Kernel, ops: Container[str]) -> bool:
    """Whether any instruction of the kernel is one of ``ops``: most kernels need few of the passes."""
    return any(isinstance(s, Instruction) and s.op in ops for s in walk(kernel.body))


class Rewriter:
    """Copies statements into ``writer``; subclasses override ``loop`` or ``instruction``.

    What is kept keeps its ids (and, unchanged, is the same object), unless ``fresh`` is set: a subclass that writes a
    statement more than once needs new ids for each copy.
    """

    fresh = False

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
            elif isinstance(s, While):
                self.while_(s)
            elif isinstance(s, Role):
                self.writer.emit(replace(s, body=self.copy(s.body)))
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
        operands = self.mapped(n.operands)
        indices, origin = n.indices, n.source_indices
        if self.variables and (indices or origin):
            indices, origin = tuple([self.index(i) for i in indices]), tuple([self.index(i) for i in origin])
        if operands is n.operands and indices == n.indices and origin == n.source_indices:
            return n
        return Instruction(n.op, n.result, operands, indices, n.attribute, n.memory, n.source, origin)

    def keep(self, n: Instruction) -> None:
        """Writes ``n``, already substituted."""
        result = n.result
        if self.fresh and result is not None:
            if isinstance(result, Value):
                copy = Value(self.writer.fresh_id(), result.type)
                self.values[result.id] = copy
                result = copy
            else:
                variable = IndexVariable("q", self.writer.fresh_id())
                self.variables[result] = Index.of(variable)
                result = variable
            n = replace(n, result=result)
        self.writer.emit(n)

    def loop(self, loop: Loop) -> None:
        self.writer.emit(self.copied_loop(loop))

    def copied_loop(self, loop: Loop) -> Loop:
        initial, lower, upper = self.mapped(loop.initial), self.index(loop.lower), self.index(loop.upper)
        index = loop.index
        if self.fresh:
            index = IndexVariable("i", self.writer.fresh_id())
            self.variables[loop.index] = Index.of(index)
        arguments = self.define(loop.arguments)
        body = self.copy(loop.body)
        yields = self.mapped(loop.yields)
        results = self.define(loop.results)
        return Loop(index, lower, upper, loop.step, initial, arguments, body, yields, results, loop.unroll)

    def while_(self, loop: While) -> None:
        initial, arguments = self.mapped(loop.initial), self.define(loop.arguments)
        test = self.copy(loop.test)
        (condition,) = self.mapped((loop.condition,))
        body = self.copy(loop.body)
        yields = self.mapped(loop.yields)
        results = self.define(loop.results)
        self.writer.emit(While(initial, arguments, test, condition, body, yields, results))

    def define(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        if not self.fresh:
            return values
        fresh = tuple(Value(self.writer.fresh_id(), v.type) for v in values)
        self.values.update(zip((v.id for v in values), fresh, strict=True))
        return fresh

    def mapped(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """``values`` with replacements; the same tuple where there are none."""
        known = self.values
        if not any(v.id in known for v in values):
            return values
        return tuple([known.get(v.id, v) for v in values])

    def index(self, index: Index) -> Index:
        return index.substitute(self.variables)
