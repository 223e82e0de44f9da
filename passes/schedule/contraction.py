"""Contraction fusions: one dot_general with what is computed before and after it, as one kernel or a few."""

from __future__ import annotations

from dataclasses import replace

from mlc.ir.dims import bounds
from mlc.ir.graph import CONVERT, PARAMETER, TRANSPOSE, Graph, Node
from mlc.ir.target import Target

from .axes import in_place_pairs
from .contraction_form import Contraction, Side, contraction_form, last_axis
from .contraction_frame import Frame
from .inner_product import inner_product
from .materialize import materialize
from .outer_product import outer_product
from .region import KernelCall, ScheduledRegion

INNER_ROWS = 48  # with more rows, columns that are contiguous along K are turned into panels first


def schedule_contraction(body: Graph, target: Target) -> ScheduledRegion:
    """One kernel computes the contraction and its epilogue; rows that lie badly are rewritten by one before it.

    Columns are read as they lie, or through a panel in scratch, and may be expressions. Rows are read an element at a
    time, many times each, so an expression of them becomes a temporary.
    """
    c = contraction_form(body)
    calls: list[KernelCall] = []
    temporaries: list[int] = []
    held: dict[Node, int] = {}
    inner = _by_inner_products(c)
    rows = _rows_in_order(c, inner)
    if rows is not c.rows:
        held[rows.node] = 0
        calls += materialize(body, rows.node, 0, target)
        temporaries.append(bounds(rows.node.tensor.size)[1] * rows.node.dtype.itemsize)
        c = c.with_rows(rows)
    frame = Frame(c, held)
    calls.append(inner_product(frame, target) if inner else outer_product(frame, target))
    return ScheduledRegion(tuple(calls), tuple(temporaries), in_place_pairs(body, opaque=(c.dot,)))


def _by_inner_products(c: Contraction) -> bool:
    """Few rows, and columns that are contiguous along K."""
    if c.accumulator.itemsize < 4 or not c.columns.walks_contracted:
        return False
    rows = bounds(c.m)[1] if isinstance(c.m, int) else bounds(c.m)[0]
    return rows <= INNER_ROWS


def _rows_in_order(c: Contraction, inner: bool) -> Side:
    """The rows as a kernel wants them: in memory, in the accumulator's type; along K for inner products."""
    side, node, table = c.rows, c.rows.node, c.body.table
    in_memory = node.op is PARAMETER and node.dtype == c.accumulator
    innermost = side.innermost if in_memory else last_axis(node)  # a temporary lies as its node says
    with table.active(), table.at(table.locations.get(c.dot, ())):
        if node.dtype != c.accumulator:
            node = CONVERT(node, dtype=c.accumulator)
        wanted = (side.contracted,) if inner else (side.contracted, side.free, None)
        if innermost not in wanted:
            order = tuple(a for a in (side.batch, side.free, side.contracted) if a is not None)
            node = TRANSPOSE(node, permutation=order)
            batch, free, contracted = (
                None if a is None else order.index(a) for a in (side.batch, side.free, side.contracted)
            )
            assert contracted is not None
            return Side(node, batch, free, contracted, contracted)
    return side if in_memory else replace(side, node=node, innermost=innermost)
