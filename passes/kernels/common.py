"""Computes equal things once: common subexpressions, and loads of memory that is not written in between."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlc.ir.kernel import Index, IndexVariable, Instruction, Kernel, Loop, Memory, Statement, Value, While, walk
from mlc.passes.kernels.rewrite import Rewriter

Key = tuple[object, ...]
Result = Value | IndexVariable


def share_common(kernel: Kernel) -> Kernel:
    """Replaces an instruction by an equal one that dominates it; for loads, no store may have come between."""
    return _Sharer(kernel).run()


@dataclass
class _Known:
    values: dict[Key, Result] = field(default_factory=dict)
    loads: dict[Key, tuple[Memory, Result]] = field(default_factory=dict)


class _Sharer(Rewriter):
    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.known = _Known()

    def instruction(self, n: Instruction) -> None:
        n = self.substitute(n)
        if n.has_effect:
            self.keep(n)
            self.forget([n])
            return
        t = n.result.type if isinstance(n.result, Value) else None
        kind = (t.dtype.name, t.lanes) if t else None
        key: Key = (n.op, tuple([v.id for v in n.operands]), n.indices, n.attribute, kind, n.memory and n.memory.id)
        found = self.known.loads[key][1] if key in self.known.loads else self.known.values.get(key)
        if found is not None:
            self.reuse(n, found)
            return
        self.keep(n)
        fresh = self.result_of(n)
        if n.memory is not None:
            self.known.loads[key] = n.memory, fresh
        else:
            self.known.values[key] = fresh

    def loop(self, loop: Loop) -> None:
        """What a loop's body computes is unknown after it, and what it stores may change before its first load."""
        outside = self.enter(loop)
        super().loop(loop)
        self.known = outside

    def while_(self, loop: While) -> None:
        outside = self.enter(loop)
        super().while_(loop)
        self.known = outside

    def enter(self, loop: Loop | While) -> _Known:
        """What is known before the loop, without loads that its stores may change, to return to after it."""
        self.forget([s for s in walk((loop,)) if isinstance(s, Instruction) and s.has_effect])
        outside = self.known
        self.known = _Known(dict(outside.values), dict(outside.loads))
        return outside

    def copy(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """A block: what it computes is not known after it, as others may not have run it."""
        outside = self.known
        self.known = _Known(dict(outside.values), dict(outside.loads))
        found = super().copy(body)
        self.known = outside
        return found

    def forget(self, stores: list[Instruction]) -> None:
        for store in stores:
            if not store.writes_memory or store.memory is None:  # other threads may have written anything
                self.known.loads = {}
                continue
            written, loads = store.memory, self.known.loads
            self.known.loads = {k: v for k, v in loads.items() if not may_alias(written, v[0])}

    def reuse(self, n: Instruction, found: Result) -> None:
        if isinstance(n.result, Value):
            assert isinstance(found, Value)
            self.values[n.result.id] = found
        elif n.result is not None:
            assert isinstance(found, IndexVariable)
            self.variables[n.result] = Index.of(found)

    @staticmethod
    def result_of(n: Instruction) -> Result:
        assert n.result is not None
        return n.result


def may_alias(x: Memory, y: Memory) -> bool:
    """Two buffers may be the same memory unless one promises otherwise; scratch is apart from all."""
    return x.id == y.id or not (x.noalias or y.noalias)
