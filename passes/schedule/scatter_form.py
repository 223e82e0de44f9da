"""A scatter as loops: the axes of its updates by what they do, and how a thread writes the updates that it owns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mlc.ir.graph import Graph, Node, Windows, combiner_of, windows_of
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Memory, Value

from .access import Access, vector_accesses
from .axes import Group, join, leaf_indices, refine
from .domain import Coordinates, Domain, coefficient_of
from .elements import Elements, Point
from .loop import enter_loop
from .sizes import Sizes

Lanes = Callable[[Domain, list[Access], Index, Group], int]
"""How many elements along a group are written at once: of the updates' domain, their accesses and their place."""


@dataclass(frozen=True)
class ScatterNest:
    """The axes of the updates as loops: those that tasks own, those that number windows, those that an index moves."""

    node: Node
    windows: Windows
    domain: Domain
    accesses: list[Access]
    vectors: list[Access]
    owned: tuple[Group, ...]
    serial: tuple[Group, ...]
    moved: tuple[Group, ...]
    along: Group | None  # the lanes lie along it
    lanes: int

    @property
    def groups(self) -> tuple[Group, ...]:
        """All that tasks own, what the lanes lie along last."""
        return self.owned if self.along is None else (*self.owned, self.along)


def analyse_scatter(body: Graph, sizes: Sizes, choose: Lanes) -> ScatterNest:
    """``choose`` says how many lanes lie along the last axis that tasks own, where they can."""
    (node,) = body.results
    x, indices, updates = node.operands
    windows = windows_of(node)

    def roots(domain: Domain) -> list[Access]:
        return [Access(updates, domain.coordinates), *vector_accesses(windows, indices, domain.coordinates)]

    domain, accesses = refine(updates.shape, sizes, roots)
    place = domain.linear(x.shape, window_offsets(windows, domain.coordinates))
    kinds = [_kind(windows, axis) for axis in domain.axis_of]
    groups = join(domain, leaf_indices(domain, accesses) | {place}, kinds)
    owned, serial, moved = (tuple(g for g in groups if kinds[g.variable.id][0] == k) for k in ("own", "order", "move"))
    along = owned[-1] if owned else None
    vectors = roots(domain)[1:]
    if along is not None:
        step = coefficient_of(place, along.variable)
        looked_up = {v for a in vectors for i in a.indices for v in domain.dependencies(i)}
        along = along if step is not None and step.constant == 1 and looked_up.isdisjoint(along.variables) else None
    lanes = 1
    if along is not None:
        lanes = choose(domain, accesses, place, along)
    owned = tuple(g for g in owned if g != along)
    return ScatterNest(node, windows, domain, accesses, vectors, owned, serial, moved, along, lanes)


def _kind(windows: Windows, dim: int) -> tuple[str, int]:
    """Whether an axis of the updates is owned by tasks, walked in order, or moved by an index."""
    if dim in windows.batching_dims:
        return "own", 0
    if dim in windows.batch_dims:
        return "order", 0
    axis = windows.window_axes[windows.window_dims.index(dim)]
    return ("move", dim) if axis in windows.index_map else ("own", 0)


def window_offsets(windows: Windows, at: Coordinates) -> Coordinates:
    """Where an element of the updates lies in the operand, but for the start of its window."""
    found = [Index.of(0)] * windows.operand.rank
    for axis, dim in (*zip(windows.batching, windows.batching_dims, strict=True),
                      *zip(windows.window_axes, windows.window_dims, strict=True)):  # fmt: skip
        found[axis] = at[dim]
    return tuple(found)


def signed_index(b: KernelBuilder, value: Value, extent: Index) -> Value:
    """An index into an axis of this extent, as it is; one of u64 no larger than that: others are negative as i64."""
    if value.dtype.kind == "uint" and value.dtype.bits == 64:
        return b.op("minimum", value, b.index_value(extent, value.dtype))
    return value


@dataclass(frozen=True)
class ScatterWriter:
    """Writes updates into ``result`` where they fall inside of ``limits``, the part that the task owns."""

    b: KernelBuilder
    nest: ScatterNest
    elements: Elements
    result: Memory
    limits: Sequence[tuple[Index, Index]]
    shape: Sequence[Index]

    def enter_window(self, at: dict[IndexVariable, Index], stack: ExitStack) -> dict[int, Index]:
        """Where the window starts on each axis that an index addresses; skipped where one of one element is outside."""
        nest, b = self.nest, self.b
        point = Point(self.elements, nest.domain, at)
        begin: dict[int, Index] = {}
        for axis, access in zip(nest.windows.index_map, nest.vectors, strict=True):
            value, size = point.element(access), self.elements.sizes.index(nest.windows.sizes[axis])
            value = signed_index(b, value, self.shape[axis])
            begin[axis] = b.max(b.min(b.index_of(value), self.shape[axis]), -size)
        return {axis: self._if_inside(i, axis, stack) if self._is_one(axis) else i for axis, i in begin.items()}

    def enter_elements(self, begin: dict[int, Index], at: dict[IndexVariable, Index], stack: ExitStack) -> Coordinates:
        """Where an element of the window lies, skipped where that is outside."""
        place = list(window_offsets(self.nest.windows, self.nest.domain.coordinates))
        for axis, first in begin.items():
            if self._is_one(axis):
                place[axis] = first
            else:
                place[axis] = self._if_inside(first + place[axis].substitute(at), axis, stack)
        return tuple(place)

    def combine(self, place: Coordinates, at: dict[IndexVariable, Index], mask: Value | None) -> None:
        """What is at ``place`` with the update's elements there."""
        nest, b = self.nest, self.b
        along = nest.along.variable if nest.along else None
        point = Point(self.elements, nest.domain, at, nest.lanes, along, mask)
        update, op = point.value(nest.node.operands[2]), combiner_of(nest.node["body"])
        if op is not None:
            update = b.op(op.name, point.read(self.result, nest.node, place), update)
        point.store(self.result, update, place, nest.node.shape)

    def _is_one(self, axis: int) -> bool:
        return self.nest.windows.sizes[axis] == 1

    def _if_inside(self, position: Index, axis: int, stack: ExitStack) -> Index:
        """``position`` in a block that runs where it is in the task's part: a loop of one iteration or none."""
        lower, upper = self.limits[axis]
        return enter_loop(self.b, stack, self.b.max(position, lower), self.b.min(position + 1, upper))
