"""Reduce fusions: elements of operands folded over some axes, then elementwise work on what is left.

The vector lanes lie along a reduced axis (rows: several vector accumulators, a fixed tree over lanes at the end) or
along a kept one (columns: an accumulator a column). Where the kept axes give too few tasks, a first kernel folds parts
of one reduced axis into temporaries and a second folds those. Parts depend on shapes only, and every order is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import REDUCE, Graph
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Value
from mlc.ir.target import Target

from .access import Access, walk_accesses
from .axes import Group, in_place_pairs, join, leaf_indices, refine
from .domain import Domain, coefficient_of
from .elements import Elements, Point
from .folds import Fold
from .loop import element_cost, enter_loop, parameter_buffers, result_buffers, task_ranges
from .parts import body_of_parts, call_of_parts
from .region import KernelCall, Operand, ScheduledRegion
from .scalars import kernel_name
from .sizes import Sizes
from .tasks import TASK_COST, choose_lanes, count_tasks, cut, vector_loop
from .turned import MOST_APART, lies_apart
from .walk import Bounds, FoldWalk

FEWEST_TASKS = 8  # below this many, a large reduction is cut in parts
MOST_PARTS = 64
MOST_TEMPORARY = 1 << 20  # elements of all parts together

Finish = Callable[[dict[IndexVariable, Index], list[Value], Value | None], None]


@dataclass(frozen=True)
class _Nest:
    """A reduce body as loops: kept and reduced groups, which of them the lanes walk, and the epilogue's own domain."""

    body: Graph
    target: Target
    sizes: Sizes
    folds: tuple[Fold, ...]
    domain: Domain
    accesses: list[Access]
    rest: Domain  # of the results: the kept variables of ``domain``, in order
    kept: tuple[Group, ...]
    reduced: tuple[Group, ...]
    lane_group: Group
    lanes: int

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

    def rest_at(self, at: dict[IndexVariable, Index]) -> dict[IndexVariable, Index]:
        """The epilogue domain's variables from those of the whole domain."""
        return {new: at[old] for new, old in zip(self.rest.variables, self.kept_variables, strict=True)}

    @property
    def kept_variables(self) -> tuple[IndexVariable, ...]:
        axes = self.folds[0].node["dimensions"]
        pairs = zip(self.domain.variables, self.domain.axis_of, strict=True)
        return tuple(v for v, axis in pairs if axis not in axes)


def schedule_reduce(body: Graph, target: Target) -> ScheduledRegion:
    """One kernel, or two where one would give too few tasks."""
    nest = _analyse(body, target)
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


def _analyse(body: Graph, target: Target) -> _Nest:
    sizes = Sizes(body)
    folds = tuple(Fold.of(n) for n in body.nodes if n.op is REDUCE)
    nodes = [f.node for f in folds]
    shape, axes = nodes[0].operands[0].shape, nodes[0]["dimensions"]
    domain, accesses = refine(shape, sizes, lambda d: [Access(n.operands[0], d.coordinates) for n in nodes])
    rest_shape = nodes[0].shape
    rest = Domain(rest_shape, sizes, tuple(s for a, s in enumerate(domain.splits) if a not in axes))
    roots = [Access(r, rest.coordinates) for r in body.results]
    after = list(walk_accesses(roots, rest, nodes))
    reduced_axis = [axis in axes for axis in domain.axis_of]
    kept_variables = [v for v, gone in zip(domain.variables, reduced_axis, strict=True) if not gone]
    names = dict(zip(rest.variables, map(Index.of, kept_variables), strict=True))
    outer = leaf_indices(rest, after) | {rest.linear(rest_shape, rest.coordinates)}
    indices = leaf_indices(domain, accesses) | {e.substitute(names) for e in outer}
    groups = join(domain, indices, reduced_axis)
    kept = tuple(g for g in groups if not reduced_axis[g.variable.id])
    reduced = tuple(g for g in groups if reduced_axis[g.variable.id])
    lane_group = lane_group_of(groups, domain, accesses)
    extent = lane_group.extent if groups else 1
    inner = [a.node for a in accesses] + [f.node for f in folds]
    lanes = choose_lanes(inner, target, extent) if groups else 1
    if lies_apart(domain, accesses, lane_group):
        lanes = min(lanes, MOST_APART)
    kept = tuple(g for g in kept if g != lane_group) + tuple(g for g in kept if g == lane_group)
    reduced = tuple(g for g in reduced if g != lane_group) + tuple(g for g in reduced if g == lane_group)
    return _Nest(body, target, sizes, folds, domain, accesses, rest, kept, reduced, lane_group, lanes)


