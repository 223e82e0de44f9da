"""scatter: the operand copied (or kept in place), then one window after the other combined with what is there.

Tasks own disjoint parts of the result, so that none waits for another and additions keep their order: parts
of the windows, of the axes that operand and indices share and, where those give too few tasks, blocks of the first axis
that indices address. A task of such a block looks at every index and does the updates that fall into its block.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mlc.ir.dims import bounds, size_product
from mlc.ir.graph import Graph, Node, Windows, combiner_of, reachable, windows_of
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Memory, Value
from mlc.ir.target import Target

from .access import Access, vector_accesses
from .axes import Group, join, leaf_indices, refine
from .domain import Coordinates, Domain, coefficient_of
from .elements import Elements, Point
from .loop import element_cost, enter_loop, parameter_buffers, task_ranges
from .region import KernelCall, Operand, ScheduledRegion
from .scalars import kernel_name
from .sizes import Sizes
from .tasks import TASK_COST, choose_lanes, count_tasks, cut, vector_loop
from .turned import MOST_APART, lies_apart
from .update import write_operand

FEWEST_TASKS = 8  # below this many, the result is cut in blocks
SCAN = 8  # elements of a window that cost as much to combine as one index to look at


@dataclass(frozen=True)
class _Nest:
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


def schedule_scatter(body: Graph, target: Target) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and the one that combines the updates with it."""
    (node,) = body.results
    x, indices, updates = node.operands
    first = write_operand(body, x, target)
    read = {body.parameters.index(n) for n in reachable((indices, updates)) if n in body.parameters}
    in_place = frozenset(p for p in first.in_place if p[0] not in read)
    return ScheduledRegion((*first.calls, _kernel(body, target)), (), in_place, first.copies)


def _analyse(body: Graph, target: Target, sizes: Sizes) -> _Nest:
    (node,) = body.results
    x, indices, updates = node.operands
    windows = windows_of(node)

    def roots(domain: Domain) -> list[Access]:
        return [Access(updates, domain.coordinates), *vector_accesses(windows, indices, domain.coordinates)]

    domain, accesses = refine(updates.shape, sizes, roots)
    place = domain.linear(x.shape, _offsets(windows, domain.coordinates))
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
        lanes = choose_lanes([a.node for a in accesses], target, along.extent)
        lanes = min(lanes, MOST_APART) if lies_apart(domain, accesses, along) else lanes
    owned = tuple(g for g in owned if g != along)
    return _Nest(node, windows, domain, accesses, vectors, owned, serial, moved, along, lanes)


def _kind(windows: Windows, dim: int) -> tuple[str, int]:
    """Whether an axis of the updates is owned by tasks, walked in order, or moved by an index."""
    if dim in windows.batching_dims:
        return "own", 0
    if dim in windows.batch_dims:
        return "order", 0
    axis = windows.window_axes[windows.window_dims.index(dim)]
    return ("move", dim) if axis in windows.index_map else ("own", 0)


def _offsets(windows: Windows, at: Coordinates) -> Coordinates:
    """Where an element of the updates lies in the operand, but for the start of its window."""
    found = [Index.of(0)] * windows.operand.rank
    for axis, dim in (*zip(windows.batching, windows.batching_dims, strict=True),
                      *zip(windows.window_axes, windows.window_dims, strict=True)):  # fmt: skip
        found[axis] = at[dim]
    return tuple(found)


