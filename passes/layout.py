"""Reshapes move behind what is computed of them: a contraction keeps its shape up to where its result is stored.

``reshape(dot) + bias`` becomes ``reshape(dot + bias)``: the sum is then an epilogue of the contraction, and the reshape
a view of what is stored. Folds and broadcasts follow where they take whole groups of axes that it joins or splits.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.graph import (
    BROADCAST_IN_DIM,
    CONSTANT,
    CONVOLUTION,
    DOT_GENERAL,
    PARAMETER,
    REDUCE,
    RESHAPE,
    Graph,
    Node,
    broadcast_in_dim,
    reshape,
    users,
)  # fmt: skip
from mlc.ir.types import Shape

from .schedule.domain import group_axes

_IN_MEMORY = frozenset((PARAMETER, CONSTANT))
_PRODUCTS = frozenset((DOT_GENERAL, CONVOLUTION))  # their epilogue is what a reshape must not cut off


def sink_reshapes(graph: Graph) -> Graph:
    """The graph with elementwise ops and folds before reshapes, not after; the same object where there are none."""
    if not any(n.op is RESHAPE for n in graph.nodes):
        return graph
    return _Sinking(graph).run()


class _Sinking:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.new: dict[Node, Node] = {}
        self.shared = {n for n, found in users(graph.nodes).items() if len(found) > 1} | set(graph.results)

    def run(self) -> Graph:
        graph, table = self.graph, self.graph.table
        with table.active():
            for node in graph.nodes:
                table.current, table.device = graph.locations(node), node.device
                self.new[node] = self._moved(node) or table.rebuild(node, [self.new[o] for o in node.operands])
        table.current, table.device = (), None
        return graph.with_results([self.new[r] for r in graph.results])

    def _moved(self, node: Node) -> Node | None:
        """``node`` as a reshape of what is computed before that; None where it stays."""
        if node.op is RESHAPE and self.new[node.operands[0]].op is RESHAPE:
            return reshape(self.new[node.operands[0]].operands[0], node.shape)
        if node.op.elementwise and node.operands and not has_empty_axis(node.shape):
            return self._elementwise(node)
        if node.op is REDUCE:
            return self._fold(node)
        return None

    def _elementwise(self, node: Node) -> Node | None:
        shape = next((x.operands[0].shape for x in map(self.new.__getitem__, node.operands) if is_driver(x)), None)
        if shape is None:
            return None
        operands = []
        for old in node.operands:
            found = self._in_shape(old, shape)
            if found is None:
                return None
            operands.append(found)
        return reshape(node.op(*operands, **node.attributes), node.shape)

    def _in_shape(self, old: Node, shape: Shape) -> Node | None:
        """The operand in another shape, at no cost: it is a view, or made on the spot; None for others."""
        x = self.new[old]
        if x.op is RESHAPE or x.op in _IN_MEMORY:
            return _view(x, shape)
        if x.op is BROADCAST_IN_DIM:
            return broadcast_in_shape(x, shape)
        return reshape(x, shape) if old in self.shared and x.op not in _PRODUCTS else None

    def _fold(self, node: Node) -> Node | None:
        x = self.new[node.operands[0]]
        if not is_driver(x) or has_empty_axis(x.shape):
            return None
        shape = x.operands[0].shape
        dimensions: list[int] = []
        for left, right in whole_groups(shape, x.shape):
            folded = [a in node["dimensions"] for a in right]
            if any(folded):
                if not all(folded):
                    return None
                dimensions += left
        if not dimensions:
            return None
        start = self.new[node.operands[1]]
        found = REDUCE(x.operands[0], start, dimensions=tuple(sorted(dimensions)), body=node["body"])
        return reshape(found, node.shape)


def is_driver(x: Node) -> bool:
    """Whether ``x`` is a reshape of something computed; what is in memory has any shape for nothing."""
    return x.op is RESHAPE and x.operands[0].op not in _IN_MEMORY


def has_empty_axis(shape: Shape) -> bool:
    return any(size == 0 for size in shape)


def _view(x: Node, shape: Shape) -> Node:
    return reshape(x.operands[0] if x.op is RESHAPE else x, shape)


def broadcast_in_shape(x: Node, shape: Shape) -> Node | None:
    """A broadcast reshaped to ``shape``, as a broadcast of a view; None where it repeats a part of a group of axes."""
    source, dimensions = x.operands[0], x["dimensions"]
    own = {d for d, size in zip(dimensions, source.shape, strict=True) if size == x.shape[d]}
    if list(dimensions) != sorted(dimensions):
        return None
    axes: list[int] = []
    for left, right in whole_groups(shape, x.shape):
        repeated = [a not in own for a in right]
        if not any(repeated):
            axes += left
        elif not all(repeated):
            return None
    return broadcast_in_dim(_view(source, tuple(shape[a] for a in axes)), shape, tuple(axes))


def whole_groups(left: Shape, right: Shape) -> list[tuple[list[int], list[int]]]:
    """The finest groups of axes of two shapes that hold equally many elements each, without axes of size 1.

    Example:
        >>> whole_groups((32, 12), (4, 8, 1, 12))
        [([0], [0, 1]), ([1], [3])]
    """
    a, b = _large(left), _large(right)
    groups = group_axes([left[i] for i in a], [right[i] for i in b])
    return [([a[i] for i in some], [b[j] for j in others]) for some, others in groups]


def _large(shape: Sequence[object]) -> list[int]:
    return [i for i, size in enumerate(shape) if size != 1]


__all__ = ["broadcast_in_shape", "sink_reshapes", "whole_groups"]
