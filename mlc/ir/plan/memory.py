"""What a Plan's memory is used for: the buffers of its arena with their lives, and the peak of what lives at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mlc.ir.dims import bounds, evaluate_size
from mlc.ir.kernel import IndexVariable, Kernel

from .collective import block_counts
from .data import (
    Branch,
    BufferRef,
    CollectiveStart,
    Copy,
    Launch,
    Loop,
    Plan,
    Step,
    Value,
    byte_size,
    walk_steps,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArenaBuffer:
    """Bytes ``offset .. offset + nbytes`` of an arena from step ``first`` to ``last``; ``label`` is the first's."""

    offset: int
    nbytes: int
    first: int
    last: int
    label: str
    device: int = 0


def arena_buffers(plan: Plan, kernels: Sequence[Kernel]) -> tuple[ArenaBuffer, ...]:
    """The buffers of the arenas by their first step, each at its largest size.

    What one step writes where another wrote before is a buffer of its own, unless the step also reads there.
    """
    upper = {s.name: s.upper for s in plan.symbols}
    found: list[ArenaBuffer] = []
    alive: dict[tuple[int, int], int] = {}  # device, offset -> position in found
    for i, step in enumerate(walk_steps(plan.steps)):
        for ref, nbytes, fresh in touched_by(step, kernels, upper):
            if ref.space != "arena":
                continue
            at = alive.get((ref.index, ref.offset))
            if at is None or (fresh and found[at].last < i):
                alive[ref.index, ref.offset] = len(found)
                found.append(ArenaBuffer(ref.offset, nbytes, i, i, step.label, ref.index))
            else:
                old = found[at]
                found[at] = replace(old, nbytes=max(old.nbytes, nbytes), last=i)
    return tuple(found)


def peak_bytes(buffers: Sequence[ArenaBuffer]) -> int:
    """The most bytes of the arenas that are in use at one step."""
    steps = {b.first for b in buffers}
    return max((sum(b.nbytes for b in buffers if b.first <= s <= b.last) for s in steps), default=0)


def value_bytes(values: Sequence[Value]) -> int:
    """Bytes of inputs, outputs or constants at their largest."""
    return sum(bounds(byte_size(v.type))[1] for v in values)


def touched_by(step: Step, kernels: Sequence[Kernel], upper: Mapping[str, int]) -> list[tuple[BufferRef, int, bool]]:
    """What a step reads and writes: place, bytes, and whether it only writes there."""
    if isinstance(step, Copy):
        nbytes = evaluate_size(step.nbytes, upper)
        return [(step.source, nbytes, False), (step.destination, nbytes, True)]
    if isinstance(step, Loop):
        return [(step.predicate, 1, False)]
    if isinstance(step, Branch):
        return [(step.index, 4, False)]
    if isinstance(step, CollectiveStart):
        reads, writes = (evaluate_size(n, upper) * step.dtype.itemsize for n in block_counts(step))
        return [(step.source, reads, False), (step.destination, writes, step.source != step.destination)]
    if not isinstance(step, Launch):
        return []
    kernel = kernels[step.kernel]
    sizes = {IndexVariable("n", k): evaluate_size(n, upper) for k, n in enumerate(step.sizes)}
    read = {ref for ref, b in zip(step.operands, kernel.buffers, strict=True) if b.access != "write"}
    found = []
    for ref, buffer in zip(step.operands, kernel.buffers, strict=True):
        elements = 1
        for n in buffer.shape:
            elements *= n.evaluate(sizes)
        found.append((ref, elements * buffer.dtype.itemsize, buffer.access == "write" and ref not in read))
    return found
