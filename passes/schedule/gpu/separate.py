"""Buffers that a kernel only reads, and that share memory with nothing it writes: they are marked as such.

A GPU reads them through its constant caches, in any order with what is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlc.ir.kernel import Instruction, Kernel, Memory, Statement, While
from mlc.passes.schedule.region import KernelCall, Operand, ScheduledRegion


def mark_separate(region: ScheduledRegion) -> ScheduledRegion:
    """The region with ``noalias`` on what is read alone: all but parameters that may share a result's memory."""
    shared = {Operand("parameter", p) for p, _ in (*region.in_place, *region.copies)}
    return replace(region, calls=tuple(_marked(call, shared) for call in region.calls))


def _marked(call: KernelCall, shared: set[Operand]) -> KernelCall:
    buffers = call.kernel.buffers
    written = {o for o, m in zip(call.operands, buffers, strict=True) if m.access != "read"}
    marked = {
        m.id: replace(m, noalias=True)
        for o, m in zip(call.operands, buffers, strict=True)
        if m.access == "read" and o.kind != "result" and o not in written and o not in shared
    }
    return replace(call, kernel=_with_memories(call.kernel, marked)) if marked else call


def _with_memories(kernel: Kernel, memories: Mapping[int, Memory]) -> Kernel:
    def of(m: Memory | None) -> Memory | None:
        return None if m is None else memories.get(m.id, m)

    def rewritten(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        return tuple(map(statement, body))

    def statement(s: Statement) -> Statement:
        if isinstance(s, Instruction):
            if s.memory is None and s.source is None:
                return s
            return replace(s, memory=of(s.memory), source=of(s.source))
        if isinstance(s, While):
            return replace(s, test=rewritten(s.test), body=rewritten(s.body))
        return replace(s, body=rewritten(s.body))

    buffers = tuple(memories.get(m.id, m) for m in kernel.buffers)
    return replace(kernel, buffers=buffers, body=rewritten(kernel.body), _texts={})
