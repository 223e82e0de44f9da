"""Sums of products by fused multiply-adds: tiles of both operands in shared memory, tiles of sums in registers.

While a tile is multiplied, the next one is on its way from memory to registers; it is then written to the other half
of shared memory. A barrier a tile is enough, since a half is written after the barrier that follows its last reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.kernel import Index, IndexLike, Value
from mlc.passes.schedule.region import KernelCall

from .product import Batch, Product
from .tile import Tile
from .tile_store import store_sums
from .tile_writer import TileCopy, TileWriter


def tiled_product(product: Product, tile: Tile) -> KernelCall:
    """The kernel that computes ``product``, a block of threads a tile."""
    return _Writer(product, tile).write()


class _Writer(TileWriter):
    def __init__(self, product: Product, tile: Tile) -> None:
        accumulator = product.frame.accumulator
        super().__init__(product, tile.rows, tile.columns, tile.depth, tile.threads, accumulator)
        self.tile = tile
        halves, pad = 1 if self.is_one else 2, tile.lanes
        self.left, self.right = (
            self.builder.shared(name, accumulator, (halves, tile.depth, wide + pad))
            for name, wide in (("rows", tile.rows), ("columns", tile.columns))
        )

    def zeros(self) -> list[Value]:
        t = self.tile
        return [self.product.frame.zero(t.lanes)] * (t.row_vectors * t.lanes * t.column_vectors)

    def add(
        self, batch: Batch, copies: tuple[TileCopy, TileCopy], thread: Index, sums: Sequence[Value]
    ) -> Sequence[Value]:
        b = self.builder
        along = self.along(thread)
        for copy in copies:
            self.put(copy, Index.of(0), self.fetch(copy, batch, Index.of(0), True))
        b.machine("barrier")
        if self.is_one:
            return self.multiply(Index.of(0), along, sums)
        count = self.count(batch)
        with b.loop(0, count, carried=sums) as loop:
            half, following = b.mod(loop.index, 2), b.min(loop.index + 1, count - 1)
            fetched = [self.fetch(copy, batch, following, True) for copy in copies]
            found = self.multiply(half, along, loop.carried)
            for copy, values in zip(copies, fetched, strict=True):
                self.put(copy, 1 - half, values)
            b.machine("barrier")
            b.yield_(*found)
        return loop.results

    def along(self, thread: Index) -> tuple[Index, Index]:
        """The first row and column of a thread in the tile."""
        b, t = self.builder, self.tile
        return b.floordiv(thread, t.by_columns) * t.lanes, b.mod(thread, t.by_columns) * t.lanes

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

    def put(self, copy: TileCopy, half: Index, values: Sequence[Value]) -> None:
        """Writes a tile to shared memory, neighbouring rows (or columns) side by side."""
        b, walk = self.builder, copy.operand.walk
        for (free, k), value in zip(copy.places, values, strict=True):
            if not walk.along_depth:
                b.store(copy.memory, (half, k, free), value)
                continue
            for lane in range(walk.lanes):
                one = b.extract(value, lane) if walk.lanes > 1 else value
                b.store(copy.memory, (half, k + lane, free), one)

    def store(self, batch: Batch, row: Index, column: Index, thread: Index, sums: Sequence[Value]) -> None:
        b, t, along = self.builder, self.tile, self.along(thread)

        def place(number: IndexLike) -> tuple[Index, Index]:
            i, v = b.floordiv(number, t.column_vectors), b.mod(number, t.column_vectors)
            group, lane = b.floordiv(i, t.lanes), b.mod(i, t.lanes)
            first = row + along[0], column + along[1]
            return first[0] + group * (t.by_rows * t.lanes) + lane, first[1] + v * (t.by_columns * t.lanes)

        store_sums(self.product, batch, (t.rows, t.columns), sums, place)
