"""Pools: the largest or the mean of every window."""

from __future__ import annotations

from mlc import numpy as mnp
from mlc.ir.graph import ADD, MAXIMUM, Node, constant, fill, reduce_window
from mlc.ir.graph.window import Pairs
from mlc.numpy.dispatch import operation
from mlc.numpy.promotion import promote, wrap
from mlc.tracing.tracer import Tracer

from .windows import Padding, PerAxis, pads, per_axis, spatial_axes


@operation("x")
def max_pool(x: object, /, window: PerAxis, strides: PerAxis | None = None, padding: Padding = "VALID", *,
             data_format: str = "NHWC") -> Tracer:  # fmt: skip
    """The largest element of each window of the spatial axes; NaN where there is one.

    ``window`` and ``strides`` (the window's where None) are a number or one an axis; ``padding`` is as for ``conv`` and
    never the largest. Where several are, the first in the window takes the gradient.

    Example:
        >>> import mlc
        >>> mlc.nn.max_pool(mlc.numpy.asarray([[[1.0], [3.0], [2.0], [0.0]]]), 2, data_format="NWC").tolist()
        [[[3.0], [2.0]]]
    """
    (node,), weak = promote("max_pool", x)
    sizes, steps, pairs = _window("max_pool", node, window, strides, padding, data_format)
    return wrap(reduce_window(MAXIMUM, node, sizes, window_strides=steps, padding=pairs), weak)


@operation("x")
def avg_pool(x: object, /, window: PerAxis, strides: PerAxis | None = None, padding: Padding = "VALID", *,
             count_include_pad: bool = True, data_format: str = "NHWC") -> Tracer:  # fmt: skip
    """The mean of each window of the spatial axes; integers become f32.

    Arguments are those of ``max_pool``. Padding counts as zeros; without ``count_include_pad`` it does not count.

    Example:
        >>> import mlc
        >>> mlc.nn.avg_pool(mlc.numpy.asarray([[[1.0], [3.0], [2.0], [0.0]]]), 2, data_format="NWC").tolist()
        [[[2.0], [1.0]]]
    """
    (node,), _ = promote("avg_pool", x, to_float=True)
    sizes, steps, pairs = _window("avg_pool", node, window, strides, padding, data_format)
    total = wrap(reduce_window(ADD, node, sizes, window_strides=steps, padding=pairs))
    if count_include_pad or not any(a or b for a, b in pairs):
        count = 1
        for n in sizes:
            count *= n
        return total / count
    spatial = spatial_axes("avg_pool", node, data_format)
    line = tuple(n if a in spatial else 1 for a, n in enumerate(node.shape))  # every image and channel counts the same
    ones = fill(1.0, node.tensor.with_shape(line))
    counts = wrap(reduce_window(ADD, ones, sizes, window_strides=steps, padding=pairs))
    return total / mnp.maximum(counts, wrap(constant(1.0, node.dtype)))


def _window(name: str, x: Node, window: PerAxis, strides: PerAxis | None, padding: Padding, data_format: str
            ) -> tuple[tuple[int, ...], tuple[int, ...], Pairs]:  # fmt: skip
    """Window, strides and padding of every axis of ``x``."""
    axes = spatial_axes(name, x, data_format)
    rank = len(axes)
    sizes = per_axis(name, "window", window, rank)
    steps = sizes if strides is None else per_axis(name, "strides", strides, rank)
    pairs = pads(name, padding, [x.shape[a] for a in axes], sizes, steps, (1,) * rank)
    place = {a: i for i, a in enumerate(axes)}
    every = range(len(x.shape))
    return (
        tuple(sizes[place[a]] if a in place else 1 for a in every),
        tuple(steps[place[a]] if a in place else 1 for a in every),
        tuple(pairs[place[a]] if a in place else (0, 0) for a in every),
    )
