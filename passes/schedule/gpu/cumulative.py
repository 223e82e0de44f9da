"""reduce_window over all elements up to each, on a GPU: the operand (or what is there) folded along one axis, in place.

Along the last axis a row belongs to a warp or, where it is long, to a block. Each thread folds a vector; what comes
before it is found in log2(32) steps in the warp, from the totals of the warps before it, and from the tiles before.
Few long rows are cut in parts: a kernel folds each, a second one the parts up to each, and the last has what comes
before its own. Along other axes each thread walks a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import Graph, Node, Op, cumulative_axis, identity_of, reducer_of
from mlc.ir.kernel import Index, KernelBuilder, Memory, Value
from mlc.ir.target import GpuTarget
from mlc.ir.types import I32
from mlc.passes.schedule.domain import divided
from mlc.passes.schedule.region import KernelCall, Operand, ScheduledRegion
from mlc.passes.schedule.scalars import bits_of_element
from mlc.passes.schedule.sizes import Sizes
from mlc.passes.schedule.update import write_operand

from .exchange import across_row, from_thread
from .threads import BLOCK, block_of, power_above

ROWS = 4  # short ones that a block does
TILES = 8  # of a part at least: vectors of each thread


def schedule_cumulative(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and the one that folds it."""
    (node,) = body.results
    first = write_operand(body, node.operands[0], target)
    if node.tensor.size == 0:
        return first
    folds = _Folds.of(body, target)
    calls, temporaries = folds.calls()
    return ScheduledRegion((*first.calls, *calls), temporaries, first.in_place, first.copies)


@dataclass(frozen=True)
class _Cut:
    """How rows are cut: ``rows`` of a block, ``along`` threads each, in ``parts`` of ``grain`` vectors of ``lanes``."""

    lanes: int
    vectors: Size
    along: int
    rows: int
    parts: int
    grain: int


