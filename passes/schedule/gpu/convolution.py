"""Convolution fusions on a GPU: implicit products of windows by kernels, with what is computed after them."""

from __future__ import annotations

from mlc.ir.graph import Graph
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.axes import in_place_pairs
from mlc.passes.schedule.convolution_form import convolution_form
from mlc.passes.schedule.parts import SumOfParts
from mlc.passes.schedule.region import ScheduledRegion

from .convolution_product import ConvolutionProduct
from .depthwise import depthwise_kernel
from .product_call import parts_of_depth, product_call
from .reduce import schedule_reduce


def schedule_convolution(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """One kernel computes the convolution and its epilogue; none where the result has no elements.

    Where results are few and sums long (the gradient of a kernel), it computes parts of the sums, which another one
    adds up.
    """
    c = convolution_form(body)
    if c.node.tensor.size == 0:
        return ScheduledRegion(())
    if c.by_channel:
        return ScheduledRegion((depthwise_kernel(c, target),), (), in_place_pairs(body, opaque=(c.node,)))
    product = ConvolutionProduct(c, target)
    cut = parts_of_depth(product.batch, product.left.extent, product.right.extent, product.depth, target)
    if cut is None:
        return ScheduledRegion((product_call(product, target),), (), in_place_pairs(body, opaque=(c.node,)))
    parts = SumOfParts.of(body, c.node, cut[0], c.accumulator)
    call = product_call(ConvolutionProduct(c, target, cut), target)
    return parts.region([call], [], schedule_reduce(parts.end, target))
