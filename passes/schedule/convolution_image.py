"""The rows of an image that a task reads, spread and padded with zeros in scratch."""

from __future__ import annotations

from mlc.ir.graph import PARAMETER
from mlc.ir.kernel import Index, Memory, Value

from .convolution_form import Convolution
from .convolution_frame import Frame


class Image:
    """``rows`` rows of results are made of ``height`` x ``width`` pixels, whose elements lie side by side.

    A pixel is all that lhs has along its last axis: features, or its batch in the gradient of a kernel; an image is
    one index of the other of these.
    """

    def __init__(self, frame: Frame, c: Convolution, rows: int) -> None:
        axes = c.axes.lhs
        self.frame = frame
        self.c = c
        self.builder = frame.builder
        self.last = max(axes.feature, axes.outer)
        pixel = c.lhs.shape[self.last]
        assert isinstance(pixel, int)
        self.pixel = pixel
        self.height, self.width = c.y.reach(rows), c.x.reach(c.x.count)
        self.lanes = 16 if c.accumulator.itemsize <= 4 else 8
        size = self.height * self.width * self.pixel
        self.size = -(-size // self.lanes) * self.lanes
        self.memory: Memory = self.builder.scratch("image", c.accumulator, (self.size,))

    def clear(self) -> None:
        """Zeros everywhere: what no element falls on stays zero for all images of a task."""
        b, zero = self.builder, self.frame.zero(self.lanes)
        with b.loop(0, self.size, self.lanes, unroll=4) as loop:
            b.store(self.memory, (loop.index,), zero)

    def fill(self, image: Index, start: Index) -> None:
        """Copy the rows of lhs that results from row ``start`` on are made of."""
        b, y, x = self.builder, self.c.y, self.c.x
        shift = start * y.stride - y.low  # the place in spread lhs that is row 0 here
        lower, upper = y.inside
        first = b.max(b.floordiv(shift + y.spread - 1, y.spread), lower)
        last = b.min(b.floordiv(shift + self.height - 1, y.spread) + 1, upper)
        begin, end = x.inside

        def row(line: Index) -> None:
            place = (line * y.spread - shift) * self.width
            if x.spread == 1 and self._is_run:
                self._run(image, line, begin, (place + begin + x.low) * self.pixel, (end - begin) * self.pixel)
                return
            with b.loop(begin, end) as loop:
                at = (place + loop.index * x.spread + x.low) * self.pixel
                self._run(image, line, loop.index, at, self.pixel)

        with b.loop(first, last) as loop:
            row(loop.index)

    @property
    def _is_run(self) -> bool:
        """Whether pixels lie side by side in lhs, too."""
        axes, lhs = self.c.axes.lhs, self.frame.lhs
        return lhs.op is PARAMETER and axes.spatial[-1] == self.last - 1

    def _run(self, image: Index, y: Index, x: Index | int, at: Index, count: int) -> None:
        """``count`` neighbouring elements from pixel (y, x) on."""
        b, c, whole = self.builder, self.c, count // self.lanes * self.lanes

        def copy(k: Index, lanes: int, mask: Value | None) -> None:
            axis = c.axes.lhs.spatial[-1] if self.pixel == 1 else self.last
            ends = (Index.of(x) + k, Index.of(0)) if self.pixel == 1 else (Index.of(x), k)
            features = (image, ends[1]) if c.axes.lhs.feature == self.last else (ends[1], image)
            coordinates = c.lhs_coordinates(features[0], y, ends[0], features[1])
            point = self.frame.elements.point(self.frame.lhs.shape, coordinates, lanes, mask, axis)
            value = b.convert(point.value(self.frame.lhs), c.accumulator)
            b.store(self.memory, (at + k,), value, mask)

        if count == 1:
            copy(Index.of(0), 1, None)
            return
        if whole:
            with b.loop(0, whole, self.lanes, unroll=2) as loop:
                copy(loop.index, self.lanes, None)
        if count > whole:
            copy(Index.of(whole), self.lanes, b.tail_mask(0, count - whole, self.lanes))