@dataclass(frozen=True)
class _Folds:
    """The result as an array of three axes: rows before the folded one, that, and columns behind."""

    node: Node
    op: Op
    sizes: Sizes
    target: GpuTarget
    rows: Size
    count: Size
    columns: Size

    @staticmethod
    def of(body: Graph, target: GpuTarget) -> _Folds:
        (node,) = body.results
        axis, _ = cumulative_axis(node) or (0, False)
        rows, columns = size_product(node.shape[:axis]), size_product(node.shape[axis + 1 :])
        return _Folds(node, reducer_of(node["body"]), Sizes(body), target, rows, node.shape[axis], columns)

    def calls(self) -> tuple[list[KernelCall], tuple[int, ...]]:
        """The kernels, and the bytes of their temporaries."""
        result = Operand("result", 0)
        if self.columns != 1:
            return [self._columns(result)], ()
        cut = self._cut()
        if cut.parts == 1:
            return [self._scan(cut, result)], ()
        totals, of_parts = Operand("temporary", 0), replace(self, count=cut.parts)
        calls = [self._totals(cut), of_parts._scan(of_parts._cut(), totals), self._scan(cut, result, totals)]
        return calls, (bounds(self.rows)[1] * cut.parts * self.node.dtype.itemsize,)

    def _memory(self, b: KernelBuilder, operand: Operand, count: Size, access: str) -> Memory:
        """A buffer of ``count`` elements a row."""
        size = self.sizes.index(self.rows * count * self.columns)
        return b.buffer(f"{operand.kind[0]}0", self.node.dtype, (size,), access=access)

    def _call(self, b: KernelBuilder, operands: Sequence[Operand], tasks: Sequence[tuple[Size, int]]) -> KernelCall:
        return KernelCall(b.build(), tuple(operands), self.sizes.operands, tuple(tasks), False)

    def _nothing(self, b: KernelBuilder, lanes: int) -> Value:
        """What changes nothing."""
        bits = bits_of_element(identity_of(self.op, self.node.dtype), self.node.dtype)
        return b.constant_bits(bits, self.node.dtype, lanes)

    def _both(self, b: KernelBuilder, before: Value, value: Value) -> Value:
        return b.op(self.op.name, before, value)

    # ---------------------------------------------------------------- columns

    def _columns(self, operand: Operand) -> KernelCall:
        b = KernelBuilder(f"cumulative_{self.op.name}", self.sizes.count)
        memory = self._memory(b, operand, self.count, "readwrite")
        total = self.rows * self.columns
        threads = block_of(total, self.target)
        tasks: tuple[tuple[Size, int], ...] = ((total, threads), (threads, 1))
        size = self.sizes.index
        with b.parallel(*((size(e), n) for e, n in tasks), threads=1) as (block, thread):
            number = block * threads + thread
            with b.loop(number, b.min(number + 1, size(total))) as column:
                row = b.floordiv(column.index, size(self.columns))
                start = row * size(self.count) * size(self.columns) + b.mod(column.index, size(self.columns))
                with b.loop(0, size(self.count), carried=(self._nothing(b, 1),), unroll=4) as at:
                    place = start + at.index * size(self.columns)
                    folded = self._both(b, at.carried[0], b.load(memory, (place,)))
                    b.store(memory, (place,), folded)
                    b.yield_(folded)
        return self._call(b, (operand,), tasks)

    # ---------------------------------------------------------------- rows

    def _cut(self) -> _Cut:
        target, warp = self.target, self.target.warp
        lanes = target.lanes(self.node.dtype)
        while lanes > 1 and (divided(self.count, lanes) is None or bounds(self.count)[1] < lanes * warp):
            lanes //= 2
        vectors = divided(self.count, lanes)
        assert vectors is not None
        most, blocks = bounds(vectors)[1], bounds(self.rows)[1]
        along = max(min(power_above(most), BLOCK), warp)
        rows = min(ROWS, power_above(blocks)) if along == warp else 1
        tiles = -(-most // along)
        grain = tiles
        if blocks < target.multiprocessors and tiles > 2 * TILES:
            grain = max(-(-tiles * blocks // (4 * target.multiprocessors)), TILES)
        return _Cut(lanes, vectors, along, rows, -(-tiles // grain), grain * along)

    def _totals(self, cut: _Cut) -> KernelCall:
        """All elements of each part folded."""
        b = KernelBuilder(f"cumulative_{self.op.name}_totals", self.sizes.count)
        result, total = Operand("result", 0), Operand("temporary", 0)
        memory = self._memory(b, result, self.count, "read")
        totals = self._memory(b, total, cut.parts, "write")
        room = b.shared("totals", self.node.dtype, (cut.along // self.target.warp,))
        tasks: tuple[tuple[Size, int], ...] = ((self.rows, 1), (cut.parts, 1), (cut.along, 1))
        size = self.sizes.index
        with b.parallel(*((size(e), n) for e, n in tasks), threads=1) as (row, part, thread):
            first, end = part * cut.grain + thread, b.min(part * cut.grain + cut.grain, size(cut.vectors))
            with b.loop(first, end, cut.along, carried=(self._nothing(b, cut.lanes),), unroll=4) as at:
                value = b.load(memory, (row * size(self.count) + at.index * cut.lanes,), cut.lanes)
                b.yield_(self._both(b, at.carried[0], value))
            value = self._vector(b, at.results[0])[-1]
            both = partial(self._both, b)
            (value,) = across_row(b, [value], [both], thread, cut.along, [room], self.target.warp)
            with b.loop(thread, 1):
                b.store(totals, (row * cut.parts + part,), value)
        return self._call(b, (result, total), tasks)

    def _scan(self, cut: _Cut, operand: Operand, totals: Operand | None = None) -> KernelCall:
        """Each element with all before it in its row; ``totals`` has the folds of all parts up to each."""
        warp, size, (lanes, rows, along) = self.target.warp, self.sizes.index, (cut.lanes, cut.rows, cut.along)
        b = KernelBuilder(f"cumulative_{self.op.name}", self.sizes.count)
        memory = self._memory(b, operand, self.count, "readwrite")
        earlier = None if totals is None else self._memory(b, totals, cut.parts, "read")
        room = b.shared("totals", self.node.dtype, (2, along // warp)) if along > warp else None
        parts = 1 if earlier is None else cut.parts
        tasks: tuple[tuple[Size, int], ...] = ((self.rows, rows), (parts, 1), (rows, 1), (along, 1))
        with b.parallel(*((size(e), n) for e, n in tasks), threads=2) as (block, part, mine, thread):
            row = block * rows + mine
            lower, upper, carried = Index.of(0), size(cut.vectors), self._nothing(b, 1)
            if earlier is not None:
                lower, upper = part * cut.grain, b.min(part * cut.grain + cut.grain, upper)
                with b.loop(0, b.min(part, 1), carried=(carried,)) as before:  # the first has nothing before it
                    b.yield_(b.load(earlier, (row * cut.parts + part - 1,)))
                (carried,) = before.results
            if rows > 1 and not (isinstance(self.rows, int) and self.rows % rows == 0):
                upper = upper * b.max(b.min(size(self.rows) - row, 1), 0)  # there is nothing in rows behind the last
            with b.loop(lower, upper, along, carried=(carried,)) as tile:
                vector = tile.index + thread
                place = row * size(self.count) + vector * lanes
                end = b.min(vector + 1, upper)
                with b.loop(vector, end, carried=(self._nothing(b, lanes),)) as there:
                    b.yield_(b.load(memory, (place,), lanes))
                found = self._vector(b, there.results[0])
                slot = b.mod(b.floordiv(tile.index, along), 2)
                start, after = self._before(b, found[-1], tile.carried[0], thread, room, slot)
                with b.loop(vector, end):
                    b.store(memory, (place,), self._joined(b, [self._both(b, start, v) for v in found]))
                b.yield_(after)
        return self._call(b, (operand,) if totals is None else (operand, totals), tasks)

    def _vector(self, b: KernelBuilder, value: Value) -> list[Value]:
        """Each lane with those before it."""
        found: list[Value] = []
        for lane in range(value.lanes):
            one = b.extract(value, lane) if value.lanes > 1 else value
            found.append(self._both(b, found[-1], one) if found else one)
        return found

    def _joined(self, b: KernelBuilder, parts: list[Value]) -> Value:
        if len(parts) == 1:
            return parts[0]
        found = b.splat(parts[0], len(parts))
        for lane, part in enumerate(parts[1:], 1):
            found = b.insert(found, part, lane)
        return found

    def _before(
        self, b: KernelBuilder, value: Value, carried: Value, thread: Index, room: Memory | None, slot: Index
    ) -> tuple[Value, Value]:
        """All that comes before this thread's vector, and all up to the end of the tile.

        Totals of warps go to one of two slots in turn: the next tile's writers have met the readers of this one's
        predecessor at the barrier.
        """
        warp, neutral = self.target.warp, self._nothing(b, 1)
        lane = b.index_value(b.mod(thread, warp), I32)
        distance = 1
        while distance < warp:
            moved = from_thread(b, value, "up", distance)
            value = b.select(b.compare("GE", lane, b.constant(distance, I32)), self._both(b, moved, value), value)
            distance *= 2
        moved = from_thread(b, value, "up", 1)
        mine = b.select(b.compare("EQ", lane, b.constant(0, I32)), neutral, moved)
        if room is None:
            return self._both(b, carried, mine), self._both(b, carried, from_thread(b, value, "index", warp - 1))
        number = b.floordiv(thread, warp)
        with b.loop(warp - 1, b.mod(thread, warp) + 1):
            b.store(room, (slot, number), value)
        b.machine("barrier")
        warps = room.shape[1].constant or 0
        own, before = b.index_value(number, I32), carried
        for k in range(warps):
            before = b.select(b.compare("EQ", own, b.constant(k, I32)), carried, before)
            carried = self._both(b, carried, b.load(room, (slot, k)))
        return self._both(b, before, mine), carried
