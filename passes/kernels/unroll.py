"""Copies the bodies of loops that are marked with a number of copies."""

from __future__ import annotations

from dataclasses import replace

from mlc.errors import InternalError
from mlc.ir.kernel import Index, Kernel, Loop, Value, walk
from mlc.passes.kernels.rewrite import Rewriter


def unroll(kernel: Kernel) -> Kernel:
    """After it, no loop is marked. What is left of a partly unrolled loop follows as a loop of its own.

    Raises InternalError for a loop that is to be unrolled in full, and whose number of iterations varies.
    """
    if all(s.unroll == 1 for s in walk(kernel.body) if isinstance(s, Loop)):
        return kernel
    return _Unroller(kernel).run()


class _Unroller(Rewriter):
    fresh = True

    def loop(self, loop: Loop) -> None:
        if loop.unroll == 1:
            super().loop(loop)
            return
        lower, upper = self.index(loop.lower), self.index(loop.upper)
        trips = (upper - lower).constant
        if trips is not None and (loop.unroll == 0 or -(-trips // loop.step) <= loop.unroll):
            self.finish(loop, self.copies(loop, lower, max(-(-trips // loop.step), 0), self.mapped(loop.initial)))
        elif loop.unroll == 0:
            raise InternalError(f"unroll: loop from {lower} to {upper} cannot be unrolled in full")
        else:
            self.partly(loop, lower, upper)

    def partly(self, loop: Loop, lower: Index, upper: Index) -> None:
        w, stride = self.writer, loop.step * loop.unroll
        whole = w.floordiv(w.max(upper - lower + (loop.step - 1), 0), stride) * stride
        middle = lower + whole
        with w.loop(lower, middle, stride, self.mapped(loop.initial)) as main:
            ends = self.copies(loop, main.index, loop.unroll, main.carried)
            if ends:
                w.yield_(*ends)
        rest = replace(loop, unroll=1)
        self.variables.update({v: Index.of(v) for v in middle.variables})
        self.values.update({v.id: v for v in main.results})
        if (upper - middle).constant == 0:
            self.finish(loop, main.results)
        else:
            super().loop(replace(rest, initial=main.results, lower=middle, upper=upper))

    def copies(self, loop: Loop, first: Index, count: int, values: tuple[Value, ...]) -> tuple[Value, ...]:
        for k in range(count):
            self.variables[loop.index] = first + k * loop.step
            self.finish_arguments(loop, values)
            self.block(loop.body)
            values = self.mapped(loop.yields)
        return values

    def finish_arguments(self, loop: Loop, values: tuple[Value, ...]) -> None:
        self.values.update(zip((a.id for a in loop.arguments), values, strict=True))

    def finish(self, loop: Loop, values: tuple[Value, ...]) -> None:
        self.values.update(zip((r.id for r in loop.results), values, strict=True))
