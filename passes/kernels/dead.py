"""Removes what nothing reads: instructions without effect, loops without stores whose results are unused."""

from __future__ import annotations

from dataclasses import replace

from mlc.ir.kernel import IndexVariable, Instruction, Kernel, Loop, Role, Statement, Value, While

Name = int | IndexVariable | tuple[int]
"""Of a value its id, an index variable itself, of the n-th loop (n,)."""


def remove_dead(kernel: Kernel) -> Kernel:
    """Effects stay, and all that they need."""
    needs = _Needs()
    needs.block(kernel.body, ())
    return kernel.with_body(_Kept(needs.needed()).block(kernel.body))


class _Needs:
    """What everything needs to be computed, found in one walk: names of values, index variables and loops."""

    def __init__(self) -> None:
        self.of: dict[Name, tuple[Name, ...]] = {}
        self.roots: list[Name] = []
        self.loops = 0

    def block(self, body: tuple[Statement, ...], around: tuple[Name, ...]) -> None:
        """``around`` is the loop that the block is in."""
        for s in body:
            if isinstance(s, Instruction):
                self.instruction(s, around)
            elif isinstance(s, Role):
                self.block(s.body, around)
            else:
                self.loop(s, around)

    def instruction(self, n: Instruction, around: tuple[Name, ...]) -> None:
        found: list[Name] = [*around, *(v.id for v in n.operands)]
        for i in (*n.indices, *n.source_indices):
            found += i.variables
        name = n.result.id if isinstance(n.result, Value) else n.result
        if n.has_effect:
            self.roots += found
        if name is not None:
            self.of[name] = tuple(found)

    def loop(self, loop: Loop | While, around: tuple[Name, ...]) -> None:
        itself: tuple[Name, ...] = ((self.loops,),)
        self.loops += 1
        columns = zip(loop.initial, loop.arguments, loop.yields, loop.results, strict=True)
        for initial, argument, following, result in columns:
            self.of[argument.id] = self.of[result.id] = (initial.id, following.id, *itself)
        if isinstance(loop, Loop):
            self.of[itself[0]] = (*around, *loop.lower.variables, *loop.upper.variables)
            self.of[loop.index] = itself
        else:  # it carries all that it did: its test may read any of it
            carried = tuple(v.id for v in (*loop.initial, *loop.yields))
            self.of[itself[0]] = (*around, *carried, loop.condition.id)
            self.block(loop.test, itself)
        self.block(loop.body, itself)

    def needed(self) -> set[Name]:
        """What the roots need, and what that needs."""
        found: set[Name] = set()
        work = self.roots
        while work:
            name = work.pop()
            if name not in found:
                found.add(name)
                work += self.of.get(name, ())
        return found


class _Kept:
    """The statements that define what is needed. Loops are numbered as by ``_Needs``."""

    def __init__(self, needed: set[Name]) -> None:
        self.needed = needed
        self.loops = 0

    def block(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        kept: list[Statement] = []
        for s in body:
            if isinstance(s, Role):
                kept.append(replace(s, body=self.block(s.body)))
            elif not isinstance(s, Instruction):
                kept += self.loop(s)
            elif s.has_effect or (s.result.id if isinstance(s.result, Value) else s.result) in self.needed:
                kept.append(s)
        return tuple(kept)

    def loop(self, loop: Loop | While) -> list[Loop | While]:
        is_needed = (self.loops,) in self.needed
        self.loops += 1
        if isinstance(loop, While):
            test, body = self.block(loop.test), self.block(loop.body)
            return [replace(loop, test=test, body=body)] if is_needed else []
        body = self.block(loop.body)
        if not is_needed:
            return []
        columns = zip(loop.initial, loop.arguments, loop.yields, loop.results, strict=True)
        kept = [c for c in columns if c[1].id in self.needed or c[3].id in self.needed]
        initial, arguments, yields, results = zip(*kept, strict=True) if kept else ((), (), (), ())
        return [replace(loop, body=body, initial=initial, arguments=arguments, yields=yields, results=results)]
