"""Where the operands and results of collectives lie, and the steps that start them and wait for them.

The operands of an all-reduce lie one behind the other in a bucket, which is reduced in place: what computes an operand
for the collective alone writes it there, other operands are copied. A bucket lives until the collective is done, and as
long as its results are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlc.ir.graph import COLLECTIVE_DONE, COLLECTIVE_START, FUSION, Node
from mlc.ir.plan import COLLECTIVE_SLOTS, CollectiveDone, CollectiveStart, Copy, Progress, Step
from mlc.ir.types import TensorType, TupleType

from .memory import ALIGNMENT

if TYPE_CHECKING:
    from .hazards import Hazards
    from .places import Key, Places, Scope, Value

MOST_IN_FLIGHT = 4
IN_PLACE = ("all_reduce", "collective_broadcast")


def types_of(unit: Node) -> list[TensorType]:
    """The types of the results of a start or an end."""
    if isinstance(unit.type, TupleType):
        return [t for t in unit.type.elements if isinstance(t, TensorType)]
    return [unit.tensor]


def place_operands(scope: Scope, places: Places) -> None:
    """Before the units of a scope are laid out: let what computes an operand write where the collective reads it."""
    from .places import stored_key

    readers: dict[Key, int] = {}
    for unit in scope.order:
        for operand in unit.operands:
            if (key := stored_key(operand)) is not None:
                readers[key] = readers.get(key, 0) + 1
    for result in scope.graph.results:
        if (key := stored_key(result)) is not None:
            readers[key] = readers.get(key, 0) + 1
    for unit in scope.order:
        if unit.op is not COLLECTIVE_START:
            continue
        scope.staged[unit] = values = _stage(scope, unit, places)
        for operand, value in zip(unit.operands, values, strict=True):
            key = stored_key(operand)
            if key is not None and key[0].op is FUSION and readers[key] == 1 and key not in scope.targets:
                scope.targets[key] = value


def _stage(scope: Scope, unit: Node, places: Places) -> list[Value]:
    """Where the operands of a collective lie: side by side, or where its one result has to be."""
    sizes = [places.bytes_of(o.tensor) for o in unit.operands]
    result = scope.targets.get((_end_of(scope, unit), 0))
    carried = any(result is place for place in scope.parameters.values())  # and may be read until the end
    if len(sizes) == 1 and result is not None and not carried and unit["kind"] in IN_PLACE and places.is_free(result):
        return [result]
    if len(sizes) == 1:
        return [places.later(sizes[0], unit)]
    offsets = [0]
    for n in sizes:
        offsets.append(offsets[-1] + -(-n // ALIGNMENT) * ALIGNMENT)
    bucket = places.later(offsets[-1], unit)
    return [places.part(bucket, offset, n) for offset, n in zip(offsets, sizes, strict=False)]


def _end_of(scope: Scope, start: Node) -> Node:
    return next(u for u in scope.order if u.op is COLLECTIVE_DONE and u.operands[0] is start)


def lay_out_start(scope: Scope, unit: Node, places: Places, time: int) -> None:
    """Operands that others need as they are, or that lie elsewhere, are copied before the start."""
    from .places import Move

    staged, moves = scope.staged[unit], scope.entry.setdefault(unit, [])
    for operand, value in zip(unit.operands, staged, strict=True):
        source = places.place(scope, operand).touch(time)
        if source is not value.touch(time):
            moves.append(Move(value, source, operand.tensor))
    for k, type in enumerate(types_of(unit)):
        place = staged[k] if unit["kind"] in IN_PLACE else places.new(places.bytes_of(type), time)
        scope.where[unit, k] = place.touch(time)


def lay_out_end(scope: Scope, unit: Node, places: Places, time: int) -> None:
    """Results are where the collective has put them, or copied to where they have to be."""
    from .places import Move

    (start,) = unit.operands
    moves = scope.entry.setdefault(unit, [])
    for value in scope.staged[start]:
        value.touch(time)
    for k, type in enumerate(types_of(unit)):
        found = scope.where[start, k].touch(time)
        target = scope.targets.get((unit, k), found)
        scope.where[unit, k] = target.touch(time)
        if target is not found:
            moves.append(Move(target, found, type))


class Slots:
    """The collectives in flight while the steps are made, and where each is."""

    def __init__(self) -> None:
        self.of: dict[Node, int] = {}

    def take(self, start: Node) -> int:
        slot = min(set(range(COLLECTIVE_SLOTS)) - set(self.of.values()))
        self.of[start] = slot
        return slot

    def after(self, steps: Sequence[Step]) -> list[Step]:
        """The steps, with a chance to progress behind each copy. Launches give it to what is in flight themselves."""
        found: list[Step] = []
        for step in steps:
            found.append(step)
            if self.of and isinstance(step, Copy):
                found.append(Progress())
        return found


def start_step(scope: Scope, unit: Node, slots: Slots, hazards: Hazards, label: str) -> Step:
    from .places import bytes_of

    first, last, to = scope.staged[unit][0], scope.staged[unit][-1], scope.where[unit, 0]
    count, dtype = unit.operands[0].tensor.size, unit.operands[0].dtype
    nbytes = last.at.offset - first.at.offset + bytes_of(unit.operands[-1].tensor)
    if len(unit.operands) > 1:  # with what is between them
        count = nbytes // dtype.itemsize
    if unit["kind"] == "reduce_scatter":
        count = unit.tensor.size
    accesses = [(first.at, "readwrite", nbytes)]
    if to is not first:
        accesses.append((to.at, "write", bytes_of(unit.tensor)))
    barrier = hazards.touch(accesses, serial=True)
    return CollectiveStart(
        unit["kind"], slots.take(unit), first.at, to.at, count, dtype, unit["replica_groups"], unit["reduction"], 0,
        barrier, label,
    )  # fmt: skip


def end_step(scope: Scope, unit: Node, slots: Slots, hazards: Hazards, label: str) -> Step:
    from .places import bytes_of

    (start,) = unit.operands
    accesses = [(scope.where[start, k].at, "write", bytes_of(t)) for k, t in enumerate(types_of(start))]
    staged = zip(scope.staged[start], start.operands, strict=True)
    accesses += [(value.at, "read", bytes_of(operand.tensor)) for value, operand in staged]  # up to now
    barrier = hazards.touch(accesses, serial=True)
    return CollectiveDone(slots.of.pop(start), barrier, label)


__all__ = [
    "MOST_IN_FLIGHT", "Slots", "end_step", "lay_out_end", "lay_out_start", "place_operands",
    "start_step", "types_of",
]  # fmt: skip
