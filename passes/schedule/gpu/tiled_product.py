"""Sums of products by fused multiply-adds: tiles of both operands in shared memory, tiles of sums in registers.

While a tile is multiplied, the next one is on its way from memory to registers; it is then written to the other half
of shared memory. A barrier a tile is enough, since a half is written after the barrier that follows its last reads.
Rows, columns and products outside of the operands are read at their last element: sums of such rows and columns are
not stored, such products are zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlc.ir.dims import Size, bounds
from mlc.ir.kernel import Index, Memory, Value
from mlc.passes.schedule.region import KernelCall
from mlc.passes.schedule.tasks import counted

from .product import Batch, Product, Reader
from .tile import Tile

MOST_WRITTEN = 400  # instructions of epilogues that are written out one after another; more are looped over


def tiled_product(product: Product, tile: Tile) -> KernelCall:
    """The kernel that computes ``product``, a block of threads a tile."""
    return _Writer(product, tile).write()


@dataclass(frozen=True, slots=True)
class _Copy:
    """What a thread copies of an operand's tile: vectors at these places (row or column, product) of the tile, which
    are at ``free`` rows (or columns) of the operand."""

    operand: Reader
    memory: Memory
    places: tuple[tuple[Index, Index], ...]
    free: tuple[Index, ...]


class _Writer:
    def __init__(self, product: Product, tile: Tile) -> None:
        self.product, self.tile, self.builder = product, tile, product.builder
        self.count = -(-product.longest // tile.depth)
        stages, pad = min(self.count, 2), tile.lanes
        self.whole = product.is_whole(tile.depth)
        b, dtype = self.builder, product.frame.accumulator
        if self.count:
            self.left = b.shared("rows", dtype, (stages, tile.depth, tile.rows + pad))
            self.right = b.shared("columns", dtype, (stages, tile.depth, tile.columns + pad))

    def write(self) -> KernelCall:
        b, t, p = self.builder, self.tile, self.product
        m, n = p.left.extent, p.right.extent
        tasks: tuple[tuple[Size, int], ...] = (p.batch, 1), (m, t.rows), (n, t.columns), (t.threads, 1)
        with b.parallel(*((p.index(size), grain) for size, grain in tasks), threads=1) as (number, ir, ic, thread):
            p.frame.elements.prepare(p.frame.nodes)
            batch = p.batch_at(number)
            row, column = ir * t.rows, ic * t.columns
            sums = self.sums(batch, row, column, thread)
            along = b.floordiv(thread, t.by_columns), b.mod(thread, t.by_columns)
            self.store(batch, row + along[0] * t.lanes, column + along[1] * t.lanes, sums)
        return p.call(tasks)

    # Sums

    def sums(self, batch: Batch, row: Index, column: Index, thread: Index) -> Sequence[Value]:
        """The sums of a thread: its rows, of each its vectors of columns."""
        b, t, p = self.builder, self.tile, self.product
        zero = p.frame.zero(t.lanes)
        zeros = [zero] * (t.row_vectors * t.lanes * t.column_vectors)
        if not self.count:
            return zeros
        start, stop = p.contracted(batch)
        copies = self.copy_of(p.left, self.left, row, thread), self.copy_of(p.right, self.right, column, thread)
        count = b.floordiv(stop - start + (t.depth - 1), t.depth)
        if bounds(p.depth)[0] > 0:
            return self.tiles(batch, start, stop, count, copies, thread, zeros)
        with b.loop(0, b.min(count, 1), carried=zeros) as some:
            b.yield_(*self.tiles(batch, start, stop, count, copies, thread, some.carried))
        return some.results

    def tiles(
        self, batch: Batch, start: Index, stop: Index, count: Index, copies: tuple[_Copy, _Copy], thread: Index,
        sums: Sequence[Value],
    ) -> Sequence[Value]:  # fmt: skip
        b, t = self.builder, self.tile
        along = b.floordiv(thread, t.by_columns) * t.lanes, b.mod(thread, t.by_columns) * t.lanes
        for copy in copies:
            self.put(copy, Index.of(0), self.fetch(copy, batch, start, stop))
        b.machine("barrier")
        if self.count == 1:
            return self.multiply(Index.of(0), along, sums)
        with b.loop(0, count, carried=sums) as loop:
            half = b.mod(loop.index, 2)
            following = b.min(loop.index + 1, count - 1)
            fetched = [self.fetch(copy, batch, start + following * t.depth, stop) for copy in copies]
            found = self.multiply(half, along, loop.carried)
            for copy, values in zip(copies, fetched, strict=True):
                self.put(copy, 1 - half, values)
            b.machine("barrier")
            b.yield_(*found)
        return loop.results

    def multiply(self, half: Index, along: tuple[Index, Index], sums: Sequence[Value]) -> Sequence[Value]:
        """``sums`` plus the products of the tiles in one half of shared memory."""
        b, t, f = self.builder, self.tile, self.product.frame
        with b.loop(0, t.depth, carried=sums, unroll="full") as loop:
            k, found = loop.index, iter(loop.carried)
            rows = [
                b.load(self.left, (half, k, along[0] + v * t.by_rows * t.lanes), t.lanes) for v in range(t.row_vectors)
            ]
            columns = [
                b.load(self.right, (half, k, along[1] + v * t.by_columns * t.lanes), t.lanes)
                for v in range(t.column_vectors)
            ]
            following = []
            for row in rows:
                for lane in range(t.lanes):
                    element = b.splat(b.extract(row, lane) if t.lanes > 1 else row, t.lanes)
                    following += [f.multiply_add(element, x, next(found)) for x in columns]
            b.yield_(*following)
        return loop.results

    # Tiles of operands

    def copy_of(self, operand: Reader, memory: Memory, first: Index, thread: Index) -> _Copy:
        b, t, walk = self.builder, self.tile, operand.walk
        wide = t.rows if memory is self.left else t.columns
        line = (t.depth if walk.along_depth else wide) // walk.lanes  # vectors side by side
        step = t.threads // line
        across = [b.floordiv(thread, line) + k * step for k in range(wide * t.depth // (walk.lanes * t.threads))]
        beside = b.mod(thread, line) * walk.lanes
        places = tuple((i, beside) if walk.along_depth else (beside, i) for i in across)
        free = [first + i for i, _ in places]
        if not (isinstance(operand.extent, int) and operand.extent % wide == 0):
            last = self.product.index(operand.extent) - (1 if walk.along_depth else walk.lanes)
            free = [b.min(i, last) for i in free]
        return _Copy(operand, memory, places, tuple(free))

    def fetch(self, copy: _Copy, batch: Batch, k: Index, stop: Index) -> list[Value]:
        """A tile of an operand from ``k`` on, as this thread's vectors."""
        b, p, walk = self.builder, self.product, copy.operand.walk
        found = []
        for free, (_, depth) in zip(copy.free, copy.places, strict=True):
            at = k + depth
            if self.whole:
                found.append(p.read(copy.operand, batch, free, at, walk.lanes))
                continue
            inside = b.min(at, stop - (walk.lanes if walk.along_depth else 1))
            value = p.read(copy.operand, batch, free, inside, walk.lanes)
            on = b.tail_mask(at, stop, 1)
            on = b.splat(on, walk.lanes) if walk.lanes > 1 else on
            found.append(b.select(on, value, p.frame.zero(walk.lanes)))
        return found

    def put(self, copy: _Copy, half: Index, values: Sequence[Value]) -> None:
        """Writes a tile to shared memory, neighbouring rows (or columns) side by side."""
        b, walk = self.builder, copy.operand.walk
        for (free, k), value in zip(copy.places, values, strict=True):
            if not walk.along_depth:
                b.store(copy.memory, (half, k, free), value)
                continue
            for lane in range(walk.lanes):
                one = b.extract(value, lane) if walk.lanes > 1 else value
                b.store(copy.memory, (half, k + lane, free), one)

    # Results

    def store(self, batch: Batch, row: Index, column: Index, sums: Sequence[Value]) -> None:
        """The epilogue of a thread's sums, which begin at ``row`` and ``column``."""
        b, t, p = self.builder, self.tile, self.product

        def place(number: Index | int) -> tuple[Index, Index]:
            """Row and column of a vector of sums."""
            number = Index.of(number)
            i, v = b.floordiv(number, t.column_vectors), b.mod(number, t.column_vectors)
            group, lane = b.floordiv(i, t.lanes), b.mod(i, t.lanes)
            return row + group * (t.by_rows * t.lanes) + lane, column + v * (t.by_columns * t.lanes)

        if p.frame.epilogue_weight * len(sums) <= MOST_WRITTEN:
            for number, total in enumerate(sums):
                self.store_inside(batch, *place(number), total)
            return
        with b.loop(0, len(sums), carried=sums) as loop:  # the sums go round, the first one is stored
            self.store_inside(batch, *place(loop.index), loop.carried[0])
            b.yield_(*loop.carried[1:], loop.carried[0])

    def store_inside(self, batch: Batch, row: Index, column: Index, total: Value) -> None:
        """Stores what lies inside of the results."""
        b, t, p = self.builder, self.tile, self.product
        m, n = p.left.extent, p.right.extent
        checks = []
        if not (isinstance(m, int) and m % t.rows == 0):
            checks.append(p.index(m) - row)
        aligned = isinstance(n, int) and n % t.columns == 0
        if not aligned:
            checks.append(p.index(n) - column)

        def inside(left: Sequence[Index], body: Callable[[], None]) -> None:
            if not left:
                body()
                return
            least = left[0] if len(left) == 1 else b.min(left[0], left[1])
            counted(b, Index.of(0), b.min(b.max(least, 0), 1), lambda _: body())

        whole = isinstance(n, int) and n % t.lanes == 0
        inside(checks, lambda: p.store(
            batch, row, column, total, None if whole else b.tail_mask(column, p.index(n), t.lanes)
        ))  # fmt: skip
