"""reduce_window over all elements up to each, on a GPU: the operand (or what is there) folded along one axis, in place.

Along the last axis a row belongs to a warp or, where it is long, to a block. Each thread folds a vector; what comes
before it is found in log2(32) steps in the warp, from the totals of the warps before it, and from the tiles before.
Along other axes each thread walks a column.
"""

from __future__ import annotations

from dataclasses import dataclass

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

from .exchange import from_thread
from .threads import BLOCK, block_of, power_above

ROWS = 4  # short ones that a block does


def schedule_cumulative(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and the one that folds it."""
    (node,) = body.results
    first = write_operand(body, node.operands[0], target)
    calls = () if node.tensor.size == 0 else (_Folds.of(body, target).call(),)
    return ScheduledRegion((*first.calls, *calls), (), first.in_place, first.copies)


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

    def call(self) -> KernelCall:
        b = KernelBuilder(f"cumulative_{self.op.name}", self.sizes.count)
        memory = b.buffer("r0", self.node.dtype, (self.sizes.index(self.node.tensor.size),), access="readwrite")
        tasks = self._rows(b, memory) if self.columns == 1 else self._columns(b, memory)
        return KernelCall(b.build(), (Operand("result", 0),), self.sizes.operands, tasks, False)

    def _neutral(self, b: KernelBuilder) -> Value:
        bits = bits_of_element(identity_of(self.op, self.node.dtype), self.node.dtype)
        return b.constant_bits(bits, self.node.dtype)

    def _both(self, b: KernelBuilder, before: Value, value: Value) -> Value:
        return b.op(self.op.name, before, value)

    # ---------------------------------------------------------------- columns

    def _columns(self, b: KernelBuilder, memory: Memory) -> tuple[tuple[Size, int], ...]:
        total = self.rows * self.columns
        threads = block_of(total, self.target)
        tasks: tuple[tuple[Size, int], ...] = ((total, threads), (threads, 1))
        size = self.sizes.index
        with b.parallel(*((size(e), n) for e, n in tasks), threads=1) as (block, thread):
            number = block * threads + thread
            with b.loop(number, b.min(number + 1, size(total))) as column:
                row = b.floordiv(column.index, size(self.columns))
                start = row * size(self.count) * size(self.columns) + b.mod(column.index, size(self.columns))
                with b.loop(0, size(self.count), carried=(self._neutral(b),), unroll=4) as at:
                    place = start + at.index * size(self.columns)
                    folded = self._both(b, at.carried[0], b.load(memory, (place,)))
                    b.store(memory, (place,), folded)
                    b.yield_(folded)
        return tasks

    # ---------------------------------------------------------------- rows

    def _rows(self, b: KernelBuilder, memory: Memory) -> tuple[tuple[Size, int], ...]:
        warp, size = self.target.warp, self.sizes.index
        lanes = self.target.lanes(self.node.dtype)
        while lanes > 1 and (divided(self.count, lanes) is None or bounds(self.count)[1] < lanes * warp):
            lanes //= 2
        vectors = divided(self.count, lanes)
        assert vectors is not None
        along = max(min(power_above(bounds(vectors)[1]), BLOCK), warp)
        rows = min(ROWS, power_above(bounds(self.rows)[1])) if along == warp else 1
        room = b.shared("totals", self.node.dtype, (2, along // warp)) if along > warp else None
        tasks: tuple[tuple[Size, int], ...] = ((self.rows, rows), (rows, 1), (along, 1))
        with b.parallel(*((size(e), n) for e, n in tasks), threads=2) as (block, mine, thread):
            row = block * rows + mine
            upper = size(vectors)
            if rows > 1 and not (isinstance(self.rows, int) and self.rows % rows == 0):
                upper = upper * b.max(b.min(size(self.rows) - row, 1), 0)  # there is nothing in rows behind the last
            neutral = self._neutral(b)
            with b.loop(0, upper, along, carried=(neutral,)) as tile:
                vector = tile.index + thread
                place = row * size(self.count) + vector * lanes
                end = b.min(vector + 1, upper)
                nothing = b.splat(neutral, lanes) if lanes > 1 else neutral
                with b.loop(vector, end, carried=(nothing,)) as there:
                    b.yield_(b.load(memory, (place,), lanes))
                parts = self._vector(b, there.results[0])
                slot = b.mod(b.floordiv(tile.index, along), 2)
                before, after = self._before(b, parts[-1], tile.carried[0], thread, room, slot)
                with b.loop(vector, end):
                    b.store(memory, (place,), self._joined(b, [self._both(b, before, v) for v in parts]))
                b.yield_(after)
        return tasks

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
        warp, neutral = self.target.warp, self._neutral(b)
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
