"""Contractions of vectors as folds of elementwise products: threads of a warp or block for a result, or columns."""

from __future__ import annotations

from mlc.ir.dims import bounds
from mlc.ir.graph import CONVERT, MULTIPLY, TRANSPOSE, Graph, Node, broadcast_in_dim, reduce_add
from mlc.passes.rewrite import rewrite
from mlc.passes.schedule.contraction_form import Contraction, Side

FEW = 16  # results of a product that are folded one by one, though their operands are read several times


def is_thin(c: Contraction) -> bool:
    """Whether no tile pays: an operand is a vector, or there are few results."""
    m, n = bounds(c.m)[1], bounds(c.n)[1]
    return (m == 1 or m * n <= FEW) and not any(r.op is TRANSPOSE for r in c.body.results)


def as_reduce(c: Contraction) -> Graph:
    """The body with its dot as a sum over the last axis of the products of both operands."""
    table = c.body.table
    with table.active(), table.at(table.locations.get(c.dot, ())):
        product = MULTIPLY(_spread(c, c.rows, c.row_axis), _spread(c, c.columns, c.column_axis))
        total = reduce_add(product, (len(c.dot.shape),))
        total = total if total.dtype == c.dot.dtype else CONVERT(total, dtype=c.dot.dtype)
        return rewrite(c.body, [lambda n: total if n is c.dot else None])


def _spread(c: Contraction, side: Side, free: int | None) -> Node:
    """An operand along the axes of the result and, last, the contracted one."""
    node, places = side.node, dict(zip(side.batch, range(len(side.batch)), strict=True))
    places[side.contracted] = len(c.dot.shape)
    if side.free is not None and free is not None:
        places[side.free] = free
    node = node if node.dtype == c.accumulator else CONVERT(node, dtype=c.accumulator)
    order = sorted(range(len(node.shape)), key=lambda axis: places[axis])
    if order != list(range(len(order))):
        node = TRANSPOSE(node, permutation=tuple(order))
    return broadcast_in_dim(node, (*c.dot.shape, c.k), tuple(places[axis] for axis in order))
