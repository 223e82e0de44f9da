"""Convolution fusions: one convolution with what is computed after it, by the direct kernel that suits it."""

from __future__ import annotations

from mlc.ir.dims import bounds
from mlc.ir.graph import CONVERT, PARAMETER, Graph, Node
from mlc.ir.target import Target

from .axes import in_place_pairs
from .convolution_columns import cut_panels, direct_panels
from .convolution_form import Convolution, convolution_form
from .convolution_frame import Frame
from .convolution_pixels import pixels_kernel
from .convolution_taps import taps_kernel
from .convolution_thin import count_parts, thin_kernel
from .materialize import materialize
from .parts import SumOfParts
from .reduce import schedule_reduce
from .region import KernelCall, ScheduledRegion


def schedule_convolution(body: Graph, target: Target) -> ScheduledRegion:
    """One kernel computes the convolution and its epilogue; a kernel that lies badly is packed by one before it."""
    c = convolution_form(body)
    in_place = in_place_pairs(body, opaque=(c.node,))
    by_kernel = {"pixels": _over_pixels, "taps": _over_taps, "thin": _thin}
    calls, temporaries = by_kernel[c.kernel](c, target)
    return ScheduledRegion(tuple(calls), tuple(temporaries), in_place)


class _Temporaries:
    """What earlier kernels of a region write for later ones."""

    def __init__(self, c: Convolution, target: Target) -> None:
        self.c, self.target = c, target
        self.numbers: dict[Node, int] = {}
        self.sizes: list[int] = []
        self.calls: list[KernelCall] = []

    def hold(self, node: Node) -> None:
        """Make a kernel that writes ``node``, if it is not in memory."""
        if node.op is not PARAMETER and node not in self.numbers:
            self.numbers[node] = len(self.sizes)
            self.calls += materialize(self.c.body, node, self.numbers[node], self.target)
            self.sizes.append(bounds(node.tensor.size)[1] * node.dtype.itemsize)


def _over_pixels(c: Convolution, target: Target) -> tuple[list[KernelCall], list[int]]:
    panels = cut_panels(c, target)
    held = _Temporaries(c, target)
    held.hold(panels.node)
    call = pixels_kernel(Frame(c, held.numbers, c.lhs, panels.node), panels, target)
    return [*held.calls, call], held.sizes


def _over_taps(c: Convolution, target: Target) -> tuple[list[KernelCall], list[int]]:
    held = _Temporaries(c, target)
    lhs, rhs = (_in_accumulator(c, n) for n in (c.lhs, c.rhs))
    held.hold(lhs)
    held.hold(rhs)
    call = taps_kernel(Frame(c, held.numbers, lhs, rhs), direct_panels(c, target), target)
    return [*held.calls, call], held.sizes


def _thin(c: Convolution, target: Target) -> tuple[list[KernelCall], list[int]]:
    parts = count_parts(c)
    held = _Temporaries(c, target)
    rhs = _in_accumulator(c, c.rhs)
    held.hold(rhs)
    panels = direct_panels(c, target)
    if parts == 1:
        return [*held.calls, thin_kernel(Frame(c, held.numbers, c.lhs, rhs), panels, 1, target)], held.sizes
    sums = SumOfParts.of(c.body, c.node, parts, c.accumulator)
    frame = Frame(c.alone(), held.numbers, c.lhs, rhs, parts, len(held.sizes))
    calls = [*held.calls, thin_kernel(frame, panels, parts, target)]
    region = sums.region(calls, held.sizes, schedule_reduce(sums.end, target))
    return list(region.calls), list(region.temporaries)


def _in_accumulator(c: Convolution, node: Node) -> Node:
    if node.dtype == c.accumulator:
        return node
    with c.body.table.active(), c.body.table.at(c.body.table.locations.get(c.node, ())):
        return CONVERT(node, dtype=c.accumulator)
