"""convolution: sums of products of a kernel with the windows of an array, of any layout, with groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from ..dims import Dim, Size, size_product
from ..types import TensorType, ValueType
from .node import Node
from .op import Array, Op, declare, dtype_cast
from .shape import REVERSE, TRANSPOSE, fill, reshape
from .typing import require_kind, tensor
from .window import Pairs, count_windows, dilated, padded_size, require_window, spread, windows_at


@dataclass(frozen=True, slots=True)
class Axes:
    """Where one array of a convolution has its axes: ``outer`` is the batch of lhs and result and the output feature of
    the kernel, ``feature`` the feature of lhs and result and the input feature of the kernel."""

    outer: int
    feature: int
    spatial: tuple[int, ...]

    def exchanged(self) -> Axes:
        return Axes(self.feature, self.outer, self.spatial)

    def labels(self, outer: str, feature: str) -> str:
        names = {self.outer: outer, self.feature: feature} | {a: str(i) for i, a in enumerate(self.spatial)}
        return "".join(names[i] for i in range(len(names)))


@dataclass(frozen=True, slots=True)
class ConvolutionAxes:
    """The axes of both operands and the result."""

    lhs: Axes
    rhs: Axes
    result: Axes

    def __str__(self) -> str:
        """XLA's labels: `b01f_01io->b01f` is NHWC with a kernel HWIO."""
        return f"{self.lhs.labels('b', 'f')}_{self.rhs.labels('o', 'i')}->{self.result.labels('b', 'f')}"


@lru_cache(maxsize=256)
def convolution_axes(labels: str) -> ConvolutionAxes:
    """The axes that labels such as `b01f_01io->b01f` name. Raises ShapeError for labels that are none."""
    operands, arrow, result = labels.partition("->")
    lhs, line, rhs = operands.partition("_")
    spatial = "0123456789"[: max(len(lhs) - 2, 0)]
    wanted = (("b", "f", lhs), ("o", "i", rhs), ("b", "f", result))
    if not (arrow and line) or any(sorted(word) != sorted((a, b, *spatial)) for a, b, word in wanted):
        raise ShapeError(f"convolution: {labels!r} does not name the axes of lhs, kernel and result",
                         hint="b01f_01io->b01f is NHWC with HWIO, bf01_oi01->bf01 is NCHW with OIHW")  # fmt: skip
    return ConvolutionAxes(*(Axes(w.index(a), w.index(b), tuple(w.index(s) for s in spatial)) for a, b, w in wanted))


