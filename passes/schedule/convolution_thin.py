"""Gradients of kernels over pixels of few elements: all taps are rows of register tiles, and images are padded.

for each task of images and panels:
    for each image: copy it to scratch, zeros around it
        for each tile of up to 14 rows (tap, feature): for each pixel: as in every contraction; sums add up in scratch
    store the sums: the results, or parts of them that a second kernel adds in order
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product

from mlc.ir.dims import Size, bounds
from mlc.ir.kernel import Index, Memory, Value
from mlc.ir.target import Target

from .convolution_columns import Panels
from .convolution_form import Convolution
from .convolution_frame import Frame
from .convolution_image import Image
from .region import KernelCall
from .tasks import counted
from .tiling import MOST_ROWS, RowBlocks, rows_beside

MOST_PARTS = 16
PART_WORK = 2_000_000  # flops of one part


def count_parts(c: Convolution) -> int:
    """Parts that the images are cut into: by shape alone."""
    if c.node.dtype != c.accumulator:
        return 1
    flops = 2 * bounds(c.node.tensor.size)[1] * c.y.taps * c.x.taps
    images = bounds(c.inputs)[1]
    return max(min(MOST_PARTS, images, flops * images // PART_WORK), 1)


def thin_kernel(frame: Frame, panels: Panels, parts: int, target: Target) -> KernelCall:
    """The kernel that computes ``parts`` of the sums, or the results where ``parts`` is 1."""
    return _Writer(frame, panels, parts, target).write()


class _Writer:
    def __init__(self, frame: Frame, panels: Panels, parts: int, target: Target) -> None:
        self.frame, self.panels, self.parts = frame, panels, parts
        self.builder = b = frame.builder
        self.c = c = frame.c
        self.image = Image(frame, c, c.y.count)
        self.features = self.image.pixel
        self.rows = c.y.count * c.x.count * self.features
        self.rhs = frame.memories[frame.rhs]
        self.images = frame.sizes.index(c.inputs)
        self.most = min(MOST_ROWS, rows_beside(panels.vectors, target.vector_registers))
        self.sums: Memory = b.scratch("sums", c.accumulator, (self.rows, panels.width))

    def write(self) -> KernelCall:
        b, f, p = self.builder, self.frame, self.panels
        tasks: tuple[tuple[Size, int], ...] = (self.parts, 1), (p.count, 1)
        with b.parallel(*f.nest(tasks)) as (part, panel):
            f.elements.prepare(f.nodes)
            self.image.clear()
            first, last = (b.floordiv(self.images * i, self.parts) for i in (part, part + 1))
            whole = Index.of(min(p.whole, 1)) if p.count == 1 else b.min(p.whole - panel, 1)
            counted(b, Index.of(0), whole, lambda _: self.columns(part, panel, (None,) * p.vectors, first, last))
            if p.whole != p.count:
                counted(b, b.max(whole, 0), Index.of(1), lambda _: self.columns(part, panel, p.tail(b), first, last))
        return f.call(tasks)

    def columns(self, part: Index, panel: Index, masks: tuple[Value | None, ...], first: Index, last: Index) -> None:
        """All images of a part at one panel."""
        b, p = self.builder, self.panels
        with b.loop(0, self.rows) as row:
            for v in range(len(masks)):
                b.store(self.sums, (row.index, v * p.lanes), self.frame.zero(p.lanes))
        with b.loop(first, last) as image:
            self.image.fill(image.index, Index.of(0))
            for start, stop in self.tiles():
                self.tile(start, stop, image.index, panel, masks)
        self.store(part, panel, masks)

    def tiles(self) -> list[tuple[int, int]]:
        blocks = RowBlocks.of(self.rows, self.most)
        assert blocks.count is not None
        ends = [0]
        for k in range(blocks.count):
            ends.append(ends[-1] + blocks.largest - (k >= blocks.large))
        return list(pairwise(ends))

    def tile(self, start: int, stop: int, image: Index, panel: Index, masks: tuple[Value | None, ...]) -> None:
        """Rows ``start`` to ``stop`` of the sums take the products of all pixels of an image."""
        b, f, p, c = self.builder, self.frame, self.panels, self.c
        width, features = self.image.width, self.features
        shape = (c.y.count, c.x.count, features)
        rows = list(product(*map(range, shape)))[start:stop]
        places = [(s * c.y.stride * width + t * c.x.stride) * features + r for s, t, r in rows]
        totals = [f.zero(p.lanes)] * (len(rows) * len(masks))
        with b.loop(0, c.y.taps, carried=totals) as by_line:
            line = by_line.index * (c.y.dilation * width * features)
            k = (image * c.y.taps + by_line.index) * c.x.taps
            with b.loop(0, c.x.taps, carried=by_line.carried, unroll=2) as by_pixel:
                pixel = line + by_pixel.index * (c.x.dilation * features)
                column = (k + by_pixel.index) * c.outputs + panel * p.width
                vectors = [b.load(self.rhs, (column + v * p.lanes,), p.lanes, m) for v, m in enumerate(masks)]
                following: list[Value] = []
                carried = iter(by_pixel.carried)
                for place in places:
                    splat = b.splat(b.load(self.image.memory, (pixel + place,)), p.lanes)
                    following += [f.multiply_add(splat, x, next(carried)) for x in vectors]
                b.yield_(*following)
            b.yield_(*by_pixel.results)
        at = [(r, v) for r in range(start, stop) for v in range(len(masks))]
        for (r, v), total in zip(at, by_line.results, strict=True):
            before = b.load(self.sums, (r, v * p.lanes), p.lanes)
            b.store(self.sums, (r, v * p.lanes), b.op("add", before, total))

    def store(self, part: Index, panel: Index, masks: tuple[Value | None, ...]) -> None:
        """The epilogue, which is none where parts are stored."""
        b, f, p, c = self.builder, self.frame, self.panels, self.c

        def pixel(y: Index, x: Index, r: Index) -> None:
            row = (y * c.x.count + x) * self.features + r
            for v, mask in enumerate(masks):
                total = b.load(self.sums, (row, v * p.lanes), p.lanes)
                place = c.result_coordinates(r, y, x, panel * p.width + v * p.lanes)
                f.store(place, total, mask, part)

        def each(extent: int, body: Callable[[Index], None]) -> None:
            counted(b, Index.of(0), Index.of(extent), body)

        each(c.y.count, lambda y: each(c.x.count, lambda x: each(self.features, lambda r: pixel(y, x, r))))
