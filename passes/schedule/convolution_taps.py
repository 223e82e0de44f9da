"""Gradients of kernels: a register tile of features of lhs by vectors of output features, summed over all pixels.

for each task of taps and panels:
    for each chunk of pixels (images, or rows of an image):
        for each tap, for each tile of up to 14 features, for each panel:
            for each pixel of the chunk that the tap meets inside of lhs: as in every contraction
    epilogue and store

Sums of chunks, which are short and so exact, add up in scratch. Taps that fall outside of the image skip its pixels:
nothing is padded. A task reads both operands from memory once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlc.ir.dims import Size, bounds
from mlc.ir.kernel import Index, Memory, Value
from mlc.ir.target import Target

from .convolution_columns import Panels
from .convolution_form import Convolution, Window
from .convolution_frame import Frame
from .region import KernelCall
from .tasks import counted
from .tiling import MOST_ROWS, RowBlocks, rows_beside

LEAST_CHUNK = 48  # pixels for which a tile of sums is worth its way from scratch and back
WIDEST = 128  # output features of a task: those of a chunk of pixels stay in the first-level cache
FEWEST_TASKS = 4  # each reads both operands whole
SUMS_SHARE = 4  # the sums of a task take at most 1/4 of the second-level cache
UNROLL = 2


@dataclass(frozen=True, slots=True)
class Tiling:
    """A chunk is ``images`` whole images, or ``lines`` rows of one; a task does ``taps`` of ``panels``."""

    blocks: RowBlocks
    images: int
    lines: int
    taps: int
    panels: int


def tile_taps(c: Convolution, p: Panels, target: Target) -> Tiling:
    rows = bounds(c.batch)[1]
    blocks = RowBlocks.of(rows, min(2 * MOST_ROWS // p.vectors, rows_beside(p.vectors, target.vector_registers)))
    itemsize = c.accumulator.itemsize
    panels = max(min(p.count, WIDEST // p.width), 1)
    chunk = max(target.l1_bytes // (2 * itemsize * panels * p.width), LEAST_CHUNK)
    lines = min(max(round(chunk / c.x.taps), 1), c.y.taps)
    lines = -(-c.y.taps // -(-c.y.taps // lines))
    images = max(chunk // (c.y.taps * c.x.taps), 1) if lines == c.y.taps else 1
    fitting = target.l2_bytes // (SUMS_SHARE * itemsize * p.width * rows)
    panels = max(min(panels, fitting), 1)
    taps = c.y.count * c.x.count
    while panels > 1 and taps * -(-p.count // panels) < FEWEST_TASKS:
        panels = -(-panels // 2)
    together = max(min(fitting // panels, taps * -(-p.count // panels) // FEWEST_TASKS), 1)
    return Tiling(blocks, images, lines, -(-taps // -(-taps // together)), panels)


def taps_kernel(frame: Frame, panels: Panels, target: Target) -> KernelCall:
    """The kernel that computes the whole gradient."""
    return _Writer(frame, panels, tile_taps(frame.c, panels, target)).write()


class _Writer:
    def __init__(self, frame: Frame, panels: Panels, tiling: Tiling) -> None:
        self.frame, self.panels, self.tiling = frame, panels, tiling
        self.builder = b = frame.builder
        self.c = c = frame.c
        self.rows = bounds(c.batch)[1]
        self.lhs, self.rhs = frame.memories[frame.lhs], frame.memories[frame.rhs]
        self.images = frame.sizes.index(c.inputs)
        self.sums: Memory = b.scratch("sums", c.accumulator, (tiling.taps * self.rows, tiling.panels * panels.width))

    def write(self) -> KernelCall:
        b, t, f, p, c = self.builder, self.tiling, self.frame, self.panels, self.c
        count = c.y.count * c.x.count
        tasks: tuple[tuple[Size, int], ...] = (0 if c.node.tensor.size == 0 else count, t.taps), (p.count, t.panels)
        with b.parallel(*f.nest(tasks)) as (it, ip):
            f.elements.prepare(f.nodes)
            taps = it * t.taps, it * t.taps + t.taps if count % t.taps == 0 else b.min(it * t.taps + t.taps, count)
            first = ip * t.panels
            last = first + t.panels if p.count % t.panels == 0 else b.min(first + t.panels, p.count)
            self.clear()
            self.chunks(taps, first, last)
            counted(b, *taps, lambda tap: self.store(tap, taps[0], first, last))
        return f.call(tasks)

    def place(self, tap: Index) -> tuple[Index, Index]:
        """The row and the column of a tap."""
        return self.builder.floordiv(tap, self.c.x.count), self.builder.mod(tap, self.c.x.count)

    def clear(self) -> None:
        b, p, t = self.builder, self.panels, self.tiling
        with b.loop(0, t.taps * self.rows) as row:
            for v in range(t.panels * p.vectors):
                b.store(self.sums, (row.index, v * p.lanes), self.frame.zero(p.lanes))

    def chunks(self, taps: tuple[Index, Index], first: Index, last: Index) -> None:
        """All pixels, a chunk after the other."""
        b, t, c = self.builder, self.tiling, self.c

        def of_tap(tap: Index, images: tuple[Index, Index], lines: Index | None) -> None:
            at = self.place(tap)
            y, x = self.inside(c.y, at[0]), self.inside(c.x, at[1])
            if lines is not None:
                y = b.max(lines, y[0]), b.min(lines + t.lines, y[1])
            self.chunk(at, (tap - taps[0]) * self.rows, first, last, images, y, x)

        with b.loop(0, self.images, t.images) as loop:
            images = loop.index, loop.index + 1 if t.images == 1 else b.min(loop.index + t.images, self.images)
            if t.lines == c.y.taps:
                counted(b, *taps, lambda tap: of_tap(tap, images, None))
                return
            with b.loop(0, c.y.taps, t.lines) as lines:
                counted(b, *taps, lambda tap: of_tap(tap, images, lines.index))

    def inside(self, w: Window, at: Index) -> tuple[Index, Index]:
        """The pixels of rhs that the tap ``at`` meets inside of lhs: from the first to behind the last."""
        b = self.builder
        shift = at * w.stride - w.low
        lower = b.floordiv(w.dilation - 1 - shift, w.dilation)
        upper = b.floordiv(w.size - 1 - shift, w.dilation) + 1
        return b.max(lower, 0), b.min(upper, w.taps)

    def chunk(self, at: tuple[Index, Index], start: Index, first: Index, last: Index, images: tuple[Index, Index],
              y: tuple[Index, Index], x: tuple[Index, Index]) -> None:  # fmt: skip
        """What the pixels of a chunk add to the sums from ``start`` on."""
        b, t = self.builder, self.tiling
        assert t.blocks.count is not None

        def tiles(rows: int, row: Index) -> None:
            self.each_panel(first, last, lambda q, masks: self.tile(
                at, start, rows, row, q, q - first, masks, images, y, x))  # fmt: skip

        t.blocks.each(b, Index.of(self.rows), 0, t.blocks.count, tiles)

    def each_panel(self, first: Index, last: Index, body: Callable[[Index, tuple[Value | None, ...]], None]) -> None:
        """Whole panels, then the narrow one."""
        b, p = self.builder, self.panels
        whole = last if p.whole == p.count else b.min(last, p.whole)
        counted(b, first, whole, lambda q: body(q, (None,) * p.vectors))
        if p.whole != p.count:
            counted(b, b.max(first, p.whole), last, lambda q: body(q, p.tail(b)))

    def tile(self, at: tuple[Index, Index], start: Index, rows: int, row: Index, panel: Index, place: Index,
             masks: tuple[Value | None, ...], images: tuple[Index, Index], y: tuple[Index, Index],
             x: tuple[Index, Index]) -> None:  # fmt: skip
        b, f, p, c = self.builder, self.frame, self.panels, self.c
        places = [(start + row + r, place * p.width + v * p.lanes) for r in range(rows) for v in range(len(masks))]
        totals = [f.zero(p.lanes)] * len(places)
        with b.loop(images[0], images[1], carried=totals) as by_image:
            with b.loop(y[0], y[1], carried=by_image.carried) as by_line:
                line = by_image.index * c.y.size + by_line.index * c.y.dilation + at[0] * c.y.stride - c.y.low
                k = (by_image.index * c.y.taps + by_line.index) * c.x.taps
                with b.loop(x[0], x[1], carried=by_line.carried, unroll=UNROLL) as by_pixel:
                    pixel = line * c.x.size + by_pixel.index * c.x.dilation + at[1] * c.x.stride - c.x.low
                    column = (k + by_pixel.index) * c.outputs + panel * p.width
                    vectors = [b.load(self.rhs, (column + v * p.lanes,), p.lanes, m) for v, m in enumerate(masks)]
                    following: list[Value] = []
                    carried = iter(by_pixel.carried)
                    for r in range(rows):
                        element = b.load(self.lhs, (pixel * self.rows + row + r,))
                        splat = b.splat(element, p.lanes)
                        following += [f.multiply_add(splat, v, next(carried)) for v in vectors]
                    b.yield_(*following)
                b.yield_(*by_pixel.results)
            b.yield_(*by_line.results)
        for s, total in zip(places, by_image.results, strict=True):
            b.store(self.sums, s, b.op("add", b.load(self.sums, s, p.lanes), total))

    def store(self, tap: Index, start: Index, first: Index, last: Index) -> None:
        """The epilogue of one tap."""
        b, f, p = self.builder, self.frame, self.panels
        at, row = self.place(tap), (tap - start) * self.rows

        def columns(panel: Index, masks: tuple[Value | None, ...]) -> None:
            with b.loop(0, self.rows) as loop:
                for v, mask in enumerate(masks):
                    total = b.load(self.sums, (row + loop.index, (panel - first) * p.width + v * p.lanes), p.lanes)
                    place = f.c.result_coordinates(loop.index, *at, panel * p.width + v * p.lanes)
                    f.store(place, total, mask)

        self.each_panel(first, last, columns)
