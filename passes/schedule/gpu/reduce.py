"""Reduce fusions on a GPU: elements folded over some axes by several threads, then elementwise work on what is left.

Where memory is contiguous along a folded axis, a row of threads folds one element of the result, vectors apart, and
meets by shuffles (and through shared memory where the row is longer than a warp). Where it is contiguous along a kept
axis, neighbouring threads have neighbouring elements of the result, and those of a column of the block take turns.
Where that gives too few blocks, a first kernel folds parts into temporaries and a second one those. All of it depends
on shapes only: sums have one order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import Graph
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Memory, Value
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.axes import Group, in_place_pairs
from mlc.passes.schedule.buffers import parameter_buffers, result_buffers
from mlc.passes.schedule.domain import divided
from mlc.passes.schedule.elements import Elements, Point
from mlc.passes.schedule.folds import Fold
from mlc.passes.schedule.parts import body_of_parts, call_of_parts
from mlc.passes.schedule.reduce_form import ReduceForm
from mlc.passes.schedule.region import KernelCall, Operand, ScheduledRegion
from mlc.passes.schedule.scalars import kernel_name

from .exchange import across_row, tree
from .threads import BLOCK, power_above, spread, vector_lanes

EACH = 4  # vectors that a thread folds at least, where there is a choice
BUSY = 1024  # threads of a multiprocessor that keep its memory busy
LONGEST_ROW = 512  # threads
MOST_TEMPORARY = 1 << 22  # elements of all parts together

Finish = Callable[[Point, list[Value], Index], None]


class _Nest(ReduceForm):
    """A reduce body for threads, of which neighbouring ones walk the lane group.

    Of the kept elements, or of the reduced ones ``in_rows``, vectors of ``lanes`` are taken at once.
    """

    def __init__(self, body: Graph, target: GpuTarget) -> None:
        super().__init__(body)
        self.target = target
        inner = self.lane_group
        self.in_rows = inner not in self.kept
        self.lanes = 1
        if inner in (*self.kept, *self.reduced):
            side = self.reduced if self.in_rows else self.kept
            self.lanes = vector_lanes(self.domain, self.accesses, [], side, inner, target)
        if not self.in_rows:
            written = [(self.here, r) for r in body.results]
            own = Group((self.rest_lane,), inner.extent)
            self.lanes = min(self.lanes, vector_lanes(self.rest, self.after, written, self.kept, own, target))
            columns = bounds(self.outputs)[1]
            while self.lanes > 1 and (divided(inner.extent, self.lanes) is None or columns < self.lanes * BLOCK):
                self.lanes //= 2

    @property
    def outputs(self) -> Size:
        return size_product(g.extent for g in self.kept)

    @property
    def length(self) -> Size:
        """How many elements are folded into one."""
        return size_product(g.extent for g in self.reduced)


@dataclass(frozen=True)
class _Threads:
    """A block of ``across`` elements (or vectors of them) of the result, each folded by ``along`` threads.

    The elements to fold are cut in ``parts`` of ``grain`` vectors.
    """

    across: int
    along: int
    parts: int
    grain: int


def schedule_reduce(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """One kernel, or two where one would have too few blocks; none where the results have no elements."""
    nest = _Nest(body, target)
    in_place = in_place_pairs(body, [f.node for f in nest.folds])
    if nest.outputs == 0:
        return ScheduledRegion((), (), in_place)
    threads = _threads(nest)
    if threads.parts == 1:
        return ScheduledRegion((_Kernel(nest, threads).whole(),), (), in_place)
    second = _Nest(body_of_parts(body, nest.folds, threads.parts), target)
    of_parts = _Kernel(second, _threads(second, whole=True)).whole()
    most = bounds(nest.outputs)[1]
    temporaries = tuple(threads.parts * most * f.dtype.itemsize for f in nest.folds)
    calls = (_Kernel(nest, threads).part(), call_of_parts(of_parts, len(nest.folds)))
    return ScheduledRegion(calls, temporaries, in_place)


def _threads(nest: _Nest, *, whole: bool = False) -> _Threads:
    """How a block is cut; ``whole`` for one part."""
    target, warp = nest.target, nest.target.warp
    length, outputs = bounds(nest.length)[1], bounds(nest.outputs)[1]
    busy = target.multiprocessors * BUSY
    if nest.in_rows:
        vectors = -(-length // nest.lanes)
        along = min(power_above(max(vectors, 1)), warp)
        if outputs * along < busy and vectors > EACH * warp:
            along = min(power_above(-(-vectors // EACH)), LONGEST_ROW)
        across = 1 if along > warp else max(min(BLOCK // 2 // along, power_above(outputs)), warp // along)
    else:
        vectors, outputs = length, -(-outputs // nest.lanes)
        across, along = min(power_above(outputs), warp), 1
        while along * across < BLOCK and vectors >= 2 * EACH * along and outputs * along < busy:
            along *= 2
        along = max(along, warp // across)
    blocks = -(-outputs // across)
    grain = 4 * EACH * along
    parts = 1
    if blocks < target.multiprocessors and vectors > 2 * grain and not whole:
        parts = min(-(-vectors // grain), 4 * target.multiprocessors // blocks)
        if parts * outputs * nest.lanes > MOST_TEMPORARY:
            parts = 1
        grain = -(-vectors // parts // along) * along
        parts = -(-vectors // grain)
    return _Threads(across, along, parts, grain)


class _Kernel:
    """Writes one kernel: that of whole elements of the result, or of parts of them."""

    def __init__(self, nest: _Nest, threads: _Threads) -> None:
        self.nest, self.threads, self.sizes = nest, threads, nest.sizes

    def whole(self) -> KernelCall:
        """Folds and epilogue in one."""
        nest = self.nest
        b = KernelBuilder(kernel_name(nest.body.nodes), self.sizes.count)
        memories, operands = parameter_buffers(b, nest.body, self.sizes)
        results = result_buffers(b, nest.body, self.sizes)
        elements = Elements(b, self.sizes, memories, in_tables=True)

        def finish(point: Point, values: list[Value], part: Index) -> None:
            nest.store(point, values, results)

        nest_of = self._emit(elements, finish)
        operands += tuple(Operand("result", k) for k in range(len(results)))
        return KernelCall(b.build(), operands, self.sizes.operands, nest_of, False)

    def part(self) -> KernelCall:
        """The folds of each part, in temporaries: part, then element of the result."""
        nest = self.nest
        b = KernelBuilder(kernel_name(f.node for f in nest.folds) + "_parts", self.sizes.count)
        memories, operands = parameter_buffers(b, nest.operands_only, self.sizes)
        buffers = nest.part_buffers(b, self.threads.parts)
        elements = Elements(b, self.sizes, memories, in_tables=True)

        def finish(point: Point, values: list[Value], part: Index) -> None:
            nest.store_part(point, values, buffers, part)

        nest_of = self._emit(elements, finish)
        operands += tuple(Operand("temporary", k) for k in range(len(buffers)))
        return KernelCall(b.build(), operands, self.sizes.operands, nest_of, False)

    def _emit(self, elements: Elements, finish: Finish) -> tuple[tuple[Size, int], ...]:
        """The parallel loop; gives its axes."""
        nest, threads, b = self.nest, self.threads, elements.builder
        lanes = 1 if nest.in_rows else nest.lanes
        rooms = [self._room(b, f, k) for k, f in enumerate(nest.folds)]
        sides = ((threads.across, 1), (threads.along, 1))
        axes: tuple[tuple[Size, int], ...] = ((nest.outputs, threads.across * lanes),)
        axes += sides if nest.in_rows else sides[::-1]
        if threads.parts > 1:
            axes = ((threads.parts, 1), *axes)
        with b.parallel(*((self.sizes.index(e), n) for e, n in axes), threads=2) as (*outer, x, y):
            elements.prepare(nest.body.nodes)
            part = outer[0] if threads.parts > 1 else Index.of(0)
            (mine, turn) = (x, y) if nest.in_rows else (y, x)
            number = outer[-1] * threads.across + mine
            count = self.sizes.index(divided(nest.outputs, lanes) or 0)
            exact = isinstance(nest.outputs, int) and nest.outputs % (threads.across * lanes) == 0
            inside = number if exact else b.min(number, count - 1)  # threads beyond the end do what the last one does
            at = spread(b, inside, nest.kept, self.sizes, lanes)
            values = self._fold(elements, at, turn, part)
            values = self._meet(b, values, turn, mine, rooms)
            with ExitStack() as stack:
                if threads.along > 1:
                    stack.enter_context(b.loop(turn, 1))
                if not exact:
                    stack.enter_context(b.loop(number, b.min(number + 1, count)))
                if not nest.in_rows and threads.along > 1:
                    values = [self._column(b, f, m, mine) for f, m in zip(nest.folds, rooms, strict=True)]
                finish(nest.rest_point(elements, at, lanes), values, part)
        return axes

    def _room(self, b: KernelBuilder, fold: Fold, number: int) -> Memory | None:
        """Where the values of a fold meet, if they have to."""
        nest, threads = self.nest, self.threads
        if nest.in_rows:
            warps = threads.along // nest.target.warp
            return b.shared(f"s{number}", fold.dtype, (warps,)) if warps > 1 else None
        columns = threads.across * nest.lanes
        return b.shared(f"s{number}", fold.dtype, (threads.along, columns)) if threads.along > 1 else None

    def _fold(self, elements: Elements, at: dict[IndexVariable, Index], turn: Index, part: Index) -> list[Value]:
        """What this thread folds: each ``along``-th vector of the part."""
        nest, threads, b = self.nest, self.threads, elements.builder
        width = nest.lanes if nest.in_rows else 1
        lane = nest.reduced[-1].variable if nest.in_rows and nest.reduced else None
        lane = lane if nest.in_rows else nest.kept[-1].variable
        values = [f.start(b, nest.lanes) for f in nest.folds]
        if nest.length == 0:
            return [f.across(b, v) if nest.in_rows else v for f, v in zip(nest.folds, values, strict=True)]
        whole, length = divided(nest.length, width), self.sizes.index(nest.length)
        count = b.floordiv(length, width) if whole is None else self.sizes.index(whole)
        lower, upper = turn, count
        if threads.parts > 1:
            lower, upper = part * threads.grain + turn, b.min(part * threads.grain + threads.grain, count)
        with b.loop(lower, upper, threads.along, carried=values, unroll=EACH) as loop:
            here = at | spread(b, loop.index, nest.reduced, self.sizes, width)
            point = Point(elements, nest.domain, here, nest.lanes, lane)
            b.yield_(*[f.step(b, v, point) for f, v in zip(nest.folds, loop.carried, strict=True)])
        values = list(loop.results)
        if not nest.in_rows:
            return values
        values = [f.across(b, v) for f, v in zip(nest.folds, values, strict=True)]
        if whole is None:  # fewer than a vector are left, for the last part
            first = count * width + turn + (threads.parts - 1 - part) * width
            with b.loop(first, length, threads.along, carried=values) as rest:
                point = Point(elements, nest.domain, at | nest.reduced[-1].at(rest.index))
                b.yield_(*[f.step(b, v, point) for f, v in zip(nest.folds, rest.carried, strict=True)])
            values = list(rest.results)
        return values

    def _meet(
        self, b: KernelBuilder, values: list[Value], turn: Index, mine: Index, rooms: list[Memory | None]
    ) -> list[Value]:
        """The values of all threads for one element: all of a row have them, those of a column left theirs in rooms."""
        nest, along = self.nest, self.threads.along
        if nest.in_rows:
            combines = [partial(f.combine, b) for f in nest.folds]
            return across_row(b, values, combines, turn, along, rooms, nest.target.warp)
        if along > 1:
            for m, v in zip(rooms, values, strict=True):
                assert m is not None
                b.store(m, (turn, mine * nest.lanes), v)
            b.machine("barrier")
        return values

    def _column(self, b: KernelBuilder, fold: Fold, room: Memory | None, mine: Index) -> Value:
        assert room is not None
        lanes = self.nest.lanes
        values = [b.load(room, (k, mine * lanes), lanes) for k in range(self.threads.along)]
        return tree(values, partial(fold.combine, b))
