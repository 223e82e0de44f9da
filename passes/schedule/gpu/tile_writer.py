"""The kernel of a product that is cut in tiles, a block of threads for each: the grid, and copies of operands' tiles.

Rows, columns and products outside of the operands are read at their last element: sums of such rows and columns are
not stored, such products are zeros.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from mlc.ir.dims import Size, bounds
from mlc.ir.kernel import Index, Memory, Value
from mlc.ir.types import DType
from mlc.passes.schedule.region import KernelCall

from .product import Batch, Product, Reader


@dataclass(frozen=True, slots=True)
class TileCopy:
    """What a thread copies of an operand's tile: vectors at these places (row or column, product) of the tile, which
    are at ``free`` rows (or columns) of the operand."""

    operand: Reader
    memory: Memory
    places: tuple[tuple[Index, Index], ...]
    free: tuple[Index, ...]


class TileWriter(ABC):
    """Writes a kernel whose blocks of ``threads`` compute ``rows`` x ``columns`` sums, ``depth`` products at once.

    Tiles hold elements of ``dtype``; those of rows and of columns are in the shared memory ``left`` and ``right``.
    """

    left: Memory
    right: Memory

    def __init__(self, product: Product, rows: int, columns: int, depth: int, threads: int, dtype: DType) -> None:
        self.product, self.builder, self.dtype = product, product.builder, dtype
        self.rows, self.columns, self.depth, self.threads = rows, columns, depth, threads
        self.whole = product.is_whole(depth)
        self.is_one = product.longest <= depth  # no tile follows another

    @abstractmethod
    def zeros(self) -> list[Value]:
        """The sums of a thread before anything is added."""

    @abstractmethod
    def add(
        self, batch: Batch, copies: tuple[TileCopy, TileCopy], thread: Index, sums: Sequence[Value]
    ) -> Sequence[Value]:
        """``sums`` plus all products of a batch, of which there is at least one."""

    @abstractmethod
    def store(self, batch: Batch, row: Index, column: Index, thread: Index, sums: Sequence[Value]) -> None:
        """The epilogue of the sums of a tile that begins at ``row`` and ``column``."""

    def write(self) -> KernelCall:
        b, p = self.builder, self.product
        m, n = p.left.extent, p.right.extent
        tasks: tuple[tuple[Size, int], ...] = (p.batch, 1), (m, self.rows), (n, self.columns), (self.threads, 1)
        with b.parallel(*((p.index(size), grain) for size, grain in tasks), threads=1) as (number, ir, ic, thread):
            p.frame.elements.prepare(p.frame.nodes)
            batch = p.batch_at(number)
            row, column = ir * self.rows, ic * self.columns
            self.store(batch, row, column, thread, self.sums(batch, row, column, thread))
        return p.call(tasks)

    def sums(self, batch: Batch, row: Index, column: Index, thread: Index) -> Sequence[Value]:
        b, p, zeros = self.builder, self.product, self.zeros()
        if not p.longest:
            return zeros
        copies = (
            self.copy_of(p.left, self.left, self.rows, row, thread),
            self.copy_of(p.right, self.right, self.columns, column, thread),
        )
        if bounds(p.depth)[0] > 0:
            return self.add(batch, copies, thread, zeros)
        with b.loop(0, b.min(p.index(p.depth), 1), carried=zeros) as some:
            b.yield_(*self.add(batch, copies, thread, some.carried))
        return some.results

    def count(self, batch: Batch) -> Index:
        """How many tiles the sums of a batch are made of."""
        start, stop = self.product.contracted(batch)
        return self.builder.floordiv(stop - start + (self.depth - 1), self.depth)

    def copy_of(self, operand: Reader, memory: Memory, wide: int, first: Index, thread: Index) -> TileCopy:
        """Which vectors of an operand's tile, ``wide`` rows (or columns) from ``first`` on, a thread copies."""
        b, walk = self.builder, operand.walk
        line = (self.depth if walk.along_depth else wide) // walk.lanes  # vectors side by side
        step, count = self.threads // line, wide * self.depth // (walk.lanes * self.threads)
        across = [b.floordiv(thread, line) + k * step for k in range(count)]
        beside = b.mod(thread, line) * walk.lanes
        places = tuple((i, beside) if walk.along_depth else (beside, i) for i in across)
        free = [first + i for i, _ in places]
        if not (isinstance(operand.extent, int) and operand.extent % wide == 0):
            last = self.product.index(operand.extent) - (1 if walk.along_depth else walk.lanes)
            free = [b.min(i, last) for i in free]
        return TileCopy(operand, memory, places, tuple(free))

    def fetch(self, copy: TileCopy, batch: Batch, number: Index, safe: bool) -> list[Value]:
        """Tile ``number`` of an operand as a thread's vectors; ``safe`` where there is one of that number."""
        b, p, walk = self.builder, self.product, copy.operand.walk
        start, stop = p.contracted(batch)
        found = []
        for free, (_, depth) in zip(copy.free, copy.places, strict=True):
            at = start + number * self.depth + depth
            if self.whole and safe:
                found.append(b.convert(p.read(copy.operand, batch, free, at, walk.lanes), self.dtype))
                continue
            inside = b.min(at, stop - (walk.lanes if walk.along_depth else 1))
            value = b.convert(p.read(copy.operand, batch, free, inside, walk.lanes), self.dtype)
            on = b.tail_mask(at, stop, 1)
            on = b.splat(on, walk.lanes) if walk.lanes > 1 else on
            found.append(b.select(on, value, b.constant(0, self.dtype, walk.lanes)))
        return found
