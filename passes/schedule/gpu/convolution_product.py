"""A convolution as a product that is never written down: pixels by output features by taps and input features.

Rows are the pixels of the result, all images together; a sum runs over taps and features of a group. Both are counted
in the order in which lhs lies in memory, so that neighbours are neighbours there: features last for an image that has
them so, images last for the gradient of a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.dims import Size, size_product
from mlc.ir.graph import Node
from mlc.ir.kernel import Index, Memory, Value
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.access import Access, Guard
from mlc.passes.schedule.convolution_form import Convolution, Window
from mlc.passes.schedule.convolution_frame import Frame
from mlc.passes.schedule.domain import Domain
from mlc.passes.schedule.elements import Point

from .product import Batch, Product, Reader, matrix_type


class ConvolutionProduct(Product):
    """The product that a convolution is; batches are its groups.

    With ``parts``, a number and a length, they are parts of the sums of the only group, which a temporary takes.
    """

    frame: Frame

    def __init__(self, c: Convolution, target: GpuTarget, parts: tuple[int, int] | None = None) -> None:
        self.c, self.parts = c, parts
        self.frame = Frame(c, {}, c.lhs, c.rhs, in_tables=True)
        if parts is not None:
            self.frame = Frame(c.alone(), {}, c.lhs, c.rhs, parts[0], 0, in_tables=True)
        lhs, rhs = c.axes.lhs, c.axes.rhs
        y, x = (None, *lhs.spatial)[-2:]
        self.row_order = _by_memory({lhs.outer: 0, y: 1, x: 2})  # of batch, y, x
        self.depth_order = _by_memory({y: 0, x: 1, lhs.feature: 2})  # of the taps of y and x, feature
        self.pixels = c.batch, c.y.count, c.x.count
        self.products = c.y.taps, c.x.taps, c.inputs
        self.outputs = c.outputs // c.groups
        self.batch = c.groups if parts is None else parts[0]
        self.depth = size_product(self.products)
        self.factor = matrix_type(c.lhs.dtype, c.rhs.dtype, c.accumulator, target)
        last = len(c.lhs.shape) - 1
        along, axis = lhs.outer != last, last if last in (lhs.outer, lhs.feature) else None
        walk = self.walk_of(c.lhs, axis, along, c.inputs if along else 0, target)
        self.left = Reader("rows", size_product(self.pixels), walk)
        along, axis = rhs.outer != last, last if last in (rhs.outer, rhs.feature) else None
        if along and self.depth_order[-1] != 2:  # neighbours along K are taps
            axis = None
        walk = self.walk_of(c.rhs, axis, along, c.inputs if along else self.outputs, target)
        self.right = Reader("columns", self.outputs, walk)

    def read(self, operand: Reader, batch: Batch, free: Index, k: Index, lanes: int) -> Value:
        if operand is self.left:
            point, access = self._element(batch, free, k, lanes)
            found = point.padded(access)
            found = point.widen(found) if lanes > 1 else found
        else:
            found = self._read_rhs(batch, free, k, lanes)
        return self.builder.convert(found, self.factor or self.frame.accumulator)

    def source(self, operand: Reader) -> Node:
        return self.c.lhs if operand is self.left else self.c.rhs

    def address(
        self, operand: Reader, batch: Batch, free: Index, k: Index
    ) -> tuple[Memory, tuple[Index, ...], Value | None]:
        if operand is self.right:
            return self.frame.memories[self.c.rhs], (self._linear(self.c.rhs.shape, self._tap(batch, free, k)),), None
        point, access = self._element(batch, free, k, 1)
        inside = point.holds(access.guards)
        place = self._linear(access.node.shape, [point.place(i) for i in access.coordinates])
        return self.frame.memories[access.node], (place,), inside

    def _linear(self, shape: Sequence[Size], at: Sequence[Index]) -> Index:
        place = Index.of(0)
        for size, i in zip(shape, at, strict=True):
            place = place * self.index(size) + i
        return place

    def _element(self, batch: Batch, row: Index, k: Index, lanes: int) -> tuple[Point, Access]:
        """The element of lhs that a pixel of the result meets at a tap, and the point of its neighbours."""
        c = self.c
        pixel = self._split(row, self.pixels, self.row_order)
        product = self._split(k, self.products, self.depth_order)
        shape: tuple[Size, ...] = (*self.pixels, *self.products, c.groups)
        lane_axis = 5 if self.left.walk.along_depth else 0
        point = self.frame.elements.point(shape, (*pixel, *product, batch[0]), lanes, None, lane_axis)
        image, py, px, ty, tx, feature, group = point.domain.coordinates
        guards: list[Guard] = []
        y = meeting_place(c.y, py, ty, point.domain, guards)
        x = meeting_place(c.x, px, tx, point.domain, guards)
        at = c.lhs_coordinates(image, y, x, group * self.index(c.inputs) + feature)
        return point, Access(c.lhs, at, tuple(guards))

    def _read_rhs(self, batch: Batch, column: Index, k: Index, lanes: int) -> Value:
        node = self.c.rhs
        point = self.frame.elements.point(node.shape, self._tap(batch, column, k), lanes, None, len(node.shape) - 1)
        return point.value(node) if lanes > 1 else point.natural(node)

    def _tap(self, batch: Batch, column: Index, k: Index) -> list[Index]:
        """The coordinates of an element of the kernel."""
        c, axes = self.c, self.c.axes.rhs
        ty, tx, feature = self._split(k, self.products, self.depth_order)
        taps = [w.taps - 1 - t if w.turned else t for w, t in ((c.y, ty), (c.x, tx))]
        places = {axes.outer: batch[0] * self.outputs + column, axes.feature: feature}
        places |= dict(zip(axes.spatial, taps[-len(axes.spatial) :], strict=True))
        return [places[a] for a in range(len(places))]

    def store(self, batch: Batch, row: Index, column: Index, total: Value, mask: Value | None) -> None:
        image, y, x = self._split(row, self.pixels, self.row_order)
        at = self.c.result_coordinates(image, y, x, batch[0] * self.outputs + column)
        self.frame.store(at, total, mask, batch[1])

    def batch_at(self, number: Index) -> Batch:
        """The group, and the part."""
        return (number, Index.of(0)) if self.parts is None else (Index.of(0), number)

    def contracted(self, batch: Batch) -> tuple[Index, Index]:
        if self.parts is None:
            return super().contracted(batch)
        start = batch[1] * self.parts[1]
        return start, self.builder.min(start + self.parts[1], self.index(self.depth))

    @property
    def longest(self) -> int:
        return super().longest if self.parts is None else self.parts[1]

    def is_whole(self, depth: int) -> bool:
        return super().is_whole(depth) and (self.parts is None or self.parts[1] % depth == 0)

    def _split(self, index: Index, sizes: Sequence[Size], order: Sequence[int]) -> list[Index]:
        """The position along each axis of a number that counts them all in this order, the last one fastest."""
        b, found = self.builder, [Index.of(0)] * len(sizes)
        counted = [axis for axis in order if sizes[axis] != 1]
        for axis in reversed(counted[1:]):
            size = self.index(sizes[axis])
            found[axis], index = b.mod(index, size), b.floordiv(index, size)
        if counted:
            found[counted[0]] = index
        return found


def _by_memory(axes: dict[int | None, int]) -> tuple[int, ...]:
    """What the axes of an array stand for, in their order; first what has none."""
    return tuple(axes[a] for a in sorted(axes, key=lambda a: -1 if a is None else a))


def meeting_place(w: Window, position: Index, tap: Index, domain: Domain, guards: list[Guard]) -> Index:
    """The element along an axis of lhs that a result meets at a tap, and what must hold for there to be one."""
    at = position * w.stride + tap * w.dilation - w.low
    if w.spread > 1:
        before = max(-(-w.low // w.spread), 0)  # so that what is divided is not negative
        most = (w.count - 1) * w.stride + (w.taps - 1) * w.dilation - w.low
        whole, rest = domain.divide(at + before * w.spread, w.spread, most // w.spread + before + 1)
        if not domain.is_within(rest, Index.of(1)):
            guards.append(Guard(rest, Index.of(1)))
        at = whole - before
    size = Index.of(w.size)
    if not domain.is_within(at, size):
        guards.append(Guard(at, size))
    return at
