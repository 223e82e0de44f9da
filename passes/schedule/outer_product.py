"""Contractions as sums of outer products: a register tile of rows by vectors of columns, one k after the other.

for each task of batches, row blocks and panels of columns:
    copy or transpose the panel to scratch, if it does not lie in order
    for each block of up to 14 rows:
        sums = 0
        for k: load the panel's vectors, splat each row's element, multiply and add
        epilogue and store
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from mlc.ir.dims import Size
from mlc.ir.kernel import Index, IndexLike, Memory, Value
from mlc.ir.target import Target

from .contraction_form import Batch
from .contraction_frame import Frame
from .panel import Columns, pack_panel
from .region import KernelCall
from .sums_frame import MOST_STORED
from .tasks import counted
from .tiling import COPY_BLOCKS, Tiling, rows_beside, tile_outer

UNROLL = 2  # copies of the innermost body of the largest block
ENOUGH_SUMS = 12  # that hide the latency of multiply-add
LEAST_DEPTH = 32  # products of a sum that is computed in several sets
ONE_ROW = 8  # vectors of columns for a row that is alone: independent sums that hide the latency of adding
Source = Literal["columns", "panel", "both"]  # of vectors: as they lie, the copy, as they lie while copying
SourcedBlock = Callable[[int, Index, Source], None]
DEEP = 128  # products a sum, from which on its detour through scratch does not show


def outer_product(frame: Frame, target: Target) -> KernelCall:
    """The kernel that computes the whole contraction."""
    tiling = tile_outer(frame.c, target)
    tasks = tiling.tasks(frame.c)
    return _Writer(frame, tiling, target).write(tasks)


class _Writer:
    def __init__(self, frame: Frame, tiling: Tiling, target: Target) -> None:
        self.frame = frame
        self.registers = target.vector_registers
        self.tiling = tiling
        self.builder = frame.builder
        self.panel: Memory | None = None
        self.source: Source = "columns" if tiling.packing == "none" else "panel"
        self.sums: Memory | None = None
        weight = frame.epilogue_weight * tiling.blocks.largest * tiling.vectors
        heavy = weight > (MOST_STORED if frame.c.length < DEEP else 0)
        if tiling.packing != "none":
            depth = tiling.depth or frame.c.length
            depth = -(-depth // 16) * 16
            copies = tiling.panels if tiling.depth is not None else 1
            self.panel = self.builder.scratch("panel", frame.accumulator, (copies * depth, tiling.width))
        if tiling.depth is not None or heavy or tiling.rows_first:
            rows = tiling.task_rows if tiling.depth is not None else tiling.blocks.largest
            shape = (rows, tiling.width * (tiling.panels if tiling.depth is not None or tiling.rows_first else 1))
            self.sums = self.builder.scratch("sums", frame.accumulator, shape)

    def write(self, tasks: tuple[tuple[Size, int], ...]) -> KernelCall:
        b, t, f = self.builder, self.tiling, self.frame
        with b.parallel(*f.nest(tasks)) as (ib, ir, ip):
            f.elements.prepare(f.nodes)
            f.each_batch(ib, t.batches, lambda batch: self.panels(batch, ir, ip))
        return f.call(tasks)

    def panels(self, batch: Batch, ir: Index, group: Index) -> None:
        """The panels of a task."""
        b, t, n = self.builder, self.tiling, self.frame.c.n
        count = Index.of(-(-n // t.width)) if isinstance(n, int) else b.floordiv(self.frame.n + t.width - 1, t.width)
        single = count.constant is not None and count.constant <= t.panels
        exact = isinstance(n, int) and n % t.width == 0 and t.panels == 1
        first = Index.of(0) if single else group * t.panels
        last = count if single else first + 1 if exact else b.min(first + t.panels, count)
        if t.streams and t.blocks.count is None:
            alone = b.min(b.max(2 - self.frame.m, 0), self.frame.m)
            counted(b, Index.of(0), alone, lambda _: self.only_row(batch, first, last))
            counted(b, alone, Index.of(1), lambda _: self.deep(batch, ir, first, last))
        elif t.depth is not None:
            self.deep(batch, ir, first, last)
        elif t.rows_first:
            self.rows(batch, ir, first, last)
        else:
            self.each_panel(first, last, lambda columns, _: self.columns(batch, ir, columns))

    def each_panel(self, first: Index, last: Index, body: Callable[[Columns, Index], None]) -> None:
        """``body(columns, number)`` for whole panels, then for the last one, which may be narrower."""
        b, t, n = self.builder, self.tiling, self.frame.c.n
        whole = Index.of(n // t.width) if isinstance(n, int) else b.floordiv(self.frame.n, t.width)
        if whole.constant != 0:
            all_whole = isinstance(n, int) and n % t.width == 0
            end = last if all_whole else b.min(last, whole)
            counted(b, first, end, lambda p: body(Columns(p * t.width, (None,) * t.vectors), p - first))
        if not (isinstance(n, int) and n % t.width == 0):
            start = b.max(first, whole)
            counted(b, start, last, lambda p: body(self.tail(p * t.width), p - first))

    def rows(self, batch: Batch, ir: Index, first: Index, last: Index) -> None:
        """All panels of one row block after the other; then its rows are stored, each as its memory lies."""
        b, t, f, sums = self.builder, self.tiling, self.frame, self.sums
        assert sums is not None
        start, stop = f.contracted(batch)

        def block(rows: int, row: Index) -> None:
            def tile(columns: Columns, place: Index) -> None:
                vectors = len(columns.masks)
                zeros = [f.zero(t.lanes)] * (rows * vectors)
                totals = self.accumulate(batch, row, rows, columns, start, stop, zeros)
                for k, total in enumerate(totals):
                    b.store(sums, (k // vectors, place * t.width + k % vectors * t.lanes), total)

            self.each_panel(first, last, tile)
            with b.loop(0, rows) as loop:
                r = loop.index
                self.each_panel(first, last, lambda c, p: self.store_row(batch, row + r, r, c, p * t.width))

        t.blocks.each(b, f.m, ir, t.row_blocks, block)

    def tail(self, first: Index) -> Columns:
        """The last panel: as few vectors as hold it, masked where they reach too far."""
        b, t, n = self.builder, self.tiling, self.frame.c.n
        left = n % t.width if isinstance(n, int) else t.width
        masks: list[Value | None] = []
        for v in range(-(-left // t.lanes)):
            inside = isinstance(n, int) and (v + 1) * t.lanes <= left
            masks.append(None if inside else b.tail_mask(first + v * t.lanes, self.frame.n, t.lanes))
        return Columns(first, tuple(masks))

    def columns(self, batch: Batch, ir: Index, columns: Columns) -> None:
        """All rows of the task at one panel."""
        b, t, f = self.builder, self.tiling, self.frame
        start, stop = f.contracted(batch)

        def block(rows: int, row: Index, source: Source = self.source) -> None:
            for some in self.pieces(rows, columns):
                zeros = [f.zero(t.lanes)] * (rows * len(some.masks))
                sums = self.accumulate(batch, row, rows, some, start, stop, zeros, source)
                self.finish(batch, row, rows, some, sums)

        if t.copies_along and t.blocks.count is None:
            self.copy_if_it_pays(ir, block)
            return
        if t.copies_along:
            block(t.blocks.largest, Index.of(0), "both")
        elif self.panel is not None:
            pack_panel(f, t, self.panel, batch, columns, start, stop)
        t.blocks.each(b, f.m, ir, t.row_blocks, block, skip=int(t.copies_along))

    def copy_if_it_pays(self, ir: Index, block: SourcedBlock) -> None:
        """A symbolic number of rows: the panel is copied where enough of them use it, else read as it lies."""
        b, t = self.builder, self.tiling
        rows = t.blocks.largest
        first, whole, last = t.blocks.range(b, self.frame.m, ir, t.row_blocks)
        pays = b.min(b.floordiv(whole, COPY_BLOCKS), 1)
        counted(b, Index.of(0), pays, lambda q: block(rows, first + q * rows, "both"))
        counted(b, pays, whole * pays, lambda q: block(rows, first + q * rows, "panel"))
        counted(b, whole * pays, whole, lambda q: block(rows, first + q * rows, "columns"))
        t.blocks.rest(b, first + whole * rows, last, lambda w, row: block(w, row, "columns"))

    def deep(self, batch: Batch, ir: Index, first: Index, last: Index) -> None:
        """With K in chunks: the sums of all rows and panels of the task wait in scratch for the next chunk."""
        b, t, f, sums, panel = self.builder, self.tiling, self.frame, self.sums, self.panel
        assert t.depth is not None and sums is not None and panel is not None
        depth, start = t.depth, self.first_row(ir)
        with b.loop(0, t.task_rows) as row:
            for v in range(t.panels * t.vectors):
                b.store(sums, (row.index, v * t.lanes), f.zero(t.lanes))
        begin, end = f.contracted(batch)
        with b.loop(begin, end, depth) as chunk:
            stop = b.min(chunk.index + depth, end)
            self.pack(batch, first, last, chunk.index, stop)

            def tiles(columns: Columns, place: Index) -> None:
                def block(rows: int, row: Index) -> None:
                    for some in self.pieces(rows, columns):
                        piece(rows, row, some)

                def piece(rows: int, row: Index, columns: Columns) -> None:
                    at = [
                        (row - start + r, place * t.width + columns.place + v * t.lanes)
                        for r in range(rows)
                        for v in range(len(columns.masks))
                    ]
                    totals = [b.load(sums, a, t.lanes) for a in at]
                    base = place * depth
                    totals = self.accumulate(batch, row, rows, columns, chunk.index, stop, totals, self.source, base)
                    for a, total in zip(at, totals, strict=True):
                        b.store(sums, a, total)

                t.blocks.each(b, f.m, ir, t.row_blocks, block)

            self.each_panel(first, last, tiles)
        with b.loop(start, self.first_row(ir + 1)) as row:
            index = row.index
            self.each_panel(first, last, lambda c, p: self.store_row(batch, index, index - start, c, p * t.width))

    def only_row(self, batch: Batch, first: Index, last: Index) -> None:
        """A strip of columns for one row, as they lie: a copy would take longer than the row."""
        b, t, f = self.builder, self.tiling, self.frame
        start, stop = f.contracted(batch)
        width = ONE_ROW * t.lanes
        end = b.min(last * t.width, f.n)
        exact = isinstance(f.c.n, int) and f.c.n % (t.panels * t.width) == 0 and t.panels * t.width % width == 0
        row = Index.of(0)
        with b.loop(first * t.width, end, width) as loop:
            places = [loop.index + v * t.lanes for v in range(ONE_ROW)]
            columns = Columns(loop.index, tuple(None if exact else b.tail_mask(p, end, t.lanes) for p in places))
            totals = self.accumulate(batch, row, 1, columns, start, stop, [f.zero(t.lanes)] * ONE_ROW)
            for v, total in enumerate(totals):
                f.store(batch, row, places[v], total, columns.masks[v])

    def pack(self, batch: Batch, first: Index, last: Index, start: Index, stop: Index) -> None:
        """Copy a chunk of the task's panels: several of them k by k, as their memory lies."""
        b, t, f, panel = self.builder, self.tiling, self.frame, self.panel
        assert t.depth is not None and panel is not None
        if t.panels == 1:
            self.each_panel(first, last, lambda columns, _: pack_panel(f, t, panel, batch, columns, start, stop))
            return
        depth = t.depth
        with b.loop(start, stop) as loop:
            k = loop.index

            def copy(columns: Columns, place: Index) -> None:
                for v, mask in enumerate(columns.masks):
                    vector = f.column_vector(batch, columns.first + v * t.lanes, k, t.lanes, mask)
                    b.store(panel, (place * depth + k - start, v * t.lanes), vector)

            self.each_panel(first, last, copy)

    def first_row(self, group: Index) -> Index:
        """The first row of a task; of the group after the last one, the end."""
        b, blocks, grain = self.builder, self.tiling.blocks, self.tiling.row_blocks
        if blocks.count is None:
            return b.min(group * self.tiling.task_rows, self.frame.m)
        block = b.min(group * grain, blocks.count)
        return block * (blocks.largest - 1) + b.min(block, blocks.large)

    def accumulate(
        self,
        batch: Batch,
        row: Index,
        rows: int,
        columns: Columns,
        start: Index,
        stop: Index,
        totals: list[Value],
        source: Source = "columns",
        base: IndexLike = 0,
    ) -> list[Value]:
        """The register tile: ``totals`` plus the products of k in start .. stop; a panel's rows begin at ``base``."""
        b, copies = self.builder, self.copies(len(totals))
        main, often = stop, self.tiling.blocks.count is not None or rows == self.tiling.blocks.largest
        if copies > 1:
            totals = totals + [self.frame.zero(self.tiling.lanes)] * (len(totals) * (copies - 1))
            main = start + b.floordiv(stop - start, copies) * copies
        number = len(totals) // copies
        with b.loop(start, main, copies, carried=totals, unroll=UNROLL if often else 1) as loop:
            following: list[Value] = []
            for u in range(copies):
                part = loop.carried[u * number : (u + 1) * number]
                following += self.step(batch, row, rows, columns, start - base, loop.index + u, part, source)
            b.yield_(*following)
        totals = list(loop.results)
        while len(totals) > number:  # a fixed tree
            half = len(totals) // 2
            totals = [b.op("add", x, y) for x, y in zip(totals[:half], totals[half:], strict=True)]
        if (stop - main).constant != 0:
            with b.loop(main, stop, carried=totals) as loop:
                b.yield_(*self.step(batch, row, rows, columns, start - base, loop.index, loop.carried, source))
            totals = list(loop.results)
        return totals

    def pieces(self, rows: int, columns: Columns) -> list[Columns]:
        """A panel in halves where so many rows of it do not fit the registers."""
        lanes, masks = self.tiling.lanes, columns.masks
        if rows <= rows_beside(len(masks), self.registers):
            return [columns]
        half = len(masks) // 2
        second = Columns(columns.first + half * lanes, masks[half:], columns.place + half * lanes)
        return [Columns(columns.first, masks[:half], columns.place), second]

    def copies(self, sums: int) -> int:
        """So many sets of a few sums that enough are under way at once: each takes some of K."""
        if not self.frame.accumulator.is_float or self.frame.c.length < LEAST_DEPTH:
            return 1
        return max((c for c in (2, 4) if c * sums <= ENOUGH_SUMS), default=1)

    def step(
        self,
        batch: Batch,
        row: Index,
        rows: int,
        columns: Columns,
        origin: Index,
        k: Index,
        totals: Sequence[Value],
        source: Source,
    ) -> list[Value]:
        """``totals`` plus the products of one k, which a panel has in row ``k - origin``."""
        b, t, f = self.builder, self.tiling, self.frame
        places = [(k - origin, columns.place + v * t.lanes) for v in range(len(columns.masks))]
        if self.panel is not None and source == "panel":
            vectors = [b.load(self.panel, at, t.lanes) for at in places]
        else:
            vectors = [
                f.column_vector(batch, columns.first + v * t.lanes, k, t.lanes, mask)
                for v, mask in enumerate(columns.masks)
            ]
        if self.panel is not None and source == "both":
            for at, x in zip(places, vectors, strict=True):
                b.store(self.panel, at, x)
        following: list[Value] = []
        carried = iter(totals)
        for r in range(rows):
            element = b.splat(f.row_element(batch, row + r, k), t.lanes)
            following += [f.multiply_add(element, x, next(carried)) for x in vectors]
        return following

    def finish(self, batch: Batch, row: Index, rows: int, columns: Columns, totals: list[Value]) -> None:
        """The epilogue of a tile, from registers, or row by row from scratch if it is long."""
        b, t, f = self.builder, self.tiling, self.frame
        vectors = len(columns.masks)
        if self.sums is None:
            for r in range(rows):
                for v, mask in enumerate(columns.masks):
                    f.store(batch, row + r, columns.first + v * t.lanes, totals[r * vectors + v], mask)
            return
        for place, total in enumerate(totals):
            b.store(self.sums, (place // vectors, place % vectors * t.lanes), total)
        with b.loop(0, rows) as loop:
            self.store_row(batch, row + loop.index, loop.index, columns)

    def store_row(self, batch: Batch, row: Index, place: Index, columns: Columns, column: IndexLike = 0) -> None:
        b, t = self.builder, self.tiling
        assert self.sums is not None
        for v, mask in enumerate(columns.masks):
            total = b.load(self.sums, (place, column + v * t.lanes), t.lanes)
            self.frame.store(batch, row, columns.first + v * t.lanes, total, mask)
