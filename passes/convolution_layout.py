"""A convolution of any layout as one of the layouts that the direct kernels take, between transposes."""

from __future__ import annotations

from mlc.ir.dims import bounds, size_product
from mlc.ir.graph import CONVOLUTION, TRANSPOSE, Node, convolution_axes
from mlc.ir.graph.convolution import Axes, ConvolutionAxes

from .schedule.convolution_form import direct_kernel


def lay_out(n: Node) -> Node | None:
    """convolution -> transpose(convolution(transpose(x), transpose(w))); None where that helps no direct kernel.

    A convolution with more taps than results is a gradient of a kernel, most likely: features come first, and the
    batch last. All others have features last.
    """
    axes = convolution_axes(n["dimension_numbers"])
    rank = len(axes.lhs.spatial)
    spatial = tuple(range(1, rank + 1))
    taps = size_product(n.operands[1].shape[a] for a in axes.rhs.spatial)
    results = size_product(n.shape[a] for a in axes.result.spatial)
    last = Axes(0, rank + 1, spatial)  # outer axis first, features last
    if bounds(taps)[1] > bounds(results)[1]:
        wanted = ConvolutionAxes(last.exchanged(), last.exchanged(), Axes(rank, rank + 1, tuple(range(rank))))
    else:
        wanted = ConvolutionAxes(last, axes.rhs, last)
    x, w = (
        _turned(o, a, b) for o, a, b in zip(n.operands, (axes.lhs, axes.rhs), (wanted.lhs, wanted.rhs), strict=True)
    )
    found = CONVOLUTION(x, w, **{**n.attributes, "dimension_numbers": str(wanted)})
    return None if direct_kernel(found) is None else _turned(found, wanted.result, axes.result)


def _turned(x: Node, have: Axes, want: Axes) -> Node:
    """``x`` with its axes where ``want`` has them."""
    source = {want.outer: have.outer, want.feature: have.feature} | dict(zip(want.spatial, have.spatial, strict=True))
    order = tuple(source[i] for i in range(len(source)))
    return x if order == tuple(range(len(order))) else TRANSPOSE(x, permutation=order)
