"""What a graph costs: floating-point operations and bytes, in all and by the scope of the user's program.

A node's cost goes to the first of its locations, so that the sums over scopes equal the total.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..dims import evaluate_size
from ..types import TensorType, TupleType, ValueType
from .control import trip_count
from .node import Graph, Node
from .structure import FUSION, REGIONS

FREE = {"parameter", "constant", "reshape", "get_tuple_element", "optimization_barrier", "size",
        "get_dimension_size"}  # fmt: skip
"""Rows whose results take no pass over memory: views, names, what is there already."""
TRANSCENDENTAL = {
    "exponential", "exponential_minus_one", "log", "log_plus_one", "tanh", "logistic", "erf", "sine", "cosine", "tan",
    "power", "sqrt", "rsqrt", "cbrt", "atan2",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations, results of transcendental functions, and bytes that are read and written."""

    flops: int = 0
    transcendentals: int = 0
    bytes_accessed: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.transcendentals + other.transcendentals,
            self.bytes_accessed + other.bytes_accessed,
        )

    def __mul__(self, times: int) -> Cost:
        return Cost(self.flops * times, self.transcendentals * times, self.bytes_accessed * times)

    def as_dict(self) -> dict[str, int]:
        """Under JAX's names."""
        return {
            "flops": self.flops,
            "transcendentals": self.transcendentals,
            "bytes accessed": self.bytes_accessed,
        }


def cost_of(graph: Graph, sizes: Mapping[str, int]) -> Cost:
    """The cost of one run with these symbolic sizes."""
    return sum(cost_by_scope(graph, sizes).values(), start=Cost())


def cost_by_scope(graph: Graph, sizes: Mapping[str, int]) -> dict[str, Cost]:
    """The cost of the nodes whose first location is in each scope ("" for those in none), the most operations first.

    Every node reads its operands and writes its result; a fused region does so as a whole. What is in a loop, a branch
    or a call counts to the scope it was made in.
    """
    found: dict[str, Cost] = {}
    for node in graph.nodes:
        locations = graph.locations(node)
        around = locations[0].scope if locations else ""
        for scope, cost in _costs_inside(node, sizes).items():
            if cost != Cost():
                found[scope or around] = found.get(scope or around, Cost()) + cost
    return dict(sorted(found.items(), key=lambda item: _rank(item[1]), reverse=True))


def node_cost(node: Node, sizes: Mapping[str, int]) -> Cost:
    """The cost of one node: of a call that of its graph, of a loop that of all its trips (one where they are unknown),
    of a case that of its dearest branch."""
    return sum(_costs_inside(node, sizes).values(), start=Cost())


def _costs_inside(node: Node, sizes: Mapping[str, int]) -> dict[str, Cost]:
    """The cost of a node by the scopes of what its regions hold; "" is the node's own."""
    name = node.op.name
    if name == "while":
        trips = trip_count(node)
        return _of_graphs((node["body"], node["cond"]), sizes, 1 if trips is None else trips)
    if name == "case":
        dearest = max(node["branches"], key=lambda b: _rank(cost_of(b, sizes)))
        return _of_graphs((dearest,), sizes)
    if name in REGIONS and node.op is not FUSION:
        return _of_graphs((node[REGIONS[name]],), sizes)
    moved = 0 if name in FREE else sum(value_bytes(t, sizes) for t in (node.type, *(o.type for o in node.operands)))
    if node.op is FUSION:
        inside = cost_of(node["body"], sizes)
        return {"": Cost(inside.flops, inside.transcendentals, moved)}
    transcendentals = _elements(node.type, sizes) if name in TRANSCENDENTAL else 0
    return {"": Cost(evaluate_size(node.op.flops(node), sizes), transcendentals, moved)}


def _of_graphs(graphs: Sequence[Graph], sizes: Mapping[str, int], times: int = 1) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for graph in graphs:
        for scope, cost in cost_by_scope(graph, sizes).items():
            found[scope] = found.get(scope, Cost()) + cost * times
    return found


def _rank(cost: Cost) -> tuple[int, int]:
    return cost.flops, cost.bytes_accessed


def _elements(type: ValueType, sizes: Mapping[str, int]) -> int:
    if isinstance(type, TupleType):
        return sum(_elements(t, sizes) for t in type.elements)
    return evaluate_size(type.size, sizes) if isinstance(type, TensorType) else 0


def value_bytes(type: ValueType, sizes: Mapping[str, int]) -> int:
    """Bytes of a value of this type, all elements of a tuple together."""
    if isinstance(type, TupleType):
        return sum(value_bytes(t, sizes) for t in type.elements)
    return evaluate_size(type.size, sizes) * type.dtype.itemsize if isinstance(type, TensorType) else 0
