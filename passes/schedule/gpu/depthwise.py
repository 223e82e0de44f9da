"""Convolutions of each feature by itself on a GPU: a thread has neighbouring features of a pixel of the result."""

from __future__ import annotations

from mlc.ir.dims import Size, size_product
from mlc.ir.kernel import Index, Value
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.access import Access, Guard
from mlc.passes.schedule.convolution_form import Convolution
from mlc.passes.schedule.convolution_frame import Frame
from mlc.passes.schedule.region import KernelCall
from mlc.passes.schedule.tasks import counted

from .convolution_product import meeting_place
from .product import even_lanes

THREADS = 128
MOST_UNROLLED = 32  # taps that are written out


def depthwise_kernel(c: Convolution, target: GpuTarget) -> KernelCall:
    """The kernel of a convolution that has as many groups as features, and its epilogue."""
    return _Writer(c, target).write()


class _Writer:
    def __init__(self, c: Convolution, target: GpuTarget) -> None:
        self.c, self.frame = c, Frame(c, {}, c.lhs, c.rhs, in_tables=True)
        self.builder = self.frame.builder
        sizes = self.frame.sizes
        self.lanes = min(
            even_lanes(c.lhs, c.axes.lhs.feature, sizes, target), even_lanes(c.rhs, c.axes.rhs.outer, sizes, target)
        )

    def write(self) -> KernelCall:
        b, c, f = self.builder, self.c, self.frame
        total = size_product((c.batch, c.y.count, c.x.count, c.outputs // self.lanes))
        tasks: tuple[tuple[Size, int], ...] = (total, THREADS), (THREADS, 1)
        with b.parallel(*f.nest(tasks), threads=1) as (block, thread):
            f.elements.prepare(f.nodes)
            number = block * THREADS + thread
            exact = isinstance(total, int) and total % THREADS == 0
            inside = Index.of(1) if exact else b.min(b.max(f.sizes.index(total) - number, 0), 1)
            counted(b, Index.of(0), inside, lambda _: self.vector(number))
        return f.call(tasks)

    def vector(self, number: Index) -> None:
        """The features of one pixel of this number: features vary fastest, then x, y, images."""
        b, c = self.builder, self.c
        feature = b.mod(number, c.outputs // self.lanes) * self.lanes
        pixel = b.floordiv(number, c.outputs // self.lanes)
        line = b.floordiv(pixel, c.x.count)
        image, y, x = b.floordiv(line, c.y.count), b.mod(line, c.y.count), b.mod(pixel, c.x.count)
        unroll = "full" if c.y.taps * c.x.taps <= MOST_UNROLLED else 1
        with b.loop(0, c.y.taps, carried=[self.frame.zero(self.lanes)], unroll=unroll) as by_line:
            with b.loop(0, c.x.taps, carried=by_line.carried, unroll=unroll) as by_tap:
                left = self.pixel((image, y, x, by_line.index, by_tap.index, feature))
                right = self.tap(by_line.index, by_tap.index, feature)
                b.yield_(self.frame.multiply_add(left, right, by_tap.carried[0]))
            b.yield_(*by_tap.results)
        self.frame.store(c.result_coordinates(image, y, x, feature), by_line.results[0], None)

    def pixel(self, at: tuple[Index, ...]) -> Value:
        """What (image, y, x, tap of y, tap of x, feature) meets in lhs."""
        c = self.c
        shape = c.batch, c.y.count, c.x.count, c.y.taps, c.x.taps, c.outputs
        point = self.frame.elements.point(shape, at, self.lanes, None, 5)
        image, y, x, ty, tx, feature = point.domain.coordinates
        guards: list[Guard] = []
        place = [meeting_place(w, p, t, point.domain, guards) for w, p, t in ((c.y, y, ty), (c.x, x, tx))]
        access = Access(c.lhs, c.lhs_coordinates(image, place[0], place[1], feature), tuple(guards))
        return self.builder.convert(point.widen(point.padded(access)), c.accumulator)

    def tap(self, ty: Index, tx: Index, feature: Index) -> Value:
        c, axes = self.c, self.c.axes.rhs
        taps = [w.taps - 1 - t if w.turned else t for w, t in ((c.y, ty), (c.x, tx))]
        places = {axes.outer: feature, axes.feature: Index.of(0)}
        places |= dict(zip(axes.spatial, taps[-len(axes.spatial) :], strict=True))
        at = [places[a] for a in range(len(places))]
        point = self.frame.elements.point(c.rhs.shape, at, self.lanes, None, axes.outer)
        return self.builder.convert(point.value(c.rhs), c.accumulator)
