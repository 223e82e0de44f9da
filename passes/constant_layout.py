"""Constant weights are turned once, when a program is compiled, so that kernels need not turn them in every call."""

from __future__ import annotations

import numpy as np

from mlc.ir.dims import bounds, size_product
from mlc.ir.graph import CONSTANT, DOT_GENERAL, Graph, Node, constant, free_axes, users

from .rewrite import of, rewrite
from .schedule.contraction_choice import INNER_ROWS

MOST_TWICE = 1 << 26  # bytes of a constant that is kept both ways, for others that read it as it was


def lay_out_constants(graph: Graph) -> Graph:
    """Columns of contractions that are constants lie side by side where panels of them would be turned otherwise.

    ``x @ w.T`` of many rows then reads ``w`` as it reads the weights of ``x @ w``. A large constant that other nodes
    want as it is stays, since the program would hold it twice.
    """
    if not any(n.op is DOT_GENERAL for n in graph.nodes):
        return graph
    readers = users(graph.nodes)
    turned: dict[Node, Node] = {}

    @of(DOT_GENERAL)
    def turn(n: Node) -> Node | None:
        columns = n.operands[1]
        if not is_turned_in_every_call(n):
            return None
        if columns["value"].array.nbytes > MOST_TWICE and not all(map(is_turned_in_every_call, readers[columns])):
            return None
        if columns not in turned:
            turned[columns] = constant(np.ascontiguousarray(columns["value"].array.T), columns.dtype)
        return DOT_GENERAL(n.operands[0], turned[columns], **{**n.attributes, "rhs_contracting": (0,)})

    return rewrite(graph, (turn,))


def is_turned_in_every_call(n: Node) -> bool:
    """Whether ``n`` is a contraction of many rows with a constant matrix that lies along K."""
    if n.op is not DOT_GENERAL or n.operands[1].op is not CONSTANT or n["lhs_batch"]:
        return False
    lhs, rhs = n.operands
    if len(rhs.shape) != 2 or n["rhs_contracting"] != (1,) or 1 in rhs.shape:
        return False
    rows = size_product(lhs.shape[a] for a in free_axes(len(lhs.shape), n["lhs_contracting"]))
    return bounds(rows)[0] > INNER_ROWS
