"""A convolution as a product that is never written down: pixels by output features by taps and input features.

Rows are the pixels of the result, all images together; a sum runs over taps and features of a group. Both are counted
in the order in which lhs lies in memory, so that neighbours are neighbours there: features last for an image that has
them so, images last for the gradient of a kernel. Where lhs is spread (the gradient of a stride), every ``spread``-th
result meets the same taps: these are a product of their own, of as many taps as there are, and none with its zeros.
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
from mlc.passes.schedule.tasks import counted

from .product import Batch, Product, Reader, matrix_type


class ConvolutionProduct(Product):
    """The product that a convolution is; batches are its groups, and the ``phases`` of the results along y and x.

    With ``parts``, a number and a length, they are parts of the sums of the only group, which a temporary takes.
    """

    frame: Frame

    def __init__(self, c: Convolution, target: GpuTarget, parts: tuple[int, int] | None = None) -> None:
        self.c, self.parts = c, parts
        if parts is None:
            self.frame = Frame(c, {}, c.lhs, c.rhs, in_tables=True)
        else:
            self.frame = Frame(c.alone(), {}, c.lhs, c.rhs, parts[0], 0, in_tables=True)
        lhs, rhs = c.axes.lhs, c.axes.rhs
        y, x = (None, *lhs.spatial)[-2:]
        self.row_order = _by_memory({lhs.outer: 0, y: 1, x: 2})  # of batch, y, x
        self.depth_order = _by_memory({y: 0, x: 1, lhs.feature: 2})  # of the taps of y and x, feature
        self.phases = py, px = phases_of(c.y), phases_of(c.x)
        self.pixels = c.batch, -(-c.y.count // py), -(-c.x.count // px)
        self.products = -(-c.y.taps // py), -(-c.x.taps // px), c.inputs
        self.outputs = c.outputs // c.groups
        self.batch = (c.groups if parts is None else parts[0]) * py * px
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
            at, inside = self._tap(batch, free, k)
            return self.frame.memories[self.c.rhs], (self.frame.sizes.linear(self.c.rhs.shape, at),), inside
        point, access = self._element(batch, free, k, 1)
        inside = point.holds(access.guards)
        place = self.frame.sizes.linear(access.node.shape, [point.place(i) for i in access.coordinates])
        return self.frame.memories[access.node], (place,), inside

    def _element(self, batch: Batch, row: Index, k: Index, lanes: int) -> tuple[Point, Access]:
        """The element of lhs that a pixel of the result meets at a tap, and the point of its neighbours."""
        c = self.c
        pixel = self._split(row, self.pixels, self.row_order)
        product = self._split(k, self.products, self.depth_order)
        group, _, *phase = batch
        shape: tuple[Size, ...] = (*self.pixels, *self.products, c.groups, *self.phases)
        lane_axis = 5 if self.left.walk.along_depth else 0
        point = self.frame.elements.point(shape, (*pixel, *product, group, *phase), lanes, None, lane_axis)
        image, sy, sx, ty, tx, feature, group, py, px = point.domain.coordinates
        guards: list[Guard] = []
        y = meeting_place(c.y, sy, ty, point.domain, guards, None if self.phases[0] == 1 else py)
        x = meeting_place(c.x, sx, tx, point.domain, guards, None if self.phases[1] == 1 else px)
        at = c.lhs_coordinates(image, y, x, group * self.index(c.inputs) + feature)
        return point, Access(c.lhs, at, tuple(guards))

    def _read_rhs(self, batch: Batch, column: Index, k: Index, lanes: int) -> Value:
        node, b, (at, inside) = self.c.rhs, self.builder, self._tap(batch, column, k)
        point = self.frame.elements.point(node.shape, at, lanes, None, len(node.shape) - 1)
        value = point.value(node) if lanes > 1 else point.natural(node)
        if inside is None:
            return value
        return b.select(point.widen(inside), point.widen(value), b.constant(0, value.dtype, lanes))

    def _tap(self, batch: Batch, column: Index, k: Index) -> tuple[list[Index], Value | None]:
        """The coordinates of an element of the kernel, and the condition on which there is one."""
        c, b, axes = self.c, self.builder, self.c.axes.rhs
        *taps, feature = self._split(k, self.products, self.depth_order)
        inside: Value | None = None
        for i, (w, phases, phase) in enumerate(zip((c.y, c.x), self.phases, batch[2:], strict=True)):
            if phases > 1:
                tap = b.mod(w.low - phase, phases) + taps[i] * phases
                taps[i] = tap if w.taps % phases == 0 else b.min(tap, w.taps - 1)
                if w.taps % phases:
                    on = b.tail_mask(tap, w.taps, 1)
                    inside = on if inside is None else b.op("and", inside, on)
            if w.turned:
                taps[i] = w.taps - 1 - taps[i]
        places = {axes.outer: batch[0] * self.outputs + column, axes.feature: feature}
        places |= dict(zip(axes.spatial, taps[-len(axes.spatial) :], strict=True))
        return [places[a] for a in range(len(places))], inside

    def store(self, batch: Batch, row: Index, column: Index, total: Value, mask: Value | None) -> None:
        b, c = self.builder, self.c
        image, *position = self._split(row, self.pixels, self.row_order)
        left = Index.of(1)  # positive where the phase has such a pixel
        for i, (w, phases, phase) in enumerate(zip((c.y, c.x), self.phases, batch[2:], strict=True)):
            position[i] = position[i] * phases + phase
            if w.count % phases:
                left = b.min(left, w.count - position[i])
        at = c.result_coordinates(image, position[0], position[1], batch[0] * self.outputs + column)
        counted(b, Index.of(0), b.max(left, 0), lambda _: self.frame.store(at, total, mask, batch[1]))

    def batch_at(self, number: Index) -> Batch:
        """The group, the part, and the phases of y and x."""
        b, zero = self.builder, Index.of(0)
        y, x = self.phases
        phase = b.mod(b.floordiv(number, x), y), b.mod(number, x)
        number = b.floordiv(number, x * y)
        return (number, zero, *phase) if self.parts is None else (zero, number, *phase)

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


def phases_of(w: Window) -> int:
    """How many kinds of results there are along an axis of a spread lhs, by the taps that they meet."""
    return w.spread if w.stride == w.dilation == 1 else 1


def meeting_place(
    w: Window, position: Index, tap: Index, domain: Domain, guards: list[Guard], phase: Index | None = None
) -> Index:
    """The element along an axis of lhs that a result meets at a tap, and what must hold for there to be one.

    Of a ``phase`` of a spread lhs, results and those taps that meet an element of it are counted by themselves.
    """
    at = position * w.stride + tap * w.dilation - w.low
    if phase is not None:
        s, before = w.spread, max(-(-(w.spread - 1 - w.low) // w.spread), 0)
        most = w.low + before * s  # so that what is divided is not negative
        whole, first = domain.divide(most - phase, s, most // s + 1)
        in_kernel = Guard(first + tap * s, Index.of(w.taps))
        if not domain.is_within(in_kernel.index, in_kernel.extent):
            guards.append(in_kernel)
        at = position + tap - whole + before
    elif w.spread > 1:
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