def _kernel(body: Graph, target: Target) -> KernelCall:
    sizes = Sizes(body)
    nest = _analyse(body, target, sizes)
    cost = max(element_cost(nest.accesses, (nest.node,)), 1)
    turns = max(bounds(size_product(g.extent for g in (*nest.serial, *nest.moved)))[1], 1)
    groups = nest.owned if nest.along is None else (*nest.owned, nest.along)
    grains = cut([g.extent for g in groups], cost * turns, 4 * nest.lanes if nest.along else 1)
    pairs = tuple((g.extent, n) for g, n in zip(groups, grains, strict=True) if n is not None)
    block_axis, block = _blocks(nest, count_tasks(pairs), cost * turns)
    shape = nest.windows.operand.shape
    tasks_of = (*pairs, (shape[block_axis], block)) if block else pairs
    tasks_of = tasks_of or ((1, 1),)

    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    part = Graph(body.name, body.parameters, nest.node.operands[1:], body.table)
    memories, operands = parameter_buffers(b, part, sizes)
    result = b.buffer("r0", nest.node.dtype, (sizes.index(nest.node.tensor.size),), access="readwrite")
    elements = Elements(b, sizes, memories)
    with b.parallel(*((sizes.index(e), n) for e, n in tasks_of)) as tasks, ExitStack() as stack:
        elements.prepare(part.nodes)
        limits = [(Index.of(0), n) for n in sizes.shape(shape)]
        if block:
            whole = limits[block_axis][1]
            limits[block_axis] = (tasks[-1] * block, b.min(tasks[-1] * block + block, whole))
        ranges = task_ranges(b, groups, grains, tasks, sizes)
        writer = _Writer(b, nest, elements, result, tuple(limits), sizes.shape(shape))
        at: dict[IndexVariable, Index] = {}
        for group, (lower, upper) in zip(nest.owned, ranges, strict=False):  # the last range may be that of ``along``
            at |= group.at(enter_loop(b, stack, lower, upper))
        for group in nest.serial:
            at |= group.at(enter_loop(b, stack, Index.of(0), sizes.index(group.extent)))
        begin = writer.enter_window(at, stack)
        for group in nest.moved:
            at |= group.at(enter_loop(b, stack, Index.of(0), sizes.index(group.extent)))
        place = writer.enter_elements(begin, at, stack)
        if nest.along is None:
            writer.combine(place, at, None)
        else:
            along = nest.along
            emit = lambda i, mask: writer.combine(place, at | along.at(i), mask)  # noqa: E731
            vector_loop(b, *ranges[-1], sizes.index(along.extent), nest.lanes, 2, emit)
    call_operands = (*operands, Operand("result", 0))
    return KernelCall(b.build(), call_operands, sizes.operands, tasks_of, count_tasks(tasks_of) <= 1)


def _blocks(nest: _Nest, tasks: int, cost: int) -> tuple[int, int]:
    """An axis of the operand and how much of it one task owns; 0 for all, where there are tasks enough without."""
    windows = nest.windows
    if not windows.index_map or not 0 < tasks < FEWEST_TASKS:
        return 0, 0
    axis = max(windows.index_map, key=lambda a: bounds(windows.operand.shape[a])[1])
    most = bounds(windows.operand.shape[axis])[1]
    width = bounds(nest.along.extent)[1] if nest.along else 1
    elements = width * bounds(size_product(g.extent for g in nest.owned))[1]
    wanted = min(elements * cost // TASK_COST // tasks, FEWEST_TASKS // tasks, width // SCAN, most)
    return (axis, -(-most // wanted)) if wanted > 1 else (0, 0)


@dataclass(frozen=True)
class _Writer:
    """Writes updates into ``result`` where they fall inside of ``limits``, the part that the task owns."""

    b: KernelBuilder
    nest: _Nest
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
            if value.dtype.kind == "uint" and value.dtype.bits == 64:  # an index is signed
                value = b.op("minimum", value, b.index_value(self.shape[axis], value.dtype))
            begin[axis] = b.max(b.min(b.index_of(value), self.shape[axis]), -size)
        return {axis: self._if_inside(i, axis, stack) if self._is_one(axis) else i for axis, i in begin.items()}

    def enter_elements(self, begin: dict[int, Index], at: dict[IndexVariable, Index], stack: ExitStack) -> Coordinates:
        """Where an element of the window lies, skipped where that is outside."""
        place = list(_offsets(self.nest.windows, self.nest.domain.coordinates))
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
