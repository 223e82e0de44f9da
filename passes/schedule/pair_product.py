"""Contractions of small integers: each sum takes the products of two neighbours along K in one instruction.

for each task of batches, row blocks and panels of columns:
    panel[q, 2 * column + s] = columns[column, 2 * q + s], as 16-bit integers
    for each block of rows:
        sums = 0
        for q: load the panel's vectors, repeat each row's two neighbours over a vector, dot2
        epilogue and store
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlc.ir.dims import bounds
from mlc.ir.graph import CONVERT
from mlc.ir.kernel import Index, IndexLike, Memory, Value
from mlc.ir.target import Target
from mlc.ir.types import I8, I16, I32, U8

from .contraction_form import Batch, Contraction, Side
from .contraction_frame import Frame
from .narrow_product import interlaced
from .panel import Columns
from .region import KernelCall
from .tiling import MOST_ROWS, MOST_SYMBOLIC_ROWS, TASK_WORK, RowBlocks, Tiling, rows_beside

UNROLL = 2
MOST_DEPTH = 1 << 14  # of K, so that a panel stays in the second-level cache


def as_pairs(c: Contraction) -> Contraction | None:
    """The contraction on 16-bit integers, where both operands are converted from no more; else None."""
    sizes = isinstance(c.n, int) and isinstance(c.k, int) and 1 < c.k <= MOST_DEPTH and c.part is None
    sides = _narrowed(c, c.rows), _narrowed(c, c.columns)
    if c.accumulator != I32 or not sizes or c.n == 0 or sides[0] is None or sides[1] is None:
        return None
    return replace(c, rows=sides[0], columns=sides[1], factor=I16)


def _narrowed(c: Contraction, side: Side) -> Side | None:
    node = side.node
    if node.op is not CONVERT or node.operands[0].dtype not in (I8, U8, I16):
        return None
    with c.body.table.active(), c.body.table.at(c.body.table.locations.get(c.dot, ())):
        source = node.operands[0]
        return replace(side, node=source if source.dtype == I16 else CONVERT(source, dtype=I16))


def pair_product(frame: Frame, target: Target) -> KernelCall:
    """The kernel that computes the whole contraction; the rows should be contiguous along K."""
    f, b, c = frame, frame.builder, frame.c
    t = _tile(c, target)
    tasks = t.tasks(c)
    panel = b.scratch("panel", I16, (-(-c.length // 2), 2 * t.width))
    with b.parallel(*f.nest(tasks)) as (ib, ir, ip):
        f.elements.prepare(f.nodes)

        def columns_of(batch: Batch, columns: Columns) -> None:
            _pack(f, t, panel, batch, columns)
            each = t.row_blocks
            t.blocks.each(b, f.m, ir, each, lambda rows, row: _block(f, t, panel, batch, row, rows, columns))

        def task(batch: Batch) -> None:
            assert isinstance(c.n, int)
            whole, left = divmod(c.n, t.width)
            if whole:
                with b.loop(ip, b.min(ip + 1, whole)) as loop:
                    columns_of(batch, Columns(loop.index * t.width, (None,) * t.vectors))
            if left:
                with b.loop(b.max(ip, whole), ip + 1) as loop:
                    first = loop.index * t.width
                    masks = [b.tail_mask(first + v * t.lanes, f.n, t.lanes) for v in range(-(-left // t.lanes))]
                    columns_of(batch, Columns(first, tuple(masks)))

        f.each_batch(ib, t.batches, task)
    return f.call(tasks)


def _tile(c: Contraction, target: Target) -> Tiling:
    lanes = target.lanes(c.accumulator)
    vectors = min(2, -(-bounds(c.n)[1] // lanes))
    most = MOST_ROWS if isinstance(c.m, int) else MOST_SYMBOLIC_ROWS
    blocks = RowBlocks.of(c.m, min(rows_beside(vectors + 1, target.vector_registers), most))
    count = blocks.count or max(-(-bounds(c.m)[1] // blocks.largest), 1)
    wanted = max(-(-TASK_WORK // max(2 * blocks.largest * vectors * lanes * c.length, 1)), 1)
    row_blocks = max(-(-count // max(count // max(wanted, 8), 1)), 1)
    return Tiling(blocks, vectors, lanes, "copy", None, 1, row_blocks, 1)


def _pack(f: Frame, t: Tiling, panel: Memory, batch: Batch, columns: Columns) -> None:
    """Columns to the panel, with zeros after the last k."""
    b, k = f.builder, f.c.length

    def pair(q: IndexLike, inside: int) -> None:
        for v, mask in enumerate(columns.masks):
            first = columns.first + v * t.lanes
            found = [f.column_vector(batch, first, Index.of(q) * 2 + s, t.lanes, mask) for s in range(inside)]
            found += [b.constant(0, I16, t.lanes)] * (2 - inside)
            b.store(panel, (q, v * 2 * t.lanes), interlaced(b, found))

    with b.loop(0, k // 2) as loop:
        pair(loop.index, 2)
    if k % 2:
        pair(k // 2, 1)


def _block(f: Frame, t: Tiling, panel: Memory, batch: Batch, row: Index, rows: int, columns: Columns) -> None:
    """``rows`` rows by the columns of a panel."""
    b, k, vectors = f.builder, f.c.length, len(columns.masks)

    def step(q: IndexLike, totals: Sequence[Value], inside: Value | None) -> list[Value]:
        right = [b.load(panel, (q, v * 2 * t.lanes), 2 * t.lanes) for v in range(vectors)]
        found: list[Value] = []
        for r in range(rows):
            run = f.row_vector(batch, row + r, Index.of(q) * 2, 2, inside)
            left = b.shuffle(run, run, [0, 1] * t.lanes)
            found += [b.dot2(left, y, totals[r * vectors + v]) for v, y in enumerate(right)]
        return found

    totals = [f.zero(t.lanes)] * (rows * vectors)
    with b.loop(0, k // 2, carried=totals, unroll=UNROLL) as loop:
        b.yield_(*step(loop.index, loop.carried, None))
    totals = list(loop.results)
    if k % 2:
        totals = step(k // 2, totals, b.tail_mask(Index.of(k - 1), f.k, 2))
    for r in range(rows):
        for v, mask in enumerate(columns.masks):
            f.store(batch, row + r, columns.first + v * t.lanes, totals[r * vectors + v], mask)
