"""Contractions as inner products: both operands are read along K, for few rows and columns at a time.

It packs nothing, so it serves few rows: a matrix whose rows are contiguous along K times a vector, or a small batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlc.ir.dims import bounds
from mlc.ir.kernel import Index, Value
from mlc.ir.target import Target

from .contraction_form import Batch, Contraction
from .contraction_frame import Frame
from .panel import sums
from .region import KernelCall
from .tiling import TASK_WORK, RowBlocks

MOST_ROWS = 8  # of a tile
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
    m, n, k, batch = bounds(c.m)[1], bounds(c.n)[1], c.length, bounds(c.batch)[1]
    wide = target.vector_registers >= 32
    most = 8 if wide or m == 1 else 4
    blocks = RowBlocks.of(c.m, 4 if wide else 2)
    columns = 8 if blocks.largest == 1 or (blocks.largest == 2 and wide) else 4
    if n <= most:
        columns = max(n, 1)
        blocks = RowBlocks.of(c.m, max(min((target.vector_registers - 2 - columns) // columns, MOST_ROWS), 1))
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

        def column_block(batch: Batch, column: Index) -> None:
            whole = isinstance(c.n, int) and c.n % t.columns == 0
            lanes = t.columns if t.columns in (1, 2, 4, 8) else 4 if t.columns == 3 else 8
            mask = None if whole and lanes == t.columns else b.tail_mask(column, f.n, lanes)

            def row_block(rows: int, row: Index) -> None:
                totals = _tile(f, t, batch, row, rows, column, whole)
                for r in range(rows):
                    part = totals[r * t.columns : (r + 1) * t.columns]
                    if lanes > t.columns:
                        part += [f.zero(t.lanes)] * (lanes - t.columns)
                    total = sums(b, part)
                    f.store(batch, row + r, column, total, mask)

            if t.blocks.count != 0:
                grain = t.blocks.count or max(-(-bounds(c.m)[1] // t.blocks.largest), 1)
                t.blocks.each(b, f.m, 0, grain, row_block)

        def columns(batch: Batch) -> None:
            first = ic * t.task_columns
            if t.groups == 1:
                column_block(batch, first)
                return
            with b.loop(first, b.min(first + t.task_columns, f.n), t.columns) as loop:
                column_block(batch, loop.index)

        f.each_batch(ib, t.batches, columns)
    return f.call(tasks)


def _tile(f: Frame, t: InnerTiling, batch: Batch, row: Index, rows: int, first: Index, whole: bool) -> list[Value]:
    """Vectors whose lanes add up to the products of ``rows`` rows by ``t.columns`` columns, row by row."""
    b = f.builder
    start, end = f.contracted(batch)
    length = (end - start).constant
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
    done = start
    for copies in dict.fromkeys((t.copies, 1)):
        stride = copies * t.lanes
        stop = start + (b.floordiv(end - start, stride) * stride if length is None else length // stride * stride)
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
    if length is None or length % t.lanes:
        with b.loop(done, end, t.lanes, carried=totals[:number]) as loop:
            b.yield_(*step(loop.index, loop.carried, b.tail_mask(loop.index, end, t.lanes)))
        totals[:number] = loop.results
    return totals[:number]
