"""Contraction fusions: one dot_general with what is computed before and after it, as one kernel or a few."""

from __future__ import annotations

from dataclasses import replace

from mlc.ir.dims import bounds
from mlc.ir.graph import CONVERT, PARAMETER, SLICE, TRANSPOSE, Graph, Node
from mlc.ir.target import Target

from .axes import in_place_pairs
from .contraction_choice import INNER_ROWS, Part, choose_parts, parts_of_k
from .contraction_form import Contraction, Side, contraction_form, last_axis
from .contraction_frame import Frame
from .inner_product import inner_product
from .materialize import materialize
from .narrow_product import narrow_product
from .outer_product import outer_product
from .pair_product import pair_product
from .parts import SumOfParts
from .reduce import schedule_reduce
from .region import KernelCall, ScheduledRegion


def schedule_contraction(body: Graph, target: Target) -> ScheduledRegion:
    """One kernel or two compute the contraction and its epilogue; what lies badly is rewritten by one before it.

    Columns of outer products are read as they lie, or through a panel in scratch, and may be expressions. Rows are
    read an element at a time, many times each, so an expression of them becomes a temporary; so do columns of inner
    products that do not lie along K.
    """
    c = contraction_form(body)
    cut = parts_of_k(c)
    if cut is not None:
        return _in_parts(c, *cut, target)
    region = _Region(body, target)
    for part in choose_parts(c, target):
        region.add(part)
    return ScheduledRegion(tuple(region.calls), tuple(region.temporaries), in_place_pairs(body, opaque=(c.dot,)))


def _in_parts(c: Contraction, count: int, length: int, target: Target) -> ScheduledRegion:
    """The sums over ``count`` parts of K side by side, then kernels that add them up and compute the epilogue."""
    parts = SumOfParts.of(c.body, c.dot, count, c.accumulator)
    cut = c.in_parts(parts.sums, length)
    region = _Region(c.body, target)
    inner = c.columns.walks_contracted and c.rows.walks_contracted and bounds(c.m)[1] <= INNER_ROWS
    region.add(Part(cut, "inner" if inner else "outer"))
    return parts.region(region.calls, region.temporaries, schedule_reduce(parts.end, target))


_PRODUCTS = {"outer": outer_product, "inner": inner_product, "narrow": narrow_product, "pair": pair_product}


class _Region:
    """The kernels of a region so far, and the temporaries that they share."""

    def __init__(self, body: Graph, target: Target) -> None:
        self.body = body
        self.target = target
        self.calls: list[KernelCall] = []
        self.temporaries: list[int] = []
        self.held: dict[Node, int] = {}

    def add(self, part: Part) -> None:
        c = part.contraction
        rows = self.hold(_rows_in_order(c, part.way != "outer"), c.rows)
        columns = self.hold(_columns_along(c), c.columns) if part.way == "inner" else c.columns
        held = {side.node: self.held[side.node] for side in (rows, columns) if side.node in self.held}
        frame = Frame(replace(c, rows=rows, columns=columns), held)
        self.calls.append(_PRODUCTS[part.way](frame, self.target))

    def hold(self, side: Side, before: Side) -> Side:
        """``side``, by a kernel that computes it if it is not what was there before."""
        if side is not before and side.node not in self.held:
            self.held[side.node] = len(self.temporaries)
            self.calls += materialize(self.body, side.node, len(self.temporaries), self.target)
            self.temporaries.append(bounds(side.node.tensor.size)[1] * side.node.dtype.itemsize)
        return side


def _rows_in_order(c: Contraction, inner: bool) -> Side:
    """The rows as a kernel wants them: in memory, in the type that it multiplies; along K for inner products."""
    side, node, table = c.rows, c.rows.node, c.body.table
    wanted_type = c.factor or c.accumulator
    in_memory = node.op is PARAMETER and node.dtype == wanted_type
    innermost = side.innermost if in_memory else last_axis(node)  # a temporary lies as its node says
    with table.active(), table.at(table.locations.get(c.dot, ())):
        if node.dtype != wanted_type:
            node = CONVERT(node, dtype=wanted_type)
        wanted = (side.contracted,) if inner else (side.contracted, side.free, None)
        if innermost not in wanted:
            return _turned(side, node)
    return side if in_memory else replace(side, node=node, innermost=innermost)


def _columns_along(c: Contraction) -> Side:
    """The columns that an inner product reads: along K, and these only, where they do not lie so."""
    side, node, table = c.columns, c.columns.node, c.body.table
    if side.walks_contracted and c.first_column == 0:
        return side
    with table.active(), table.at(table.locations.get(c.dot, ())):
        if c.first_column and side.free is not None:
            start, limit = [0] * len(node.shape), list(node.shape)
            start[side.free] = c.first_column
            node = SLICE(node, start=tuple(start), limit=tuple(limit), strides=(1,) * len(limit))
        if node.dtype != c.accumulator:
            node = CONVERT(node, dtype=c.accumulator)
        return _turned(side, node)


def _turned(side: Side, node: Node) -> Side:
    """``node`` with the contracted axis last."""
    order = tuple(a for a in (*side.batch, side.free, side.contracted) if a is not None)
    node, contracted = TRANSPOSE(node, permutation=order), len(order) - 1
    free = None if side.free is None else contracted - 1
    return Side(node, tuple(range(len(side.batch))), free, contracted, contracted)
