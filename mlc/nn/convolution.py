"""Convolutions and their transposes, of one, two or three spatial axes."""

from __future__ import annotations

from mlc.errors import ArgumentError
from mlc.ir.graph import Node, convolution
from mlc.ir.graph.convolution import Axes, ConvolutionAxes
from mlc.ir.graph.window import Pairs, dilated
from mlc.numpy.dispatch import operation
from mlc.numpy.promotion import common, wrap
from mlc.tracing.lift import as_node, describe
from mlc.tracing.tracer import Tracer

from .windows import Padding, PerAxis, pads, per_axis, spatial_axes


@operation("x", "kernel")
def conv(x: object, kernel: object, /, strides: PerAxis = 1, padding: Padding = "SAME", *, dilation: PerAxis = 1,
         groups: int = 1, data_format: str = "NHWC") -> Tracer:  # fmt: skip
    """The convolution of ``x`` with ``kernel`` (not turned round: a cross-correlation, as networks use it).

    With channels last (NHWC; NWC and NDHWC for one and three spatial axes) ``x`` is [n, height, width, inputs], the
    kernel [height, width, inputs / groups, outputs]; with channels second (NCHW) the kernel is
    [outputs, inputs / groups, height, width]. ``padding`` is "SAME" (TensorFlow's and JAX's), "VALID", a number, or for
    each axis a number or a pair; ``strides`` and ``dilation`` (of the kernel) are a number or one an axis.

    Raises ShapeError for ranks and features that do not fit, ArgumentError for other arguments.

    Example:
        >>> import mlc
        >>> x = mlc.numpy.ones((1, 4, 4, 1))
        >>> mlc.nn.conv(x, mlc.numpy.ones((2, 2, 1, 3)), padding="VALID").shape
        (1, 3, 3, 3)
    """
    lhs, rhs, axes = _operands("conv", x, kernel, data_format)
    rank = len(axes.lhs.spatial)
    steps = per_axis("conv", "strides", strides, rank)
    spread = per_axis("conv", "dilation", dilation, rank)
    sizes = [lhs.shape[a] for a in axes.lhs.spatial]
    window = _window("conv", rhs, axes)
    return wrap(convolution(
        lhs, rhs, str(axes), window_strides=steps, padding=pads("conv", padding, sizes, window, steps, spread),
        rhs_dilation=spread, feature_group_count=groups))  # fmt: skip


@operation("x", "kernel")
def conv_transpose(x: object, kernel: object, /, strides: PerAxis = 1, padding: Padding = "SAME", *,
                   dilation: PerAxis = 1, data_format: str = "NHWC") -> Tracer:  # fmt: skip
    """A convolution of ``x`` with ``strides - 1`` zeros between its elements: it grows images as ``conv`` shrinks them.

    As ``jax.lax.conv_transpose``: the kernel is not turned round, its layout is that of ``conv``; "SAME" gives
    size * stride, "VALID" every place that the kernel touches; pairs pad the spread image.

    Example:
        >>> import mlc
        >>> x = mlc.numpy.ones((1, 4, 4, 1))
        >>> mlc.nn.conv_transpose(x, mlc.numpy.ones((2, 2, 1, 3)), 2).shape
        (1, 8, 8, 3)
    """
    lhs, rhs, axes = _operands("conv_transpose", x, kernel, data_format)
    rank = len(axes.lhs.spatial)
    steps = per_axis("conv_transpose", "strides", strides, rank)
    spread = per_axis("conv_transpose", "dilation", dilation, rank)
    window = [_wide(k, d) for k, d in zip(_window("conv_transpose", rhs, axes), spread, strict=True)]
    if isinstance(padding, str) and padding.upper() in ("SAME", "VALID"):
        pairs: Pairs = tuple(_transposed_pads(padding.upper(), k, s) for k, s in zip(window, steps, strict=True))
    else:
        pairs = pads("conv_transpose", padding, [1] * rank, window, steps, spread)
    return wrap(convolution(lhs, rhs, str(axes), padding=pairs, lhs_dilation=steps, rhs_dilation=spread))


def _operands(name: str, x: object, kernel: object, data_format: str) -> tuple[Node, Node, ConvolutionAxes]:
    """Both operands in one element type, and where their axes are."""
    dtype, _ = common(name, [describe(x, f"{name}: operand"), describe(kernel, f"{name}: kernel")])
    lhs, rhs = as_node(x, dtype, f"{name}: operand"), as_node(kernel, dtype, f"{name}: kernel")
    spatial = spatial_axes(name, lhs, data_format)
    last = data_format.endswith("C")
    rank = len(spatial)
    image = Axes(0, rank + 1 if last else 1, spatial)
    if last:
        return lhs, rhs, ConvolutionAxes(image, Axes(rank + 1, rank, tuple(range(rank))), image)
    return lhs, rhs, ConvolutionAxes(image, Axes(0, 1, tuple(range(2, rank + 2))), image)


def _window(name: str, kernel: Node, axes: ConvolutionAxes) -> list[int]:
    """The sizes of the kernel's spatial axes; those of a kernel of another rank are for the row to refuse."""
    sizes = [kernel.shape[a] if a < len(kernel.shape) else 1 for a in axes.rhs.spatial]
    known = [n for n in sizes if isinstance(n, int)]
    if len(known) != len(sizes):
        raise ArgumentError(f"{name}: the kernel is {kernel.type}; the sizes of its window must be known")
    return known


def _wide(window: int, dilation: int) -> int:
    size = dilated(window, dilation)
    assert isinstance(size, int)
    return size


def _transposed_pads(padding: str, window: int, stride: int) -> tuple[int, int]:
    """JAX's rule: what makes the transpose undo the sizes of a convolution with this padding."""
    if padding == "SAME":
        total = window + stride - 2
        low = window - 1 if stride > window - 1 else -(-total // 2)
    else:
        total = window + stride - 2 + max(window - stride, 0)
        low = window - 1
    return low, total - low
