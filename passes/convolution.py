"""A convolution of any kind to contractions: one a position in the kernel or, where those are fewer, in the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np

from mlc.errors import UnsupportedError
from mlc.ir.dims import Dim, Size, size_product
from mlc.ir.graph import (
    ADD,
    CONCATENATE,
    CONVERT,
    CONVOLUTION,
    PAD,
    REVERSE,
    SLICE,
    TRANSPOSE,
    Node,
    constant,
    convolution_axes,
    dot_general,
    fill,
    reshape,
)  # fmt: skip
from mlc.ir.types import F32

from .convolution_layout import lay_out
from .rewrite import of
from .schedule.convolution_form import direct_kernel


@of(CONVOLUTION)
def open_convolution(n: Node) -> Node | None:
    """convolution(x, w) -> the sum of dot_general(window of x, w at one position) over positions of the kernel, or the
    concatenation of dot_general(one window of x, w). 16-bit floats are summed in f32.

    What a direct kernel takes stays, or becomes so with its operands and result transposed.
    """
    if n.op is not CONVOLUTION:
        return None
    if n.tensor.size == 0 or any(o.tensor.size == 0 for o in n.operands):
        return fill(0.0, n.tensor)
    if direct_kernel(n) is not None:
        return None
    turned = lay_out(n)
    if turned is not None:
        return turned
    x, w = n.operands
    if n.dtype.is_float and n.dtype.bits == 16:
        wide = CONVOLUTION(CONVERT(x, dtype=F32), CONVERT(w, dtype=F32), **n.attributes)
        return CONVERT(wide, dtype=n.dtype)
    return _Opened(n).result()


@dataclass(frozen=True, slots=True)
class _Grouped:
    """An operand with an axis of groups in front, its outer and feature axis behind, then the spatial ones."""

    node: Node

    def at(self, start: Sequence[int], count: Sequence[Size], stride: Sequence[int]) -> Node:
        """``count`` elements ``stride`` apart from ``start`` on, along the spatial axes."""
        node = self.node
        if all(isinstance(s, int) for s in (*node.shape[3:], *count)):
            limit = [a + (c - 1) * s + 1 for a, c, s in zip(start, count, stride, strict=True)]
            return SLICE(node, start=(0, 0, 0, *start), limit=(*node.shape[:3], *limit), strides=(1, 1, 1, *stride))
        high = []
        for a, c, s, have in zip(start, count, stride, node.shape[3:], strict=True):
            rest = have - c - a
            if s != 1 or isinstance(rest, Dim):
                raise UnsupportedError(
                    "convolution: a symbolic spatial size is compiled for strides and dilations of 1 only",
                    hint="compile for fixed heights and widths; the batch may be symbolic",
                )
            high.append(-rest)
        return _padded(node, [-a for a in start], high, [0] * len(high))


class _Opened:
    """The parts of one convolution, its operands brought into one order of axes."""

    def __init__(self, n: Node) -> None:
        self.n = n
        self.axes = convolution_axes(n["dimension_numbers"])
        self.groups = n["feature_group_count"] * n["batch_group_count"]
        self.x = _Grouped(self._grouped_lhs())
        self.w = _Grouped(self._grouped_kernel())
        self.counts = [n.shape[a] for a in self.axes.result.spatial]
        self.taps = self.w.node.shape[3:]

    def result(self) -> Node:
        """The parts together, in the layout of the convolution."""
        outputs, taps = size_product(self.counts), size_product(self.taps)
        if isinstance(taps, int) and (isinstance(outputs, Dim) or taps <= outputs):
            return self._in_layout(reduce(ADD, self._by_tap()))
        if isinstance(outputs, Dim):
            raise UnsupportedError("convolution: the sizes of kernel and result are both symbolic")
        parts = list(self._by_output())
        joined = CONCATENATE(*parts, dimension=1) if len(parts) > 1 else parts[0]
        groups, _, batch, features = joined.shape
        order = TRANSPOSE(joined, permutation=(0, 2, 1, 3))  # group, batch, positions, features
        return self._in_layout(reshape(order, (groups, batch, *self.counts, features)))

    def _by_tap(self) -> list[Node]:
        """One product a position in the kernel: group, batch, positions of the result, features."""
        rank, strides = len(self.taps), self.n["window_strides"]
        spatial, parts = tuple(range(3, 3 + rank)), []
        for tap in product(*map(range, _known(self.taps))):
            start = [t * d for t, d in zip(tap, self.n["rhs_dilation"], strict=True)]
            window = self.x.at(start, self.counts, strides)
            kernel = reshape(self.w.at(tap, [1] * rank, [1] * rank), self.w.node.shape[:3])
            order = TRANSPOSE(window, permutation=(0, 1, *spatial, 2))
            parts.append(dot_general(order, kernel, (2 + rank,), (2,), (0,), (0,)))
        return parts

    def _by_output(self) -> list[Node]:
        """One product a position of the result: group, 1, batch, features."""
        rank, parts = len(self.taps), []
        contracted = tuple(range(2, 3 + rank))
        for position in product(*map(range, _known(self.counts))):
            start = [p * s for p, s in zip(position, self.n["window_strides"], strict=True)]
            window = self.x.at(start, self.taps, self.n["rhs_dilation"])
            dot = dot_general(window, self.w.node, contracted, contracted, (0,), (0,))
            parts.append(reshape(dot, (dot.shape[0], 1, *dot.shape[1:])))
        return parts

    def _in_layout(self, total: Node) -> Node:
        """Group, batch, positions, features in the layout of the result: groups are part of the features."""
        result, rank = self.axes.result, len(self.counts)
        where = {result.outer: (1,), result.feature: (0, 2 + rank)} | {
            a: (2 + i,) for i, a in enumerate(result.spatial)
        }
        order = tuple(axis for i in range(2 + rank) for axis in where[i])
        return reshape(TRANSPOSE(total, permutation=order), self.n.shape)

    def _grouped_lhs(self) -> Node:
        """Padded and dilated: group, batch, feature, spatial."""
        n, axes, rank = self.n, self.axes.lhs, len(self.axes.lhs.spatial)
        x = TRANSPOSE(n.operands[0], permutation=(axes.outer, axes.feature, *axes.spatial))
        batch, features, *spatial = x.shape
        if n["batch_group_count"] > 1:
            x = reshape(x, (self.groups, batch // self.groups, features, *spatial))
        else:
            x = reshape(x, (batch, self.groups, features // self.groups, *spatial))
            x = TRANSPOSE(x, permutation=(1, 0, *range(2, 3 + rank)))
        low, high = ([pair[side] for pair in n["padding"]] for side in (0, 1))
        return _padded(x, low, high, [d - 1 for d in n["lhs_dilation"]])

    def _grouped_kernel(self) -> Node:
        """Turned round where the window is reversed: group, output feature, input feature, spatial."""
        n, axes = self.n, self.axes.rhs
        w = TRANSPOSE(n.operands[1], permutation=(axes.outer, axes.feature, *axes.spatial))
        flip = tuple(2 + i for i, r in enumerate(n["window_reversal"]) if r)
        w = REVERSE(w, dimensions=flip) if flip else w
        return reshape(w, (self.groups, w.shape[0] // self.groups, *w.shape[1:]))


def _padded(x: Node, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Node:
    """``x`` with its axes from the fourth on padded by zeros."""
    if not any((*low, *high, *interior)):
        return x
    zero = constant(np.zeros((), x.dtype.numpy), x.dtype)
    three = (0, 0, 0)
    return PAD(x, zero, low=(*three, *low), high=(*three, *high), interior=(*three, *interior))


def _known(sizes: Sequence[Size]) -> list[int]:
    return [s for s in sizes if isinstance(s, int)]
