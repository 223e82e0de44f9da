"""Convolution fusions on a GPU: implicit products of windows by kernels, with what is computed after them."""

from __future__ import annotations

from mlc.ir.graph import Graph
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.axes import in_place_pairs
from mlc.passes.schedule.convolution_form import convolution_form
from mlc.passes.schedule.region import ScheduledRegion

from .convolution_product import ConvolutionProduct
from .product_call import product_call


def schedule_convolution(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """One kernel computes the convolution and its epilogue; none where the result has no elements."""
    c = convolution_form(body)
    if c.node.tensor.size == 0:
        return ScheduledRegion(())
    call = product_call(ConvolutionProduct(c, target), target)
    return ScheduledRegion((call,), (), in_place_pairs(body, opaque=(c.node,)))