def lane_group_of(groups: tuple[Group, ...], domain: Domain, accesses: list[Access]) -> Group:
    """The group that most operands are contiguous along, inner ones first."""
    best, found = None, Group((IndexVariable("d", 0),), 1)
    for group in reversed(groups):
        apart = 0
        for access in accesses:
            if access.node.op.name == "parameter":
                step = coefficient_of(domain.linear(access.node.shape, access.coordinates), group.variable)
                apart += step is None or step.constant not in (0, 1, -1)
        if best is None or apart < best:
            best, found = apart, group
    return found


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
            point = _rest_point(nest, elements, at, mask)
            for fold, value in zip(nest.folds, values, strict=True):
                point.bind(fold.node, fold.finish(b, value, point))
            found = [point.value(r) for r in body.results]
            for memory, value in zip(results, found, strict=True):
                point.store(memory, value)

        _emit(nest, elements, kept, whole, finish)
    return KernelCall(b.build(), operands, sizes.operands, tasks, count_tasks(tasks) <= 1)


def _in_parts(
    nest: _Nest, group: Group, grain: int, parts: int, in_place: frozenset[tuple[int, int]]
) -> ScheduledRegion:
    """A kernel that folds each part of ``group`` into temporaries, and the kernels that fold those."""
    body, sizes = nest.body, nest.sizes
    kept_size: Size = nest.folds[0].node.tensor.size
    temporaries = tuple(parts * bounds(kept_size)[1] * f.dtype.itemsize for f in nest.folds)
    b = KernelBuilder(kernel_name(f.node for f in nest.folds) + "_parts", sizes.count)
    memories, operands = parameter_buffers(b, _operands_only(nest), sizes)
    extent = sizes.index(kept_size)
    buffers = [
        b.buffer(f"t{k}", f.dtype, (extent * parts,), access="write", noalias=True) for k, f in enumerate(nest.folds)
    ]
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
            point = _rest_point(nest, elements, at, mask)
            for memory, value in zip(buffers, values, strict=True):
                point.store(memory, value, offset=part * extent)

        _emit(nest, elements, kept, reduced, finish)
    first = KernelCall(b.build(), operands, sizes.operands, tasks, False)
    second = _kernel_of_parts(nest, parts)
    return ScheduledRegion((first, second), temporaries, in_place)


def _kernel_of_parts(nest: _Nest, parts: int) -> KernelCall:
    """The kernel that folds the temporaries and computes the epilogue: that of a reduce body of its own."""
    of_parts = _analyse(body_of_parts(nest.body, nest.folds, parts), nest.target)
    return call_of_parts(_kernel(of_parts, _kept_grains(of_parts)), len(nest.folds))


def _operands_only(nest: _Nest) -> Graph:
    """The body that computes what is folded."""
    body = nest.body
    return Graph(body.name, body.parameters, tuple(f.node.operands[0] for f in nest.folds), body.table)


def _rest_point(nest: _Nest, elements: Elements, at: dict[IndexVariable, Index], mask: Value | None) -> Point:
    if nest.in_rows:
        return Point(elements, nest.rest, nest.rest_at(at))
    lane = nest.rest.variables[nest.kept_variables.index(nest.lane_group.variable)]
    return Point(elements, nest.rest, nest.rest_at(at), nest.lanes, lane, mask)


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
