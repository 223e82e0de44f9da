"""Reduce fusions: elements of operands folded over some axes, then elementwise work on what is left.

The vector lanes lie along a reduced axis (rows: several vector accumulators, a fixed tree over lanes at the end) or
along a kept one (columns: an accumulator a column). Where the kept axes give too few tasks, a first kernel folds parts
of one reduced axis into temporaries and a second folds those. Parts depend on shapes only, and every order is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from mlc.ir.dims import bounds, size_product
from mlc.ir.graph import Graph
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Value
from mlc.ir.target import Target

from .axes import Group, in_place_pairs
from .buffers import parameter_buffers, result_buffers
from .elements import Elements, Point
from .loop import element_cost, enter_loop, task_ranges
from .parts import body_of_parts, call_of_parts
from .reduce_form import ReduceForm
from .region import KernelCall, Operand, ScheduledRegion
from .scalars import kernel_name
from .tasks import TASK_COST, choose_lanes, count_tasks, cut, vector_loop
from .turned import MOST_APART, lies_apart
from .walk import Bounds, FoldWalk

FEWEST_TASKS = 8  # below this many, a large reduction is cut in parts
MOST_PARTS = 64
MOST_TEMPORARY = 1 << 20  # elements of all parts together

Finish = Callable[[dict[IndexVariable, Index], list[Value], Value | None], None]


class _Nest(ReduceForm):
    """A reduce body as loops, vectors of ``lanes`` along the lane group."""

    def __init__(self, body: Graph, target: Target) -> None:
        super().__init__(body)
        self.target = target
        group = self.lane_group
        inner = [a.node for a in self.accesses] + [f.node for f in self.folds]
        self.lanes = choose_lanes(inner, target, group.extent) if self.kept or self.reduced else 1
        if lies_apart(self.domain, self.accesses, group):
            self.lanes = min(self.lanes, MOST_APART)

    @property
    def in_rows(self) -> bool:
        return self.lane_group in self.reduced or self.lanes == 1

    @property
    def columns(self) -> int:
        """Vectors of kept elements that are folded side by side."""
        if self.in_rows:
            return 1
        room = self.target.vector_registers // 4 // len(self.folds)
        return max(min(room, 4, -(-bounds(self.lane_group.extent)[1] // self.lanes)), 1)

    @property
    def cost(self) -> int:
        return element_cost(self.accesses, ())

    @property
    def length(self) -> int:
        """The most elements that are folded into one."""
        return bounds(size_product(g.extent for g in self.reduced))[1]


def schedule_reduce(body: Graph, target: Target) -> ScheduledRegion:
    """One kernel, or two where one would give too few tasks."""
    nest = _Nest(body, target)
    grains = _kept_grains(nest)
    tasks = count_tasks((g.extent, n) for g, n in zip(nest.kept, grains, strict=True) if n is not None)
    most = bounds(size_product(g.extent for g in nest.kept))[1]
    work = nest.length * most * nest.cost
    in_place = in_place_pairs(body, [f.node for f in nest.folds])
    fits = most * MOST_PARTS <= MOST_TEMPORARY
    if nest.reduced and 0 < tasks < FEWEST_TASKS and work > FEWEST_TASKS * TASK_COST and fits:
        parts = min(work // TASK_COST // tasks, MOST_PARTS)
        group = max(nest.reduced, key=lambda g: bounds(g.extent)[1])
        longest = bounds(group.extent)[1]
        unit = 4 * nest.lanes if group == nest.lane_group else 1
        grain = -(-longest // parts // unit) * unit
        if grain < longest:
            return _in_parts(nest, group, grain, -(-longest // grain), in_place)
    return ScheduledRegion((_kernel(nest, grains),), (), in_place)


def _kept_grains(nest: _Nest) -> tuple[int | None, ...]:
    multiple = 1 if nest.in_rows else nest.columns * nest.lanes
    return cut([g.extent for g in nest.kept], max(nest.cost * nest.length, 1), multiple)


def _kernel(nest: _Nest, grains: tuple[int | None, ...]) -> KernelCall:
    """Folds and epilogue in one kernel."""
    body, sizes = nest.body, nest.sizes
    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    memories, operands = parameter_buffers(b, body, sizes)
    results = result_buffers(b, body, sizes)
    operands += tuple(Operand("result", k) for k in range(len(results)))
    elements = Elements(b, sizes, memories)
    tasks = tuple((g.extent, n) for g, n in zip(nest.kept, grains, strict=True) if n is not None) or ((1, 1),)
    with b.parallel(*((sizes.index(e), n) for e, n in tasks)) as indices:
        elements.prepare(body.nodes)
        whole = [(Index.of(0), sizes.index(g.extent)) for g in nest.reduced]
        kept = task_ranges(b, nest.kept, grains, indices, sizes)

        def finish(at: dict[IndexVariable, Index], values: list[Value], mask: Value | None) -> None:
            nest.store(_rest_point(nest, elements, at, mask), values, results)

        _emit(nest, elements, kept, whole, finish)
    return KernelCall(b.build(), operands, sizes.operands, tasks, count_tasks(tasks) <= 1)


def _in_parts(
    nest: _Nest, group: Group, grain: int, parts: int, in_place: frozenset[tuple[int, int]]
) -> ScheduledRegion:
    """A kernel that folds each part of ``group`` into temporaries, and the kernels that fold those."""
    body, sizes = nest.body, nest.sizes
    temporaries = tuple(parts * bounds(nest.size)[1] * f.dtype.itemsize for f in nest.folds)
    b = KernelBuilder(kernel_name(f.node for f in nest.folds) + "_parts", sizes.count)
    memories, operands = parameter_buffers(b, nest.operands_only, sizes)
    buffers = nest.part_buffers(b, parts)
    operands += tuple(Operand("temporary", k) for k in range(len(buffers)))
    elements = Elements(b, sizes, memories)
    grains = _kept_grains(nest)
    kept_tasks = tuple((g.extent, n) for g, n in zip(nest.kept, grains, strict=True) if n is not None)
    tasks = ((parts, 1), *kept_tasks)
    with b.parallel(*((sizes.index(e), n) for e, n in tasks)) as (part, *indices):
        elements.prepare(body.nodes)
        kept = task_ranges(b, nest.kept, grains, tuple(indices), sizes)
        reduced = [(Index.of(0), sizes.index(g.extent)) for g in nest.reduced]
        axis = nest.reduced.index(group)
        longest, lower = reduced[axis][1], part * grain
        if longest == Index.of(parts * grain):
            reduced[axis] = (lower, lower + grain)
        else:
            reduced[axis] = (b.min(lower, longest), b.min(lower + grain, longest))

        def finish(at: dict[IndexVariable, Index], values: list[Value], mask: Value | None) -> None:
            nest.store_part(_rest_point(nest, elements, at, mask), values, buffers, part)

        _emit(nest, elements, kept, reduced, finish)
    first = KernelCall(b.build(), operands, sizes.operands, tasks, False)
    second = _kernel_of_parts(nest, parts)
    return ScheduledRegion((first, second), temporaries, in_place)


def _kernel_of_parts(nest: _Nest, parts: int) -> KernelCall:
    """The kernel that folds the temporaries and computes the epilogue: that of a reduce body of its own."""
    of_parts = _Nest(body_of_parts(nest.body, nest.folds, parts), nest.target)
    return call_of_parts(_kernel(of_parts, _kept_grains(of_parts)), len(nest.folds))


def _rest_point(nest: _Nest, elements: Elements, at: dict[IndexVariable, Index], mask: Value | None) -> Point:
    return nest.rest_point(elements, at, 1 if nest.in_rows else nest.lanes, mask)


def _emit(nest: _Nest, elements: Elements, kept: Sequence[Bounds], reduced: Sequence[Bounds], finish: Finish) -> None:
    """The loops of one task: kept points, in each the reduced axes, then ``finish`` with the folds' values."""
    b = elements.builder
    at: dict[IndexVariable, Index] = {v: Index.of(0) for v in nest.domain.variables}

    def walk(columns: int, mask: Value | None) -> FoldWalk:
        return FoldWalk(elements, nest.domain, nest.folds, nest.reduced, reduced, nest.lanes,
                        nest.lane_group.variable, nest.in_rows, columns, mask)  # fmt: skip

    with ExitStack() as stack:
        plain = len(nest.kept) if nest.in_rows else len(nest.kept) - 1
        for group, (lower, upper) in zip(nest.kept[:plain], kept[:plain], strict=True):
            at |= group.at(enter_loop(b, stack, lower, upper))
        if nest.in_rows:
            finish(at, walk(1, None).run(at)[0], None)
            return

        def columns(index: Index, count: int, mask: Value | None) -> None:
            for k, values in enumerate(walk(count, mask).run(at | nest.lane_group.at(index))):
                finish(at | nest.lane_group.at(index + k * nest.lanes), values, mask)

        lower, upper = kept[-1]
        extent = elements.sizes.index(nest.lane_group.extent)
        width = nest.columns * nest.lanes
        if nest.columns > 1:
            blocks = b.min(upper, b.floordiv(extent, width) * width)
            if (blocks - lower).constant == width:
                columns(lower, nest.columns, None)
            elif (blocks - lower).constant != 0:
                with b.loop(lower, blocks, width) as loop:
                    columns(loop.index, nest.columns, None)
            if (upper - blocks).constant == 0 or (
                isinstance(nest.lane_group.extent, int) and nest.lane_group.extent % width == 0
            ):
                return
            lower = b.max(lower, blocks)
        vector_loop(b, lower, upper, extent, nest.lanes, 1, lambda i, mask: columns(i, 1, mask))
