"""Row fusions: folds along the last axes and elementwise work on the same rows, before and after them, in one kernel.

A softmax, a normalisation or a loss with its gradient reads a row from memory once: later walks over it find it in L1,
with what is worth keeping beside it in scratch. Short rows stay in registers from the first load to the last store.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from mlc.ir.dims import bounds
from mlc.ir.graph import Graph, Node
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Memory, Value
from mlc.ir.target import Target

from .access import Access, walk_accesses
from .buffers import parameter_buffers
from .elements import Elements, Point
from .folds import Fold
from .loop import enter_loop, task_ranges, unroll_of
from .region import KernelCall, Operand, ScheduledRegion
from .row_form import RowForm, Walk, row_form
from .scalars import kernel_name
from .tasks import count_tasks, cut, vector_loop
from .walk import ROW_ACCUMULATORS, FoldWalk


def schedule_row(body: Graph, target: Target) -> ScheduledRegion:
    """One kernel; a task is some whole rows."""
    form = row_form(body, target)
    sizes = form.sizes
    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    memories, operands = parameter_buffers(b, body, sizes)
    read_back = {n for w in form.walks for n in w.reads}
    results = [
        b.buffer(f"r{k}", r.dtype, (sizes.index(r.tensor.size),), access="readwrite" if r in read_back else "write")
        for k, r in enumerate(body.results)
    ]
    operands += tuple(Operand("result", k) for k in range(len(results)))
    grains = cut([g.extent for g in form.kept], form.cost * max(bounds(form.length)[1], 1))
    tasks = tuple((g.extent, n) for g, n in zip(form.kept, grains, strict=True) if n is not None) or ((1, 1),)
    elements = Elements(b, sizes, memories)
    kept = {n: _room(b, form, n) for w in form.walks for n in w.writes}
    with b.parallel(*((sizes.index(e), n) for e, n in tasks)) as indices, ExitStack() as stack:
        elements.prepare(body.nodes)
        at = {v: Index.of(0) for v in form.space.domain.variables}
        for group, (lower, upper) in zip(form.kept, task_ranges(b, form.kept, grains, indices, sizes), strict=True):
            at |= group.at(enter_loop(b, stack, lower, upper))
        _Row(form, elements, results, kept, at).emit()
    call = KernelCall(b.build(), operands, sizes.operands, tasks, count_tasks(tasks) <= 1)
    return ScheduledRegion((call,), (), row_in_place(form))


def _room(b: KernelBuilder, form: RowForm, node: Node) -> Memory:
    """Scratch for a row of ``node``."""
    return b.scratch("row", node.dtype, (max(bounds(form.length)[1], 1),))


@dataclass(frozen=True)
class _Row:
    """Emits all that is done for the row at ``at``."""

    form: RowForm
    elements: Elements
    results: list[Memory]
    kept: dict[Node, Memory]
    at: dict[IndexVariable, Index]

    def emit(self) -> None:
        space = self.form.space
        row = Point(self.elements, space.domain, self.at)
        walk = self._in_registers() if self.form.vectors else self._in_loops
        for step in self.form.walks:
            uniform = [(a, row.element(a)) for a in step.uniform]
            for fold, value in zip(step.folds, walk(step, uniform), strict=True):
                row.assume(space.access(fold.node), fold.finish(self.elements.builder, value, row))
        small = [(k, r) for k, r in enumerate(self.form.body.results) if not self.form.is_full(k)]
        values = [row.element(space.access(r)) for _, r in small]  # before what a result may overwrite goes
        for (k, _), value in zip(small, values, strict=True):
            self.elements.builder.store(self.results[k], (row.place(space.row),), value)

    # ---------------------------------------------------------------- rows in registers

    def _in_registers(self) -> Callable[[Walk, list[tuple[Access, Value]]], list[Value]]:
        """All vectors of the row side by side: what one walk computed, later ones have."""
        form, points = self.form, []
        for k in range(form.vectors):
            at, lane, mask = self.at, None, None
            for group in form.reduced:
                start, length = k * form.lanes, bounds(group.extent)[1]
                at, lane = at | group.at(Index.of(start)), group.variable
                if start + form.lanes > length:
                    mask = self.elements.builder.tail_mask(start, length, form.lanes)
            points.append(Point(self.elements, form.space.domain, at, form.lanes, lane, mask))

        def walk(step: Walk, uniform: list[tuple[Access, Value]]) -> list[Value]:
            for point in points:
                self._assume(point, uniform)
            values = [self._fold(fold, points) for fold in step.folds]
            for point in points:
                self._store(point, step)
            return values

        return walk

    def _fold(self, fold: Fold, points: list[Point]) -> Value:
        b = self.elements.builder
        parts = [fold.start(b, self.form.lanes)] * min(len(points), ROW_ACCUMULATORS)
        for k, point in enumerate(points):
            parts[k % len(parts)] = fold.step(b, parts[k % len(parts)], point)
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [fold.combine(b, parts[i], parts[i + half]) for i in range(half)] + parts[2 * half :]
        return fold.across(b, parts[0])

    # ---------------------------------------------------------------- rows in loops

    def _in_loops(self, step: Walk, uniform: list[tuple[Access, Value]]) -> list[Value]:
        form, sizes = self.form, self.elements.sizes
        ranges = [(Index.of(0), sizes.index(g.extent)) for g in form.reduced]

        def enter(point: Point) -> None:
            self._assume(point, uniform)
            self._read(point, step)

        def leave(point: Point) -> None:
            self._keep(point, step)
            self._store(point, step)

        if step.folds:
            walk = FoldWalk(self.elements, form.space.domain, step.folds, form.reduced, ranges, form.lanes,
                            form.reduced[-1].variable, True, enter=enter, leave=leave)  # fmt: skip
            return walk.run(self.at)[0]
        with ExitStack() as stack:
            at = dict(self.at)
            for group, (lower, upper) in zip(form.reduced[:-1], ranges[:-1], strict=True):
                at |= group.at(enter_loop(self.elements.builder, stack, lower, upper))
            inner = form.reduced[-1]

            def emit(index: Index, mask: Value | None) -> None:
                here = at | inner.at(index)
                point = Point(self.elements, form.space.domain, here, form.lanes, inner.variable, mask)
                enter(point)
                leave(point)

            lower, upper = ranges[-1]
            vector_loop(self.elements.builder, lower, upper, upper, form.lanes, unroll_of(step.accesses), emit)
        return []

    # ---------------------------------------------------------------- at a point

    def _assume(self, point: Point, uniform: list[tuple[Access, Value]]) -> None:
        for access, value in uniform:
            point.assume(access, value)

    def _read(self, point: Point, step: Walk) -> None:
        """What an earlier walk left, in scratch or in a result."""
        space, b = self.form.space, self.elements.builder
        for node in step.reads:
            if node in self.kept:
                memory, place = self.kept[node], space.column
            else:
                memory, place = self.results[self.form.body.results.index(node)], space.here
            point.assume(space.access(node), b.load(memory, (point.place(place),), point.lanes, point.mask))

    def _keep(self, point: Point, step: Walk) -> None:
        for node in step.writes:
            value = point.value(node)
            index = point.place(self.form.space.column)
            self.elements.builder.store(self.kept[node], (index,), value, point.mask)

    def _store(self, point: Point, step: Walk) -> None:
        values = [point.value(self.form.body.results[k]) for k in step.results]  # before any lies where they are read
        for k, value in zip(step.results, values, strict=True):
            point.store(self.results[k], value)


def row_in_place(form: RowForm) -> frozenset[tuple[int, int]]:
    """A result may lie where a parameter does that is read at the same element only, in no walk after its store.

    Results of one element a row are stored behind all walks.
    """
    body, space = form.body, form.space
    last: dict[Node, int] = {}
    places: dict[Node, set[Index]] = {}

    def note(roots: list[Access], number: int) -> None:
        for a in walk_accesses(roots, space.domain, {f.node for w in form.walks for f in w.folds}):
            if a.node in parameters:
                last[a.node] = number
                places.setdefault(a.node, set()).add(space.domain.linear(a.node.shape, a.coordinates))

    parameters = set(body.parameters)
    for number, walk in enumerate(form.walks):
        note(list(walk.accesses), number)
    note([space.access(r) for k, r in enumerate(body.results) if not form.is_full(k)], len(form.walks))
    stored = {k: number for number, w in enumerate(form.walks) for k in w.results}
    return frozenset(
        (p, r)
        for p, parameter in enumerate(body.parameters)
        for r, result in enumerate(body.results)
        if places.get(parameter) == {space.here if form.is_full(r) else space.row}
        and last[parameter] <= stored.get(r, len(form.walks))
        and parameter.tensor.size == result.tensor.size
        and parameter.dtype.itemsize == result.dtype.itemsize
    )  # fmt: skip
