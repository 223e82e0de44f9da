"""Contractions as inner products: both operands are read along K, for few rows and columns at a time.

It packs nothing, so it serves few rows: a matrix whose rows are contiguous along K times a vector, or a small batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlc.ir.dims import bounds
from mlc.ir.kernel import Index, Value
from mlc.ir.target import Target

from .contraction_form import Contraction
from .contraction_frame import Frame
from .panel import sums
from .region import KernelCall
from .tiling import TASK_WORK, RowBlocks, counted

LEAST_SUMS = 8  # independent sums that hide the latency of multiply-add


@dataclass(frozen=True, slots=True)
class InnerTiling:
    """A tile is ``blocks.largest`` rows by ``columns``; each of its sums is kept in ``copies`` vectors of ``lanes``."""

    blocks: RowBlocks
    columns: int
    lanes: int
    copies: int
    batches: int
    groups: int  # column blocks of a task

    @property
    def task_columns(self) -> int:
        return self.columns * self.groups


def tile_inner(c: Contraction, target: Target) -> InnerTiling:
    """Tiles for inner products."""
    m, n, k, batch = (bounds(s)[1] for s in (c.m, c.n, c.k, c.batch))
    wide = target.vector_registers >= 32
    blocks = RowBlocks.of(c.m, 4 if wide else 2)
    columns = 8 if blocks.largest == 1 or (blocks.largest == 2 and wide) else 4
    while columns > 1 and columns // 2 >= n:
        columns //= 2
    lanes = target.lanes(c.accumulator)
    copies = max(LEAST_SUMS // (columns * blocks.largest), 1) if k >= 4 * lanes else 1
    work = max(2 * m * k * columns + 8 * columns * k * c.accumulator.itemsize, 1)
    wanted = max(-(-TASK_WORK // work), 1)
    groups = max(min(wanted, -(-n // columns)), 1)
    batches = 1 if groups * columns < n else max(min(batch, -(-wanted // groups)), 1)
    return InnerTiling(blocks, columns, lanes, copies, batches, groups)


def inner_product(frame: Frame, target: Target) -> KernelCall:
    """The kernel that computes the whole contraction; both operands should be contiguous along K."""
    f, b, t, c = frame, frame.builder, tile_inner(frame.c, target), frame.c
    tasks = (c.batch, t.batches), (c.n, t.task_columns)
    with b.parallel(*f.nest(tasks)) as (ib, ic):
        f.elements.prepare(f.nodes)

        def column_block(batch: Index, column: Index) -> None:
            whole = isinstance(c.n, int) and c.n % t.columns == 0
            mask = None if whole else b.tail_mask(column, f.n, t.columns)

            def row_block(rows: int, row: Index) -> None:
                totals = _tile(f, t, batch, row, rows, column, whole)
                for r in range(rows):
                    total = sums(b, totals[r * t.columns : (r + 1) * t.columns])
                    f.store(batch, row + r, column, total, mask)

            if t.blocks.count != 0:
                grain = t.blocks.count or max(-(-bounds(c.m)[1] // t.blocks.largest), 1)
                t.blocks.each(b, f.m, 0, grain, row_block)

        def columns(batch: Index) -> None:
            first = ic * t.task_columns
            if t.groups == 1:
                column_block(batch, first)
                return
            with b.loop(first, b.min(first + t.task_columns, f.n), t.columns) as loop:
                column_block(batch, loop.index)

        counted(b, *f.batches(ib, t.batches), columns)
    return f.call(tasks)


def _tile(f: Frame, t: InnerTiling, batch: Index, row: Index, rows: int, first: Index, whole: bool) -> list[Value]:
    """Vectors whose lanes add up to the products of ``rows`` rows by ``t.columns`` columns, row by row."""
    b, k = f.builder, f.c.k
    columns = [first + j if whole else b.min(first + j, f.n - 1) for j in range(t.columns)]

    def step(at: Index, totals: tuple[Value, ...] | list[Value], mask: Value | None) -> list[Value]:
        left = [f.row_vector(batch, row + r, at, t.lanes, mask) for r in range(rows)]
        following: list[Value] = []
        right = [f.column_run(batch, column, at, t.lanes, mask) for column in columns]
        carried = iter(totals)
        for x in left:
            following += [f.multiply_add(x, y, next(carried)) for y in right]
        return following

    number = rows * t.columns
    totals = [f.zero(t.lanes)] * (number * t.copies)
    done = Index.of(0)
    for copies in dict.fromkeys((t.copies, 1)):
        stride = copies * t.lanes
        stop = Index.of(k // stride * stride) if isinstance(k, int) else b.floordiv(f.k, stride) * stride
        if stop != done:
            with b.loop(done, stop, stride, carried=totals[: number * copies], unroll=2 if copies == 1 else 1) as loop:
                following: list[Value] = []
                for u in range(copies):
                    part = loop.carried[u * number : (u + 1) * number]
                    following += step(loop.index + u * t.lanes, part, None)
                b.yield_(*following)
            totals[: number * copies] = loop.results
        done = stop
    for u in range(1, t.copies):
        totals[:number] = [b.op("add", x, y) for x, y in zip(totals[:number], totals[u * number :], strict=False)]
    if not isinstance(k, int) or k % t.lanes:
        with b.loop(done, f.k, t.lanes, carried=totals[:number]) as loop:
            b.yield_(*step(loop.index, loop.carried, b.tail_mask(loop.index, f.k, t.lanes)))
        totals[:number] = loop.results
    return totals[:number]