def _infer(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    lhs, rhs = tensor("convolution", operands[0], "lhs"), tensor("convolution", operands[1], "kernel")
    if lhs.dtype != rhs.dtype:
        raise DTypeError(f"convolution: element types differ: lhs is {lhs}, the kernel is {rhs}",
                         hint=f"convert one of them, for example with .astype({lhs.dtype.name!r})")  # fmt: skip
    require_kind("convolution", lhs, ("float", "int", "uint"))
    axes = convolution_axes(attributes["dimension_numbers"])
    rank = len(axes.lhs.spatial)
    for operand, what in ((lhs, "lhs"), (rhs, "the kernel")):
        if operand.rank != rank + 2:
            raise ShapeError(f"convolution: {what} is {operand}; {axes} names {rank + 2} axes")
    require_window("convolution", rank, attributes, ("window_strides", "lhs_dilation", "rhs_dilation"))
    if len(attributes["window_reversal"]) != rank:
        raise ShapeError(f"convolution: window_reversal has {len(attributes['window_reversal'])} values, not {rank}")
    _check_features(lhs, rhs, axes, attributes)
    shape: list[Size] = [0] * lhs.rank
    shape[axes.result.outer] = _quotient(lhs.shape[axes.lhs.outer], attributes["batch_group_count"]) or 0
    shape[axes.result.feature] = rhs.shape[axes.rhs.outer]
    for i in range(rank):
        axis = axes.lhs.spatial[i]
        padded = padded_size("convolution", lhs, axis, attributes["lhs_dilation"][i], attributes["padding"][i])
        window = dilated(rhs.shape[axes.rhs.spatial[i]], attributes["rhs_dilation"][i])
        stride = attributes["window_strides"][i]
        shape[axes.result.spatial[i]] = count_windows("convolution", axis, padded, window, stride)
    return lhs.with_shape(tuple(shape))


def _check_features(lhs: TensorType, rhs: TensorType, axes: ConvolutionAxes, attributes: dict[str, Any]) -> None:
    groups, batches = attributes["feature_group_count"], attributes["batch_group_count"]
    if groups < 1 or batches < 1 or (groups > 1 and batches > 1):
        raise ShapeError(f"convolution: feature_group_count {groups} and batch_group_count {batches} must be positive, "
                         "and one of them 1")  # fmt: skip
    given, taken = lhs.shape[axes.lhs.feature], rhs.shape[axes.rhs.feature]
    if given != taken * groups:
        words = f" in each of {groups} groups" if groups > 1 else ""
        raise ShapeError(
            f"convolution: features differ: lhs is {lhs}, the kernel is {rhs} ({axes});\n"
            f"lhs axis {axes.lhs.feature} has {given}, kernel axis {axes.rhs.feature} takes {taken}{words}"
        )
    if _quotient(rhs.shape[axes.rhs.outer], groups * batches) is None:
        raise ShapeError(f"convolution: the output features of the kernel {rhs} (axis {axes.rhs.outer}) do not divide "
                         f"into {groups * batches} groups")  # fmt: skip
    if _quotient(lhs.shape[axes.lhs.outer], batches) is None:
        raise ShapeError(f"convolution: the batch of lhs {lhs} (axis {axes.lhs.outer}) does not divide into {batches} "
                         "groups")  # fmt: skip


def _quotient(n: Size, by: int) -> Size | None:
    """``n / by`` where that leaves no remainder."""
    if isinstance(n, Dim):
        return n.divided_by(by)
    return n // by if n % by == 0 else None


def _evaluate(node: Node, shape: tuple[int, ...], x: Array, w: Array) -> Array:
    """One product of matrices a group and window position; floats are summed in f64 and rounded once, integers wrap."""
    axes = convolution_axes(node["dimension_numbers"])
    groups, batches = node["feature_group_count"], node["batch_group_count"]
    kind = np.float64 if node.dtype.is_float else x.dtype
    x = spread(x.astype(kind), axes.lhs.spatial, node["lhs_dilation"], node["padding"], 0)
    x = np.transpose(x, (axes.lhs.outer, *axes.lhs.spatial, axes.lhs.feature))
    w = np.transpose(w.astype(kind), (*axes.rhs.spatial, axes.rhs.feature, axes.rhs.outer))
    flip = tuple(i for i, reverse in enumerate(node["window_reversal"]) if reverse)
    w = np.flip(w, flip) if flip else w
    rank, count = len(axes.lhs.spatial), groups * batches
    if batches > 1:  # group, batch, spatial, features
        x = x.reshape(batches, x.shape[0] // batches, *x.shape[1:])
    else:
        x = np.moveaxis(x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups), -2, 0)
    w = np.moveaxis(w.reshape(*w.shape[:-1], count, w.shape[-1] // count), -2, 0)  # group, spatial, input, output
    counts = [shape[a] for a in axes.result.spatial]
    total = np.zeros((count, x.shape[1], *counts, w.shape[-1]), kind)
    with np.errstate(all="ignore"):
        for tap in product(*(range(n) for n in w.shape[1 : 1 + rank])):
            starts = [t * d for t, d in zip(tap, node["rhs_dilation"], strict=True)]
            part = x[(slice(None), slice(None), *windows_at(starts, counts, node["window_strides"]))]
            taps = w[(slice(None), *(slice(t, t + 1) for t in tap))]  # group, 1 an axis, input, output
            total += np.matmul(part, taps)
        total = np.moveaxis(total, 0, -2).reshape(*total.shape[1:-1], count * w.shape[-1])
        where = (axes.result.outer, *axes.result.spatial, axes.result.feature)
        return dtype_cast(np.transpose(total, np.argsort(where)), node)


# ---------------------------------------------------------------- derivatives


def _transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    """Both gradients are convolutions again: of the cotangent with the turned kernel, of lhs with the cotangent."""
    lhs, rhs = node.operands
    empty = any(n == 0 for x in (lhs, rhs, ct) for n in x.shape)
    if linear[0]:
        return (fill(0.0, lhs.tensor) if empty else _gradient_of_lhs(ct, node), None)
    return (None, fill(0.0, rhs.tensor) if empty else _gradient_of_kernel(ct, node))


def _gradient_of_lhs(ct: Node, node: Node) -> Node:
    rhs = node.operands[1]
    a, axes = node.attributes, convolution_axes(node["dimension_numbers"])
    groups = a["feature_group_count"] * a["batch_group_count"]
    if groups > 1:  # the kernel takes outputs of one group and gives the inputs of every group
        rhs = _join(_split(rhs, axes.rhs.outer, groups), axes.rhs.outer, axes.rhs.feature)
    padding = []
    for i, (low, _) in enumerate(a["padding"]):
        before = _window(node, i) - 1 - low
        after = _difference(_spread_size(node, i), _covered(ct, node, i)) + _window(node, i) - 1 - before
        padding.append((before, after))
    result = CONVOLUTION(
        ct, rhs, window_strides=a["lhs_dilation"], padding=tuple(padding), lhs_dilation=a["window_strides"],
        rhs_dilation=a["rhs_dilation"], window_reversal=tuple(not r for r in a["window_reversal"]),
        dimension_numbers=str(ConvolutionAxes(axes.result, axes.rhs.exchanged(), axes.lhs)), feature_group_count=groups,
        batch_group_count=1)  # fmt: skip
    if a["batch_group_count"] > 1:
        result = _join(_split(result, axes.lhs.feature, groups), axes.lhs.feature, axes.lhs.outer)
    return result


def _gradient_of_kernel(ct: Node, node: Node) -> Node:
    lhs = node.operands[0]
    a, axes = node.attributes, convolution_axes(node["dimension_numbers"])
    padding = []
    for i, (low, _) in enumerate(a["padding"]):
        padding.append((low, _difference(_covered(ct, node, i), _spread_size(node, i)) + _window(node, i) - 1 - low))
    result = CONVOLUTION(
        lhs, ct, window_strides=a["rhs_dilation"], padding=tuple(padding), lhs_dilation=a["lhs_dilation"],
        rhs_dilation=a["window_strides"], window_reversal=(False,) * len(padding),
        dimension_numbers=str(ConvolutionAxes(axes.lhs.exchanged(), axes.result.exchanged(), axes.rhs.exchanged())),
        feature_group_count=a["batch_group_count"], batch_group_count=a["feature_group_count"])  # fmt: skip
    reversed_axes = tuple(axes.rhs.spatial[i] for i, r in enumerate(a["window_reversal"]) if r)
    return REVERSE(result, dimensions=reversed_axes) if reversed_axes else result


def _window(node: Node, i: int) -> int:
    """The size of the dilated window along spatial axis ``i``."""
    axis = convolution_axes(node["dimension_numbers"]).rhs.spatial[i]
    size = dilated(node.operands[1].shape[axis], node["rhs_dilation"][i])
    assert isinstance(size, int)
    return size


def _spread_size(node: Node, i: int) -> Size:
    """The size of lhs along spatial axis ``i`` once dilated."""
    axis = convolution_axes(node["dimension_numbers"]).lhs.spatial[i]
    return dilated(node.operands[0].shape[axis], node["lhs_dilation"][i])


def _covered(ct: Node, node: Node, i: int) -> Size:
    """How far apart the first and the last window start along spatial axis ``i``, and one more."""
    axis = convolution_axes(node["dimension_numbers"]).result.spatial[i]
    return dilated(ct.shape[axis], node["window_strides"][i])


def _difference(a: Size, b: Size) -> int:
    difference = a - b
    if isinstance(difference, Dim):
        raise ShapeError(f"convolution: the padding of its gradient depends on a symbolic size: {difference}",
                         hint="a stride and dilations of 1 take symbolic sizes")  # fmt: skip
    return difference


def _split(x: Node, axis: int, count: int) -> Node:
    """Axis ``axis`` as two: ``count`` groups, and what is in one of them."""
    inner = _quotient(x.shape[axis], count)
    assert inner is not None
    return reshape(x, (*x.shape[:axis], count, inner, *x.shape[axis + 1 :]))


def _join(x: Node, source: int, target: int) -> Node:
    """Axis ``source`` moved in front of axis ``target`` (of those without it) and made one with it."""
    order = [i for i in range(len(x.shape)) if i != source]
    order.insert(target, source)
    x = TRANSPOSE(x, permutation=tuple(order))
    return reshape(x, (*x.shape[:target], x.shape[target] * x.shape[target + 1], *x.shape[target + 2 :]))


def _flops(node: Node) -> Size:
    rhs, axes = node.operands[1], convolution_axes(node["dimension_numbers"])
    taps = size_product(rhs.shape[i] for i in (*axes.rhs.spatial, axes.rhs.feature))
    return node.tensor.size * taps * 2


CONVOLUTION: Op = declare(
    "convolution", operands=2, infer=_infer, evaluate=_evaluate,
    attributes=("window_strides", "padding", "lhs_dilation", "rhs_dilation", "window_reversal", "dimension_numbers",
                "feature_group_count", "batch_group_count"),
    jvp=(lambda t, n: CONVOLUTION(t, n.operands[1], **n.attributes),
         lambda t, n: CONVOLUTION(n.operands[0], t, **n.attributes)),
    transpose=_transpose, flops=_flops)  # fmt: skip


def convolution(lhs: Node, rhs: Node, dimension_numbers: str, *, window_strides: Sequence[int] = (),
                padding: Pairs = (), lhs_dilation: Sequence[int] = (), rhs_dilation: Sequence[int] = (),
                window_reversal: Sequence[bool] = (), feature_group_count: int = 1,
                batch_group_count: int = 1) -> Node:  # fmt: skip
    """The convolution with what is not given at its neutral value: strides and dilations 1, no padding."""
    rank = len(lhs.shape) - 2
    one = (1,) * rank
    return CONVOLUTION(
        lhs, rhs, dimension_numbers=dimension_numbers, window_strides=tuple(window_strides) or one,
        padding=tuple(padding) or ((0, 0),) * rank, lhs_dilation=tuple(lhs_dilation) or one,
        rhs_dilation=tuple(rhs_dilation) or one, window_reversal=tuple(window_reversal) or (False,) * rank,
        feature_group_count=feature_group_count, batch_group_count=batch_group_count)  # fmt: skip
