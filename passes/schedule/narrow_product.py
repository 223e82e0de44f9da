"""Contractions with few columns: a vector holds all columns at several k, so that none of its lanes is idle.

for each task of batches and row blocks:
    panel[q, column * steps + s] = columns[column, q * steps + s]
    for each block of rows:
        sums = 0
        for q: load the panel's vector, repeat ``steps`` neighbours of each row over a vector, multiply and add
        add up the neighbours of each column, epilogue and store
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.ir.dims import bounds
from mlc.ir.kernel import Index, IndexLike, KernelBuilder, Memory, Value
from mlc.ir.target import Target

from .contraction_form import Batch, Contraction
from .contraction_frame import Frame
from .region import KernelCall
from .tiling import TASK_WORK, RowBlocks

MOST_ROWS = 16  # of a block: enough sums to hide the latency of multiply-add
UNROLL = 2


@dataclass(frozen=True, slots=True)
class NarrowTiling:
    """``width`` lanes of columns, a power of two, times ``steps`` of K are a vector."""

    blocks: RowBlocks
    width: int
    steps: int
    batches: int
    row_blocks: int

    @property
    def lanes(self) -> int:
        return self.width * self.steps


def narrow_width(columns: int) -> int:
    """The least power of two that holds them, 2 or more."""
    return 1 << max((columns - 1).bit_length(), 1)


def tile_narrow(c: Contraction, target: Target) -> NarrowTiling:
    """Tiles for at most half a vector of columns."""
    m, n, batch = bounds(c.m)[1], bounds(c.n)[1], bounds(c.batch)[1]
    width, lanes = narrow_width(n), target.lanes(c.accumulator)
    blocks = RowBlocks.of(c.m, min(MOST_ROWS, target.vector_registers - 4))
    count = blocks.count or max(-(-m // blocks.largest), 1)
    wanted = max(-(-TASK_WORK // max(2 * blocks.largest * n * c.length, 1)), 1)
    row_blocks = max(-(-count // max(count // wanted, 1)), 1)
    batches = 1 if row_blocks < count else max(min(batch, -(-wanted // count)), 1)
    return NarrowTiling(blocks, width, lanes // width, batches, row_blocks)


def narrow_product(frame: Frame, target: Target) -> KernelCall:
    """The kernel that computes the whole contraction; the rows should be contiguous along K."""
    f, b, t, c = frame, frame.builder, tile_narrow(frame.c, target), frame.c
    count = -(-c.length // t.steps)
    panel = b.scratch("panel", f.accumulator, (max(count, 1), t.lanes))
    blocks = t.blocks.count if t.blocks.count is not None else -(-bounds(c.m)[1] // t.blocks.largest)
    tasks = (c.batch, t.batches), (blocks if c.m != 0 else 0, t.row_blocks)
    with b.parallel(*f.nest(tasks)) as (ib, ir):
        f.elements.prepare(f.nodes)
        mask = None if c.n == t.width else b.tail_mask(Index.of(0), f.n, t.width)

        def rows_of(batch: Batch) -> None:
            _pack(f, t, panel, batch, mask)
            t.blocks.each(b, f.m, ir, t.row_blocks, lambda rows, row: _block(f, t, panel, batch, row, rows, mask))

        f.each_batch(ib, t.batches, rows_of)
    return f.call(tasks)


def _pack(f: Frame, t: NarrowTiling, panel: Memory, batch: Batch, mask: Value | None) -> None:
    """The columns to the panel, with zeros after the last k."""
    b, k = f.builder, f.c.length

    def vector(q: IndexLike, inside: int) -> None:
        def column(s: int) -> Value:
            if s >= inside:
                return f.zero(t.width)
            at = Index.of(q) * t.steps + s
            return f.column_vector(batch, Index.of(f.c.first_column), at, t.width, mask)

        b.store(panel, (q, 0), interlaced(b, [column(s) for s in range(t.steps)]))

    with b.loop(0, k // t.steps) as loop:
        vector(loop.index, t.steps)
    if k % t.steps:
        vector(k // t.steps, k % t.steps)


def _block(f: Frame, t: NarrowTiling, panel: Memory, batch: Batch, row: Index, rows: int, mask: Value | None) -> None:
    """``rows`` rows by all columns."""
    b, k = f.builder, f.c.length
    spread = [lane % t.steps for lane in range(t.lanes)]

    def step(q: IndexLike, totals: Sequence[Value], inside: Value | None) -> list[Value]:
        columns = b.load(panel, (q, 0), t.lanes)
        found = []
        for r, total in enumerate(totals):
            run = f.row_vector(batch, row + r, Index.of(q) * t.steps, t.steps, inside)
            found.append(f.multiply_add(b.shuffle(run, run, spread), columns, total))
        return found

    totals = [f.zero(t.lanes)] * rows
    whole = k // t.steps
    if whole:
        with b.loop(0, whole, carried=totals, unroll=UNROLL) as loop:
            b.yield_(*step(loop.index, loop.carried, None))
        totals = list(loop.results)
    if k % t.steps:
        totals = step(whole, totals, b.tail_mask(Index.of(whole * t.steps), f.k, t.steps))
    for r, total in enumerate(totals):
        f.store(batch, row + r, Index.of(0), _folded(b, total, t.width), mask)


def interlaced(b: KernelBuilder, vectors: list[Value]) -> Value:
    """Lane ``i * count + s`` is lane i of vector s; the number of vectors is a power of two."""
    while len(vectors) > 1:
        half, lanes = len(vectors) // 2, vectors[0].lanes
        order = [lane + side * lanes for lane in range(lanes) for side in (0, 1)]
        vectors = [b.shuffle(x, y, order) for x, y in zip(vectors[:half], vectors[half:], strict=True)]
    return vectors[0]


def _folded(b: KernelBuilder, total: Value, width: int) -> Value:
    """Sums of neighbouring lanes, as many as are ``width`` times in a vector: a tree of pairs."""
    while total.lanes > width:
        even, odd = ([*range(first, total.lanes, 2)] for first in (0, 1))
        total = b.op("add", b.shuffle(total, total, even), b.shuffle(total, total, odd))
    return total
