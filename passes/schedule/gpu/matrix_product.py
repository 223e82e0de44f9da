"""Sums of products of f16, bf16, tf32, i8 by the matrix units of sm_80: copies that run ahead, `ldmatrix`, `mma.sync`.

Tiles of both operands go round in a ring of shared memory: while one is multiplied, the next are on their way. An
operand that lies in memory as it is multiplied is copied asynchronously, 16 bytes at best; others go by registers. A
part of the ring is overwritten after the barrier that follows its last reads. A warp has 16 x 8 sums at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.kernel import TOKEN, Index, IndexLike, Memory, Value, VectorType
from mlc.ir.types import DType
from mlc.passes.schedule.region import KernelCall

from .product import Batch, Product, Reader
from .tile import MatrixTile
from .tile_store import store_sums
from .tile_writer import TileCopy, TileWriter

STAGES = 3  # of the ring
LINE = 64  # elements side by side in shared memory, at most: 128 bytes, all banks once
_ROWS, _COLUMNS, _DEPTH_BYTES = 16, 8, 32  # of a product of the matrix unit


def matrix_product(product: Product, tile: MatrixTile, dtype: DType) -> KernelCall:
    """The kernel that computes ``product`` of elements of ``dtype`` (f32 as tf32), a block of threads a tile."""
    return _Writer(product, tile, dtype).write()


class _Writer(TileWriter):
    """Shared memory is [stage, part, line, element]: lines along an operand's walk, in parts of at most ``LINE``.

    Those of other than 2 bytes are along K, whichever way an operand lies: `ldmatrix` turns no others.
    """

    def __init__(self, product: Product, tile: MatrixTile, dtype: DType) -> None:
        super().__init__(product, tile.rows, tile.columns, tile.depth, tile.threads, dtype)
        self.tile, self.step = tile, _DEPTH_BYTES // dtype.itemsize
        self.left, self.right = self.ring(product.left, tile.rows), self.ring(product.right, tile.columns)
        self.copies_ahead = product.is_direct(product.left, dtype) or product.is_direct(product.right, dtype)

    def ring(self, operand: Reader, wide: int) -> Memory:
        across, along = (wide, self.depth) if self.is_along_depth(operand) else (self.depth, wide)
        line = min(along, LINE)
        swizzle = line * self.dtype.itemsize
        return self.builder.shared(
            operand.name, self.dtype, (1 if self.is_one else STAGES, along // line, across, line), swizzle=swizzle
        )

    def is_along_depth(self, operand: Reader) -> bool:
        """Whether lines in shared memory are along K."""
        return operand.walk.along_depth or self.dtype.itemsize != 2

    def zeros(self) -> list[Value]:
        """Of a thread's fragments, row by row."""
        t = self.tile
        accumulator = VectorType.of_fragment(_ROWS, _COLUMNS, self.product.frame.accumulator, "accumulator")
        count = t.warp_rows // _ROWS * (t.warp_columns // _COLUMNS)
        return [self.builder.value("constant", (), 0, accumulator) for _ in range(count)]

    def add(
        self, batch: Batch, copies: tuple[TileCopy, TileCopy], thread: Index, sums: Sequence[Value]
    ) -> Sequence[Value]:
        b = self.builder
        for ahead in map(Index.of, range(1 if self.is_one else STAGES - 1)):
            for copy in copies:
                self.put(copy, self.start(copy, batch, ahead, ahead), ahead)
            self.commit()
        if self.is_one:
            self.wait(0)
            return self.multiply(copies, Index.of(0), thread, sums)
        with b.loop(0, self.count(batch), carried=sums) as loop:
            following = loop.index + (STAGES - 1)
            stage, free = b.mod(loop.index, STAGES), b.mod(following, STAGES)
            self.wait(STAGES - 2)
            fetched = [self.start(copy, batch, following, free) for copy in copies]
            self.commit()
            found = self.multiply(copies, stage, thread, loop.carried)
            for copy, values in zip(copies, fetched, strict=True):
                self.put(copy, values, free)
            b.yield_(*found)
        return loop.results

    def commit(self) -> None:
        if self.copies_ahead:
            self.builder.machine("commit", result=VectorType(TOKEN))

    def wait(self, groups: int) -> None:
        """Until all but the last ``groups`` groups of copies are there, those of all threads of the block."""
        if self.copies_ahead:
            self.builder.machine("wait", attribute=groups)
        self.builder.machine("barrier")

    def along(self, thread: Index) -> tuple[Index, Index]:
        """The first row and column of a warp in the tile."""
        b, t = self.builder, self.tile
        warp = b.floordiv(thread, 32)
        return b.floordiv(warp, t.by_columns) * t.warp_rows, b.mod(warp, t.by_columns) * t.warp_columns

    def multiply(
        self, copies: tuple[TileCopy, TileCopy], stage: Index, thread: Index, sums: Sequence[Value]
    ) -> list[Value]:
        """``sums`` plus the products of the tiles of a stage."""
        b, t, along, found = self.builder, self.tile, self.along(thread), list(sums)
        for k in range(0, t.depth, self.step):
            rows = [
                self.fragment(copies[0], stage, along[0] + i, k, (_ROWS, self.step), "a")
                for i in range(0, t.warp_rows, _ROWS)
            ]
            columns = [
                self.fragment(copies[1], stage, along[1] + j, k, (self.step, _COLUMNS), "b")
                for j in range(0, t.warp_columns, _COLUMNS)
            ]
            for number, (x, y) in enumerate([(x, y) for x in rows for y in columns]):
                total = b.machine("mma", x, y, found[number], result=found[number].type)
                assert total is not None
                found[number] = total
        return found

    def fragment(self, copy: TileCopy, stage: Index, free: Index, k: int, shape: tuple[int, int], role: str) -> Value:
        """Of an operand's tile from row (or column) ``free`` and product ``k`` on."""
        kind = None if self.is_along_depth(copy.operand) else "transposed"
        wanted = VectorType.of_fragment(*shape, self.dtype, role)
        to = copy.memory, self.place(copy, stage, free, k)
        found = self.builder.machine("load_matrix", to=to, attribute=kind, result=wanted)
        assert found is not None
        return found

    def place(self, copy: TileCopy, stage: Index, free: IndexLike, k: IndexLike) -> tuple[Index, ...]:
        """Where an element of an operand's tile is in shared memory."""
        b, (_, parts, _, line) = self.builder, (n.constant or 0 for n in copy.memory.shape)
        across, beside = (free, k) if self.is_along_depth(copy.operand) else (k, free)
        part = Index.of(0) if parts == 1 else b.floordiv(beside, line)
        return stage, part, Index.of(across), Index.of(beside) - part * line

    # Tiles of operands

    def start(self, copy: TileCopy, batch: Batch, number: Index, stage: Index) -> list[Value]:
        """Starts the copies of tile ``number``, zeros where there is none; or reads it, as a thread's vectors."""
        b, p = self.builder, self.product
        if not p.is_direct(copy.operand, self.dtype):
            return self.fetch(copy, batch, number, False)
        begin, stop = p.contracted(batch)
        for free, (place, depth) in zip(copy.free, copy.places, strict=True):
            at = begin + number * self.depth + depth
            memory, address, inside = p.address(copy.operand, batch, free, at)
            on = b.tail_mask(at, stop, 1)
            on = on if inside is None else b.op("and", on, inside)
            to = copy.memory, self.place(copy, stage, place, depth)
            nbytes = copy.operand.walk.lanes * self.dtype.itemsize
            b.machine("async_copy", on, to=to, source=(memory, address), attribute=nbytes, result=VectorType(TOKEN))
        return []

    def put(self, copy: TileCopy, values: Sequence[Value], stage: Index) -> None:
        """Writes a tile that was read to shared memory."""
        if values:
            for (free, k), value in zip(copy.places, values, strict=True):
                self.builder.store(copy.memory, self.place(copy, stage, free, k), value)

    # Results

    def store(self, batch: Batch, row: Index, column: Index, thread: Index, sums: Sequence[Value]) -> None:
        """Of each fragment two neighbours in two rows."""
        b, t, along, member = self.builder, self.tile, self.along(thread), self.builder.mod(thread, 32)
        first = row + along[0] + b.floordiv(member, 4), column + along[1] + b.mod(member, 4) * 2
        fragments = t.warp_columns // _COLUMNS
        pairs = [b.shuffle(total, total, (2 * half, 2 * half + 1)) for total in sums for half in range(2)]

        def place(number: IndexLike) -> tuple[Index, Index]:
            fragment, half = b.floordiv(number, 2), b.mod(number, 2)
            i, j = b.floordiv(fragment, fragments), b.mod(fragment, fragments)
            return first[0] + i * _ROWS + half * (_ROWS // 2), first[1] + j * _COLUMNS

        store_sums(self.product, batch, (t.rows, t.columns), pairs, place)
