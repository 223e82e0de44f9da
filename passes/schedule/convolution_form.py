"""The one convolution of a body as windows over images: what a direct kernel walks, and which kernel may take it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mlc.errors import InternalError
from mlc.ir.dims import Size, size_product
from mlc.ir.graph import CONVOLUTION, Graph, Node
from mlc.ir.graph.convolution import ConvolutionAxes, convolution_axes
from mlc.ir.kernel import Index, IndexLike
from mlc.ir.types import F32, DType

from .domain import Coordinates

Kernel = Literal["pixels", "taps", "thin"]
THIN = 8  # elements of a pixel below which they are too few for the rows of a register tile
MOST_THIN = 256  # taps times elements of a pixel, that are all written out


@dataclass(frozen=True, slots=True)
class Window:
    """One spatial axis. Result position s and tap t meet the element of lhs at (s * stride + t * dilation - low) /
    spread, where that is one of its ``size`` elements; elsewhere they meet a zero."""

    size: int
    taps: int
    count: int
    stride: int = 1
    dilation: int = 1
    low: int = 0
    spread: int = 1
    turned: bool = False  # the kernel's last tap comes first

    def reach(self, count: int) -> int:
        """Elements of spread and padded lhs that ``count`` neighbouring results are made of."""
        return (count - 1) * self.stride + (self.taps - 1) * self.dilation + 1

    @property
    def inside(self) -> tuple[int, int]:
        """The elements of lhs that any result is made of: from the first to behind the last."""
        first = max(-(self.low // self.spread), 0)
        return first, max(min(self.size, (self.reach(self.count) - 1 - self.low) // self.spread + 1), first)

    @property
    def is_covered(self) -> bool:
        """Whether every place that ``reach`` counts is an element of lhs."""
        return self.spread == 1 and self.low <= 0 and self.reach(self.count) - 1 - self.low < self.size


@dataclass(frozen=True, slots=True)
class Convolution:
    """result[b, y, x, f] = sum over ty, tx, c of lhs[b, y.., x.., c] * rhs[ty, tx, c, f], then an epilogue.

    ``inputs`` are the features c of one group, ``outputs`` all f. Convolutions of one spatial axis have a ``y`` of one
    element.
    """

    body: Graph
    node: Node
    axes: ConvolutionAxes
    batch: Size
    inputs: Size
    outputs: int
    groups: int
    y: Window
    x: Window

    @property
    def kernel(self) -> Kernel:
        found = direct_kernel(self.node)
        assert found is not None
        return found

    @property
    def by_channel(self) -> bool:
        """Whether each feature of the result is made of the one of lhs that has its place."""
        return self.groups > 1 and self.inputs == 1 and self.outputs == self.groups

    @property
    def lhs(self) -> Node:
        return self.node.operands[0]

    @property
    def rhs(self) -> Node:
        return self.node.operands[1]

    @property
    def accumulator(self) -> DType:
        """f16 and bf16 are summed in f32; integers wrap in their own type."""
        dtype = self.node.dtype
        return F32 if dtype.is_float and dtype.bits < 32 else dtype

    def alone(self) -> Convolution:
        """This convolution without its epilogue."""
        body = Graph(self.body.name, self.body.parameters, (self.node,), self.body.table)
        return replace(self, body=body)

    def lhs_coordinates(self, batch: IndexLike, y: IndexLike, x: IndexLike, feature: IndexLike) -> Coordinates:
        axes = self.axes.lhs
        return _placed(axes.outer, axes.spatial, axes.feature, batch, y, x, feature)

    def result_coordinates(self, batch: IndexLike, y: IndexLike, x: IndexLike, feature: IndexLike) -> Coordinates:
        axes = self.axes.result
        return _placed(axes.outer, axes.spatial, axes.feature, batch, y, x, feature)


def _placed(
    outer: int, spatial: tuple[int, ...], feature: int, b: IndexLike, y: IndexLike, x: IndexLike, f: IndexLike
) -> Coordinates:
    found = {outer: b, feature: f} | dict(zip(reversed(spatial), (x, y), strict=False))
    return tuple(Index.of(found[axis]) for axis in range(len(found)))


def convolution_form(body: Graph) -> Convolution:
    """Raises InternalError for a body that is not one convolution that a direct kernel takes."""
    found = [n for n in body.nodes if n.op is CONVOLUTION]
    if len(found) != 1 or direct_kernel(found[0]) is None:
        raise InternalError(f"convolution {body.name}: {len(found)} convolutions, or one that no direct kernel takes")
    node = found[0]
    axes = convolution_axes(node["dimension_numbers"])
    lhs, rhs = node.operands
    windows = [_window(node, axes, i) for i in range(len(axes.lhs.spatial))]
    y, x = windows if len(windows) == 2 else (Window(1, 1, 1), *windows)
    outputs = rhs.shape[axes.rhs.outer]
    assert isinstance(outputs, int)
    batch, inputs = lhs.shape[axes.lhs.outer], rhs.shape[axes.rhs.feature]
    return Convolution(body, node, axes, batch, inputs, outputs, node["feature_group_count"], y, x)


def _window(node: Node, axes: ConvolutionAxes, i: int) -> Window:
    size, taps = node.operands[0].shape[axes.lhs.spatial[i]], node.operands[1].shape[axes.rhs.spatial[i]]
    count = node.shape[axes.result.spatial[i]]
    assert isinstance(size, int) and isinstance(taps, int) and isinstance(count, int)
    return Window(
        size, taps, count, node["window_strides"][i], node["rhs_dilation"][i], node["padding"][i][0],
        node["lhs_dilation"][i], node["window_reversal"][i])  # fmt: skip


def direct_kernel(node: Node) -> Kernel | None:
    """The kernel that takes a convolution as it is: over pixels where the features of lhs lie side by side, over taps
    (the gradient of a kernel) where its batch does, written out where that is thin; None where its layout, groups or
    sizes suit neither.
    """
    axes = convolution_axes(node["dimension_numbers"])
    lhs, rhs = node.operands
    last = len(node.shape) - 1
    spatial = [lhs.shape[a] for a in axes.lhs.spatial] + [node.shape[a] for a in axes.result.spatial]
    spatial += [rhs.shape[a] for a in axes.rhs.spatial]
    if not 1 <= len(axes.lhs.spatial) <= 2 or axes.result.feature != last or node["batch_group_count"] != 1:
        return None
    if not all(isinstance(n, int) and n > 0 for n in (*spatial, rhs.shape[axes.rhs.outer])):
        return None
    if axes.lhs.feature == last and isinstance(rhs.shape[axes.rhs.feature], int) and rhs.shape[axes.rhs.feature] != 0:
        return "pixels"
    lhs_order = (axes.lhs.feature, *axes.lhs.spatial, axes.lhs.outer)
    rhs_order = (axes.rhs.feature, *axes.rhs.spatial, axes.rhs.outer)
    plain = node["feature_group_count"] == 1 and not any(node["window_reversal"])
    if plain and lhs_order == rhs_order == tuple(range(last + 1)) and isinstance(lhs.shape[last], int):
        pixel = lhs.shape[last]
        assert isinstance(pixel, int)
        if pixel < THIN and size_product(node.shape[:last]) <= MOST_THIN and pixel:
            return "thin"
        return "taps" if max(node["lhs_dilation"]) == 1 and pixel else None
    return None
