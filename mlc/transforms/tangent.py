"""Forward differentiation: pushes tangents from some nodes of a graph to its results, by the op rows' rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import InternalError, MlcError
from ..ir.graph import (
    ADD,
    COMPOSITE,
    GET_TUPLE_ELEMENT,
    OPTIMIZATION_BARRIER,
    SORT,
    Node,
    current_table,
    reachable,
    sort_tangents,
)
from ..ir.types import TupleType
from .composites import composite_tangents, has_rule
from .differentiable import is_differentiable
from .region_rules import region_rule
from .substitute import open_regions

Tangent = Node | Sequence["Node | None"] | None
"""Of a tensor: a node of its type, or None for zero. Of a tuple: one of those an element, or None if all are zero."""


def jvp(results: Sequence[Node], tangents: Mapping[Node, Node]) -> list[Node | None]:
    """The tangents of ``results`` when the nodes of ``tangents`` have those tangents; None is zero.

    Everything is built in the active table, each node at the locations of the node whose derivative it is. Integers and
    bools have no tangent. Calls and composites without a rule are differentiated by what they hold.
    Raises DifferentiationError where an op has a derivative that mlc cannot give.
    """
    table = current_table()
    sources = tuple(tangents)
    known: dict[Node, Tangent] = dict(tangents)
    results = open_regions(results, sources, keep=lambda n: has_rule(n) or region_rule(n) is not None)
    for node in reachable(results):
        if node in known or all(known.get(o) is None for o in node.operands):
            continue
        with table.at(table.locations.get(node, ()), node.device):
            try:
                known[node] = _tangent_of(node, [known.get(o) for o in node.operands])
            except MlcError as error:
                error.location = error.location or (str(table.current[0]) if table.current else None)
                raise
    return [_single(known.get(r)) for r in results]


def _tangent_of(node: Node, tangents: Sequence[Tangent]) -> Tangent:
    if node.op is GET_TUPLE_ELEMENT:
        elements = tangents[0]
        assert not isinstance(elements, Node) and elements is not None
        index: int = node["index"]
        return elements[index]
    rule = region_rule(node)
    if rule is not None:
        pushed = rule.tangents(node, [_single(t) for t in tangents])
        if not isinstance(node.type, TupleType):
            return pushed[0]
        return pushed if any(t is not None for t in pushed) else None
    if node.op is COMPOSITE:
        found = composite_tangents(node, [_single(t) for t in tangents])
        return found if len(node["decomposition"].results) > 1 else found[0]
    if node.op is OPTIMIZATION_BARRIER and not isinstance(tangents[0], Node):
        return tuple(t if t is None else OPTIMIZATION_BARRIER(t) for t in tangents[0] or ())
    if node.op is SORT and isinstance(node.type, TupleType):
        return sort_tangents(node, [_single(t) for t in tangents])
    if not is_differentiable(node):
        return None
    total = _push(node, [_single(t) for t in tangents])
    if total is not None and total.type != node.type:
        raise InternalError(f"the tangent of {node!r} has type {total.type}")
    return total


def _push(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    """The row's rules applied and added up."""
    rules = node.op.jvp
    if rules is None:
        return None
    if not isinstance(rules, tuple):
        return rules(node, tangents)
    total: Node | None = None
    for rule, tangent in zip(rules, tangents, strict=True):
        if rule is not None and tangent is not None:
            share = rule(tangent, node)
            total = share if total is None else ADD(total, share)
    return total


def _single(tangent: Tangent) -> Node | None:
    if tangent is None or isinstance(tangent, Node):
        return tangent
    raise InternalError("a tuple is used as a tensor")
