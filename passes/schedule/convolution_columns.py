"""The kernel of a convolution as columns: vectors of neighbouring output features at one tap and input feature."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlc.ir.graph import CONVERT, PAD, PARAMETER, REVERSE, TRANSPOSE, Node, constant, reshape
from mlc.ir.kernel import Index, KernelBuilder, Memory, Value
from mlc.ir.target import Target

from .convolution_form import Convolution

MOST_APART = 512  # bytes from tap to tap above which panels are copied: farther apart, they share few sets of a cache
COPY_SHARE = 2  # the copies of an image and of a panel take at most 1/2 of the second-level cache


@dataclass(frozen=True, slots=True)
class Panels:
    """Output features of one group cut into panels of ``vectors`` of ``lanes``; the last may be narrower.

    ``node`` has them in memory: panel by panel (``packed``; [group, panel, k, width]), or as the kernel lies, which
    where it is ``copied`` the first tile reads that each task computes of a panel; it leaves a copy for the others.
    """

    node: Node
    packed: bool
    copied: bool
    depth: int  # taps times input features of a group
    outputs: int  # features of a group
    groups: int
    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        return self.vectors * self.lanes

    @property
    def whole(self) -> int:
        return self.outputs // self.width

    @property
    def count(self) -> int:
        return -(-self.outputs // self.width)

    def load(self, b: KernelBuilder, memory: Memory, group: Index, panel: Index, k: Index, v: int,
             mask: Value | None) -> Value:  # fmt: skip
        """Vector ``v`` of a panel at ``k``; anything where ``mask`` is off."""
        if self.packed:
            place = ((group * self.count + panel) * self.depth + k) * self.width
            return b.load(memory, (place + v * self.lanes,), self.lanes)
        place = k * (self.outputs * self.groups) + group * self.outputs + panel * self.width
        return b.load(memory, (place + v * self.lanes,), self.lanes, mask)

    def tail(self, b: KernelBuilder) -> tuple[Value | None, ...]:
        """The masks of the last panel of a group: as few vectors as hold it."""
        left = self.outputs % self.width
        masks: list[Value | None] = []
        for v in range(-(-left // self.lanes)):
            inside = (v + 1) * self.lanes <= left
            masks.append(None if inside else b.tail_mask(v * self.lanes, left, self.lanes))
        return tuple(masks)


def cut_panels(c: Convolution, target: Target) -> Panels:
    """Panels of two vectors, of one where the features of a group fit in it."""
    p = direct_panels(c, target)
    if not _lies_in_order(c):
        return replace(p, node=_packed(c, p), packed=True)
    if p.count == 1 or c.outputs * c.accumulator.itemsize <= MOST_APART:
        return p
    if c.groups == 1 and _copy_bytes(c, p) <= target.l2_bytes // COPY_SHARE:
        return replace(p, copied=True)
    return replace(p, node=_packed(c, p), packed=True)


def _copy_bytes(c: Convolution, p: Panels) -> int:
    """A whole image and the copy of a panel."""
    image = c.y.reach(c.y.count) * c.x.reach(c.x.count) * p.depth // (c.y.taps * c.x.taps)
    return (image + p.depth * p.width) * c.accumulator.itemsize


def direct_panels(c: Convolution, target: Target) -> Panels:
    """Panels of the kernel as it lies."""
    groups = 1 if c.by_channel else c.groups
    outputs = c.outputs // groups
    lanes = target.lanes(c.accumulator)
    while lanes > 1 and lanes // 2 >= outputs:
        lanes //= 2
    vectors = min(2, -(-outputs // lanes))
    depth = c.inputs if isinstance(c.inputs, int) else 0
    return Panels(c.rhs, False, False, depth * c.y.taps * c.x.taps, outputs, groups, vectors, lanes)


def _lies_in_order(c: Convolution) -> bool:
    axes = c.axes.rhs
    in_order = (*axes.spatial, axes.feature, axes.outer) == tuple(range(len(c.rhs.shape)))
    turned = (c.y.turned and c.y.taps > 1) or (c.x.turned and c.x.taps > 1)
    return c.rhs.op is PARAMETER and c.rhs.dtype == c.accumulator and in_order and not turned


def _packed(c: Convolution, p: Panels) -> Node:
    """The node whose memory is the panels, zeros behind the last feature of a group."""
    table, axes, node = c.body.table, c.axes.rhs, c.rhs
    with table.active(), table.at(table.locations.get(c.node, ())):
        turned = tuple(a for a, r in zip(axes.spatial, c.node["window_reversal"], strict=True) if r)
        if turned:
            node = REVERSE(node, dimensions=turned)
        node = TRANSPOSE(node, permutation=(*axes.spatial, axes.feature, axes.outer))
        if node.dtype != c.accumulator:
            node = CONVERT(node, dtype=c.accumulator)
        node = reshape(node, (p.depth, p.groups, p.outputs))
        if p.count * p.width != p.outputs:
            more = (0, 0, p.count * p.width - p.outputs)
            node = PAD(node, constant(0, c.accumulator), low=(0, 0, 0), high=more, interior=(0, 0, 0))
        node = reshape(node, (p.depth, p.groups, p.count, p.width))
        return TRANSPOSE(node, permutation=(1, 2, 0, 3))
