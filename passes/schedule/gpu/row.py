"""Row fusions on a GPU: folds along the last axes and elementwise work on the same rows, in one kernel.

A row belongs to some neighbours of a warp or, where it is long, to a block; each thread has the same elements of it in
every walk, a vector at a time. Short rows stay in registers from the first load to the last store; of longer ones,
later walks read the operands again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import Graph, Node
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, LoopScope, Memory, Value
from mlc.ir.target import GpuTarget
from mlc.ir.types import I64
from mlc.passes.schedule.access import Access
from mlc.passes.schedule.buffers import parameter_buffers, result_buffers
from mlc.passes.schedule.domain import divided
from mlc.passes.schedule.elements import Elements, Point
from mlc.passes.schedule.folds import Fold
from mlc.passes.schedule.region import KernelCall, Operand, ScheduledRegion
from mlc.passes.schedule.row import row_in_place
from mlc.passes.schedule.row_form import RowForm, Walk, find_walks, row_axes
from mlc.passes.schedule.scalars import kernel_name

from .exchange import across_row
from .threads import BLOCK, power_above, spread, vector_lanes

MOST_VECTORS = 8  # of a row that a thread keeps in registers
MOST_UNROLLED = 256  # node values in the straight line that those are computed by
LONGEST_ROW = 512  # threads


@dataclass(frozen=True)
class _Threads:
    """``rows`` of a block, ``along`` threads each, with ``vectors`` in registers, 0 where they walk by loops."""

    rows: int
    along: int
    vectors: int


def schedule_row(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """One kernel, or none where there are no rows."""
    form = _form(body, target)
    # What is written once a row may be read by threads of the row that are not as far yet.
    in_place = frozenset((p, r) for p, r in row_in_place(form) if form.is_full(r))
    count = size_product(g.extent for g in form.kept)
    if count == 0:
        return ScheduledRegion((), (), in_place)
    threads = _threads(form, count, target)
    sizes = form.sizes
    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    memories, operands = parameter_buffers(b, body, sizes)
    results = result_buffers(b, body, sizes)
    operands += tuple(Operand("result", k) for k in range(len(results)))
    warps = threads.along // target.warp
    rooms = {f.node: b.shared(f"s{k}", f.dtype, (warps,)) if warps > 1 else None for k, f in enumerate(_folds(form))}
    nest: tuple[tuple[Size, int], ...] = ((count, threads.rows), (threads.rows, 1), (threads.along, 1))
    elements = Elements(b, sizes, memories, in_tables=True)
    with b.parallel(*((sizes.index(e), n) for e, n in nest), threads=2) as (block, mine, turn):
        elements.prepare(body.nodes)
        number, vectors = block * threads.rows + mine, divided(form.length, form.lanes)
        assert vectors is not None
        rows, extent = Index.of(1), sizes.index(count)
        if not (isinstance(count, int) and count % threads.rows == 0):
            rows = b.max(b.min(extent - number, 1), 0)  # threads behind the last row read and write nothing of it
            number = b.min(number, extent - 1)
        at = {v: Index.of(0) for v in form.space.domain.variables} | spread(b, number, form.kept, sizes)
        _Row(form, threads, target.warp, elements, results, rooms, at, turn, rows, rows * sizes.index(vectors)).emit()
    return ScheduledRegion((KernelCall(b.build(), operands, sizes.operands, nest, False),), (), in_place)


def _form(body: Graph, target: GpuTarget) -> RowForm:
    axes = row_axes(body)
    space, reduced = axes.space, axes.reduced
    lanes = 1
    if reduced:
        written = [(space.here, r) for r in body.results if r.shape == space.shape]
        lanes = vector_lanes(space.domain, axes.accesses, written, reduced, reduced[-1], target)
        while lanes > 1 and divided(reduced[-1].extent, lanes) is None:
            lanes //= 2
    walks = find_walks(body, space, keep=False)
    return RowForm(body, axes.sizes, space, axes.kept, reduced, lanes, 0, walks)


def _folds(form: RowForm) -> list[Fold]:
    return [f for w in form.walks for f in w.folds]


def _threads(form: RowForm, count: Size, target: GpuTarget) -> _Threads:
    length = form.length
    vectors = -(-bounds(length)[1] // form.lanes)
    along = min(power_above(max(vectors, 1)), target.warp)
    if vectors > MOST_VECTORS * target.warp or (vectors > target.warp and bounds(count)[1] < target.multiprocessors):
        along = min(power_above(-(-vectors // 4)), LONGEST_ROW)
    rows = (
        1 if along > target.warp else max(min(BLOCK // 2 // along, power_above(bounds(count)[1])), target.warp // along)
    )
    each = -(-vectors // along)
    fits = isinstance(length, int) and each <= MOST_VECTORS and each * len(form.body.nodes) <= MOST_UNROLLED
    return _Threads(rows, along, max(each, 1) if fits else 0)


@dataclass(frozen=True)
class _Vector:
    """A vector of a row: its point and, where it may lie behind the end, its number."""

    point: Point
    number: Index | None


@dataclass(frozen=True)
class _Row:
    """Emits what a thread does for the row at ``at``: ``rows`` of it, 1 or 0, of ``count`` vectors each."""

    form: RowForm
    threads: _Threads
    warp: int
    elements: Elements
    results: list[Memory]
    rooms: dict[Node, Memory | None]
    at: dict[IndexVariable, Index]
    turn: Index
    rows: Index
    count: Index

    def emit(self) -> None:
        form, space, b = self.form, self.form.space, self.elements.builder
        row = Point(self.elements, space.domain, self.at)
        vectors = [self._vector(k) for k in range(self.threads.vectors)] if self.count.constant != 0 else []
        for step in form.walks:
            uniform = [(a, row.element(a)) for a in step.uniform]
            values = self._in_registers(vectors, step, uniform) if vectors else self._in_loop(step, uniform)
            combines = [partial(f.combine, b) for f in step.folds]
            rooms = [self.rooms[f.node] for f in step.folds]
            values = across_row(b, values, combines, self.turn, self.threads.along, rooms, self.warp)
            for fold, value in zip(step.folds, values, strict=True):
                row.assume(space.access(fold.node), fold.finish(b, value, row))
        narrow = [k for k in range(len(self.results)) if not form.is_full(k)]
        if not narrow:
            return
        found = [row.element(space.access(form.body.results[k])) for k in narrow]
        with b.loop(self.turn, self.rows):
            for k, value in zip(narrow, found, strict=True):
                b.store(self.results[k], (row.place(space.row),), value)

    def _point(self, vector: Index) -> Point:
        form = self.form
        at = self.at | spread(self.elements.builder, vector, form.reduced, form.sizes, form.lanes)
        lane = form.reduced[-1].variable if form.reduced else None
        return Point(self.elements, form.space.domain, at, form.lanes, lane)

    # ---------------------------------------------------------------- in registers

    def _vector(self, number: int) -> _Vector:
        """Vector ``number`` of this thread. What it is computed from is read here where it may not be there."""
        b, index = self.elements.builder, self.turn + number * self.threads.along
        if (number + 1) * self.threads.along <= (self.count.constant or 0):
            return _Vector(self._point(index), None)
        memories, space = self.elements.memories, self.form.space
        leaves = {a: None for w in self.form.walks for a in w.accesses if a.node in memories}
        read = [a for a in leaves if not space.is_uniform(a)]
        point = self._point(index)
        nothing = [b.constant(0, a.node.dtype, self.form.lanes) for a in read]
        with self._if_there(index, nothing) as there:
            inside = self._point(index)
            b.yield_(*[inside.widen(inside.element(a)) for a in read])
        for access, value in zip(read, there.results, strict=True):
            point.assume(access, value)
        return _Vector(point, index)

    def _if_there(self, vector: Index, carried: Sequence[Value] = ()) -> AbstractContextManager[LoopScope]:
        """What follows is done for a vector of this number, if there is one."""
        b = self.elements.builder
        return b.loop(vector, b.min(vector + 1, self.count), carried=carried)

    def _in_registers(
        self, vectors: Sequence[_Vector], step: Walk, uniform: Sequence[tuple[Access, Value]]
    ) -> list[Value]:
        b, lanes = self.elements.builder, self.form.lanes
        values = [f.start(b, lanes) for f in step.folds]
        for vector in vectors:
            for access, value in uniform:
                vector.point.assume(access, value)
            new = [f.step(b, v, vector.point) for f, v in zip(step.folds, values, strict=True)]
            if vector.number is not None and new:
                on = b.compare("LT", b.index_value(vector.number, I64), b.index_value(self.count, I64))
                on = b.splat(on, lanes) if lanes > 1 else on
                new = [b.select(on, x, v) for x, v in zip(new, values, strict=True)]
            values = new
        for vector in vectors:
            found = [vector.point.value(self.form.body.results[k]) for k in step.results]
            if found and vector.number is not None:
                with self._if_there(vector.number):
                    self._store(vector.point, step, found)
            else:
                self._store(vector.point, step, found)
        return [f.across(b, v) for f, v in zip(step.folds, values, strict=True)]

    def _store(self, point: Point, step: Walk, values: Sequence[Value]) -> None:
        for k, value in zip(step.results, values, strict=True):
            point.store(self.results[k], value)

    # ---------------------------------------------------------------- in loops

    def _in_loop(self, step: Walk, uniform: Sequence[tuple[Access, Value]]) -> list[Value]:
        b = self.elements.builder
        values = [f.start(b, self.form.lanes) for f in step.folds]
        if self.count.constant != 0:
            with b.loop(self.turn, self.count, self.threads.along, carried=values, unroll=2) as loop:
                point = self._point(loop.index)
                for access, value in uniform:
                    point.assume(access, value)
                new = [f.step(b, v, point) for f, v in zip(step.folds, loop.carried, strict=True)]
                self._store(point, step, [point.value(self.form.body.results[k]) for k in step.results])
                b.yield_(*new)
            values = list(loop.results)
        return [f.across(b, v) for f, v in zip(step.folds, values, strict=True)]
