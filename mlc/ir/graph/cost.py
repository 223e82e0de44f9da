"""What a graph costs: floating-point operations and bytes, in all and by the scope of the user's program.

A node's cost goes to the first of its locations, so that the sums over scopes equal the total.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..dims import evaluate_size
from ..types import TensorType, TupleType, ValueType
from .control import trip_count
from .node import Graph, Node
from .structure import FUSION, REGIONS

FREE = {"parameter", "constant", "reshape", "get_tuple_element", "optimization_barrier", "size"}
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

    Every node reads its operands and writes its result; a fused region does so as a whole.
    """
    found: dict[str, Cost] = {}
    for node in graph.nodes:
        locations = graph.locations(node)
        scope = locations[0].scope if locations else ""
        cost = node_cost(node, sizes)
        if cost != Cost():
            found[scope] = found.get(scope, Cost()) + cost
    return dict(sorted(found.items(), key=lambda item: (-item[1].flops, -item[1].bytes_accessed)))


def node_cost(node: Node, sizes: Mapping[str, int]) -> Cost:
    """The cost of one node: of a call that of its graph, of a loop that of all its trips (one where they are unknown),
    of a case that of its dearest branch."""
    name = node.op.name
    if name == "while":
        trips = trip_count(node)
        return (cost_of(node["body"], sizes) + cost_of(node["cond"], sizes)) * (1 if trips is None else trips)
    if name == "case":
        return max((cost_of(b, sizes) for b in node["branches"]), key=lambda c: (c.flops, c.bytes_accessed))
    inside = cost_of(node[REGIONS[name]], sizes) if name in REGIONS else None
    if inside is not None and node.op is not FUSION:
        return inside
    moved = 0 if name in FREE else sum(value_bytes(t, sizes) for t in (node.type, *(o.type for o in node.operands)))
    if inside is not None:
        return Cost(inside.flops, inside.transcendentals, moved)
    transcendentals = _elements(node.type, sizes) if name in TRANSCENDENTAL else 0
    return Cost(evaluate_size(node.op.flops(node), sizes), transcendentals, moved)


def _elements(type: ValueType, sizes: Mapping[str, int]) -> int:
    if isinstance(type, TupleType):
        return sum(_elements(t, sizes) for t in type.elements)
    return evaluate_size(type.size, sizes) if isinstance(type, TensorType) else 0


def value_bytes(type: ValueType, sizes: Mapping[str, int]) -> int:
    """Bytes of a value of this type, all elements of a tuple together."""
    if isinstance(type, TupleType):
        return sum(value_bytes(t, sizes) for t in type.elements)
    return evaluate_size(type.size, sizes) * type.dtype.itemsize if isinstance(type, TensorType) else 0
