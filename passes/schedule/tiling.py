"""How a contraction is cut: register tiles, row blocks, panels of columns, chunks of K, tasks. By shape and target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mlc.ir.dims import Size, bounds
from mlc.ir.kernel import Index, IndexLike, KernelBuilder
from mlc.ir.target import Target

from .contraction_form import Contraction
from .tasks import counted

MOST_ROWS = 14  # of a register tile: with two vectors of columns it fills 32 registers
MIDDLE_ROWS = 6  # of a tile that serves any number of rows: with four vectors few of them hide latency
MOST_SYMBOLIC_ROWS = 12  # for each number up to it there is code
TASK_WORK = 800_000  # flops (a byte from memory counts as 8) below which a task is not worth its hand-over
PANEL_SHARE = 4  # a packed panel of columns takes at most 1/4 of the second-level cache
COPY_BLOCKS = 4  # of rows that pay for the copy of a panel
LEAST_BLOCKS = 32  # of rows that a panel is packed for; with more, the rows of a task fit the second-level cache
STREAM = 256  # columns of a strip that is read in the order of memory
STREAM_DEPTH = 128  # of K in a chunk of a strip: it stays in the second-level cache beside the sums
FAR_APART = 2048  # bytes from one k, or row, to the next: then each is in a page of its own, soon
FLOPS_A_BYTE = 16  # that are computed while a byte comes from memory
STORED_ROWS = 28  # of a task that moves much

Packing = Literal["none", "copy", "transpose"]
RowBlock = Callable[[int, Index], None]  # emits a block of so many rows from a first row on


@dataclass(frozen=True, slots=True)
class RowBlocks:
    """Rows cut into blocks of at most ``largest`` for which specialised code is emitted.

    A static number of rows is balanced: ``large`` blocks of ``largest`` rows, then blocks of one row less. Of a
    symbolic one (``count`` is None) each group is balanced at run time, with code for every number of rows.
    """

    largest: int
    count: int | None = None
    large: int = 0

    @staticmethod
    def of(m: Size, most: int) -> RowBlocks:
        if not isinstance(m, int):
            return RowBlocks(min(most, bounds(m)[1]))
        count = max(-(-m // most), 1)
        largest = max(-(-m // count), 1)
        return RowBlocks(largest, count, m - count * (largest - 1))

    def each(self, b: KernelBuilder, m: Index, group: IndexLike, grain: int, body: RowBlock, skip: int = 0) -> None:
        """Emit loops over the row blocks ``group * grain ..`` (at most ``grain``); ``body(rows, first row)``.

        A group that is alone may ``skip`` its first block.
        """
        if self.count is None:
            self.balanced(b, m, group, grain, body)
            return
        first = Index.of(group) * grain if grain < self.count else Index.of(skip)
        last = b.min(first + grain, self.count) if grain < self.count else Index.of(self.count)
        counted(b, first, b.min(last, self.large), lambda q: body(self.largest, q * self.largest))
        if self.large < self.count and self.largest > 1:
            less, skipped = self.largest - 1, self.large
            counted(b, b.max(first, self.large), last, lambda q: body(less, q * less + skipped))

    def range(self, b: KernelBuilder, m: Index, group: IndexLike, grain: int) -> tuple[Index, Index, Index]:
        """Of a symbolic number of rows those of ``group``: the first, the number of whole blocks, and the end."""
        first = Index.of(group) * (grain * self.largest)
        last = b.min(first + grain * self.largest, m)
        return first, b.floordiv(last - first, self.largest), last

    def balanced(self, b: KernelBuilder, m: Index, group: IndexLike, grain: int, body: RowBlock) -> None:
        """As few blocks as hold the rows of ``group``; the first ones have one row more than the others."""
        first, _, last = self.range(b, m, group, grain)
        count = b.max(b.floordiv(last - first + (self.largest - 1), self.largest), 1)
        rows = b.floordiv(last - first, count)
        longer = last - first - rows * count
        for w in range(self.largest, 0, -1):
            more, same = _equal(b, rows + 1, w), _equal(b, rows, w)
            start = first + same * longer * (w + 1)
            with b.loop(0, more * longer + same * (count - longer)) as loop:
                body(w, start + loop.index * w)

    def rest(self, b: KernelBuilder, first: Index, last: Index, body: RowBlock) -> None:
        """Fewer than ``largest`` rows, as one block."""
        for w in range(self.largest - 1, 0, -1):
            with b.loop(0, _equal(b, last - first, w)) as loop:
                body(w, first + loop.index * w)


def _equal(b: KernelBuilder, index: Index, number: int) -> Index:
    """1 if they are equal, else 0."""
    return b.max(1 - b.max(index - number, number - index), 0)


@dataclass(frozen=True, slots=True)
class Tiling:
    """``vectors`` of ``lanes`` columns make a panel; ``depth`` is a chunk of K that is packed at once, or None for all.

    A task does ``batches`` x ``row_blocks`` x ``panels``: all rows of a panel after one another, or all panels of a
    row block where its ``rows_first``.
    """

    blocks: RowBlocks
    vectors: int
    lanes: int
    packing: Packing
    depth: int | None
    batches: int
    row_blocks: int
    panels: int
    rows_first: bool = False

    @property
    def width(self) -> int:
        return self.vectors * self.lanes

    @property
    def task_rows(self) -> int:
        return self.row_blocks * self.blocks.largest

    @property
    def streams(self) -> bool:
        """Whether several panels are read together, a chunk of K at a time."""
        return self.depth is not None and self.panels > 1

    @property
    def copies_along(self) -> bool:
        """Whether the first row block of a task reads the panel where it lies and writes the copy."""
        return self.packing == "copy" and self.depth is None and self.blocks.count in (self.row_blocks, None)

    def tasks(self, c: Contraction) -> tuple[tuple[Size, int], ...]:
        """The nest of the parallel loop: batches, rows (or blocks of them), columns."""
        rows: tuple[Size, int] = (c.m, self.task_rows)
        if self.blocks.count is not None:
            rows = (self.blocks.count if c.m != 0 else 0, self.row_blocks)
        return (c.batch, self.batches), rows, (c.n, self.panels * self.width)


def tile_outer(c: Contraction, target: Target) -> Tiling:
    """Tiles for outer products: each element of a row times vectors of columns."""
    lanes = _lanes_for(c, target)
    itemsize, k = c.accumulator.itemsize, c.length
    if _stores_much(c, target):
        return _rows_first(c, lanes, target)
    vectors = _vectors(c.m, c.n, lanes, target.vector_registers)
    most = 1 if vectors > 4 else min(MOST_ROWS, rows_beside(vectors, target.vector_registers))
    if not isinstance(c.m, int):
        most = min(2 * most, MOST_SYMBOLIC_ROWS)  # more than fit, in two halves of a panel
    blocks = RowBlocks.of(c.m, most)
    if _streams_columns(c, target):
        columns = -(-bounds(c.n)[1] // (vectors * lanes))
        rows = blocks.count or -(-bounds(c.m)[1] // blocks.largest)
        return Tiling(
            blocks, vectors, lanes, "copy", STREAM_DEPTH, 1, rows, _even(columns, STREAM // (vectors * lanes))
        )
    packing = _packing(c, blocks, target)
    depth = None
    if packing != "none":
        deepest = max(target.l2_bytes // (PANEL_SHARE * itemsize * vectors * lanes) // 16 * 16, 16)
        chunks = max(-(-k // deepest), 1)
        depth = -(-k // (16 * chunks)) * 16 if chunks > 1 else None
    if depth is not None and packing == "copy" and bounds(c.m)[0] < COPY_BLOCKS * most:  # perhaps too few rows
        packing, depth = "none", None
    rows = target.l2_bytes // (itemsize * max(depth or k, 1))
    return _tasks(c, blocks, vectors, lanes, packing, depth, max(rows // blocks.largest, LEAST_BLOCKS))


def _streams_columns(c: Contraction, target: Target) -> bool:
    """Whether the columns are far more than a cache holds, and far apart from k to k, and rows are few: a wide strip
    of them is read in the order of memory, in chunks of K, and the sums of all rows wait."""
    direct = c.columns.node.op.name == "parameter" and c.columns.node.dtype == c.accumulator
    if not (direct and isinstance(c.n, int) and c.columns.innermost == c.columns.free and c.part is None):
        return False
    itemsize, rows = c.accumulator.itemsize, bounds(c.m)[1]
    far = c.n * itemsize >= FAR_APART and c.length * c.n * itemsize >= 4 * target.l2_bytes and c.batch == 1
    return far and rows > 1 and rows * STREAM * itemsize <= target.l2_bytes // PANEL_SHARE and c.length > STREAM_DEPTH


def _stores_much(c: Contraction, target: Target) -> bool:
    """Whether the results and what the epilogue reads of their shape take longer to move than the sums to compute."""
    whole = [n for n in (*c.body.parameters, *c.body.results) if n.shape == c.dot.shape]
    nbytes = sum(n.dtype.itemsize for n in whole)
    size = bounds(c.dot.tensor.size)[1]
    if not isinstance(c.n, int) or c.batch != 1 or c.part is not None or c.columns.walks_contracted:
        return False
    far = c.n * c.accumulator.itemsize >= FAR_APART and size * nbytes > target.l2_bytes
    fits = max(c.length, MOST_ROWS) * c.n * c.accumulator.itemsize <= target.l2_bytes // 2
    return far and fits and nbytes * FLOPS_A_BYTE > 2 * c.length and c.row_axis is not None and c.m != 1


def _rows_first(c: Contraction, lanes: int, target: Target) -> Tiling:
    """Rows whole, so that memory is walked in its order."""
    columns = -(-bounds(c.n)[1] // lanes)
    vectors = min(2, columns)
    most = MOST_ROWS if isinstance(c.m, int) else MOST_SYMBOLIC_ROWS
    blocks = RowBlocks.of(c.m, min(rows_beside(vectors, target.vector_registers), most))
    panels = -(-columns // vectors)
    count = blocks.count or -(-bounds(c.m)[1] // blocks.largest)
    rows = _even(count, max(STORED_ROWS // blocks.largest, 1))
    return Tiling(blocks, vectors, lanes, "none", None, 1, rows, panels, True)


def _lanes_for(c: Contraction, target: Target) -> int:
    """Lanes of the accumulators: a register, or less for fewer columns than that."""
    lanes = target.lanes(c.accumulator)
    while lanes > 1 and lanes // 2 >= bounds(c.n)[1]:
        lanes //= 2
    return lanes


def rows_beside(vectors: int, registers: int) -> int:
    """Rows of accumulators that leave registers for a row's element and for the vectors of columns."""
    return max((registers - 1 - vectors) // vectors, 1)


def _vectors(m: Size, n: Size, lanes: int, registers: int) -> int:
    """Few rows take more vectors, so that enough independent sums are in flight, where no more blocks follow."""
    rows, most = bounds(m)[1], max(-(-bounds(n)[1] // lanes), 1)
    if not isinstance(m, int):
        return min(4 if rows_beside(4, registers) >= MIDDLE_ROWS else 2, most)
    wanted = (
        8 if rows <= 1 else next((v for v in (4, 3) if _blocks(rows, v, registers) <= _blocks(rows, 2, registers)), 2)
    )
    return -(-most // -(-most // wanted))


def _blocks(rows: int, vectors: int, registers: int) -> int:
    return -(-rows // min(rows_beside(vectors, registers), MOST_ROWS))


def _packing(c: Contraction, blocks: RowBlocks, target: Target) -> Packing:
    """Whether a panel of columns is copied to scratch, where each row block but the first then finds it in order.

    A copy costs as much as a dozen rows, and wins where the columns do not stay in the second-level cache as they lie.
    """
    most = bounds(c.m)[1]
    direct = c.columns.node.op.name == "parameter" and c.columns.node.dtype == c.accumulator
    contiguous = c.columns.innermost == c.columns.free or bounds(c.n)[1] == 1
    if c.columns.walks_contracted and c.accumulator.itemsize >= 4:
        return "transpose"
    if most <= blocks.largest or (direct and contiguous and most < COPY_BLOCKS * blocks.largest):
        return "none"
    nbytes = c.length * bounds(c.n)[1] * c.accumulator.itemsize
    return "none" if direct and contiguous and nbytes <= target.l2_bytes else "copy"


def _tasks(
    c: Contraction, blocks: RowBlocks, vectors: int, lanes: int, packing: Packing, depth: int | None, most_blocks: int
) -> Tiling:
    """Tasks of at least TASK_WORK where there is enough of it: first whole rows, then panels, then batches."""
    m, n, k, batch = bounds(c.m)[1], bounds(c.n)[1], c.length, bounds(c.batch)[1]
    count = blocks.count if blocks.count is not None else -(-m // blocks.largest)
    columns = max(-(-n // (vectors * lanes)), 1)
    block = blocks.largest * vectors * lanes * 2 * k + 8 * c.accumulator.itemsize * vectors * lanes * k
    block = max(block, 1)
    wanted = max(-(-TASK_WORK // block), 1)  # blocks of a register tile's width in a task
    per_task = count
    if packing == "none" and columns * batch < 8:  # few panels: cut the rows, too
        per_task = max(-(-count * columns * batch // 8), wanted)
    per_task = _even(count, min(per_task, most_blocks))
    left = -(-wanted // per_task)
    panels = 1 if depth is not None else _even(columns, left)
    batches = 1 if panels < columns else _even(max(batch, 1), -(-left // panels))
    return Tiling(blocks, vectors, lanes, packing, depth, batches, per_task, panels)


def _even(count: int, most: int) -> int:
    """The size of the largest of equal parts of ``count`` of at most ``most`` each."""
    most = max(min(count, most), 1)
    return max(-(-count // -(-count // most)), 1)
