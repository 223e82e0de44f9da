"""Transposition: pulls cotangents back through a graph that is linear in some of its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import InternalError
from ..ir.graph import ADD, COMPOSITE, GET_TUPLE_ELEMENT, Node, current_table, reachable
from ..ir.types import TupleType
from .composites import composite_cotangents, has_transpose
from .region_rules import region_rule
from .substitute import dependents, open_regions


def transpose(
    results: Sequence[Node | None], wrt: Sequence[Node], cotangents: Sequence[Node | None]
) -> list[Node | None]:
    """For results that are linear in the parameters ``wrt``, the cotangents of those, given the results'; None is zero.

    Walks backwards in the order in which the nodes were made and adds cotangents as they come, so the same program
    always gives the same sums. Nodes are built in the active table, at the locations of what they are transposes of.
    """
    table = current_table()
    pairs = [(r, c) for r, c in zip(results, cotangents, strict=True) if r is not None and c is not None]
    opened = open_regions([r for r, _ in pairs], wrt, keep=lambda n: has_transpose(n) or region_rule(n) is not None)
    nodes = reachable(opened)
    linear = dependents(nodes, wrt)
    parameters = set(wrt)
    collected: dict[tuple[Node, int], Node] = {}  # (node, element of its tuple) -> sum of the cotangents so far

    def add(node: Node, cotangent: Node | None, element: int = 0) -> None:
        if cotangent is None or node not in linear:
            return
        sofar = collected.get((node, element))
        collected[node, element] = cotangent if sofar is None else ADD(sofar, cotangent)

    for result, (_, cotangent) in zip(opened, pairs, strict=True):
        add(result, cotangent)
    for node in reversed(nodes):
        if node not in linear or node in parameters:
            continue
        with table.at(table.locations.get(node, ()), node.device):
            if node.op is GET_TUPLE_ELEMENT:
                add(node.operands[0], collected.pop((node, 0), None), node["index"])
                continue
            for operand, part in _pull(node, linear, collected):
                add(operand, part)
    return [collected.get((p, 0)) for p in wrt]


def _pull(
    node: Node, linear: dict[Node, None], collected: dict[tuple[Node, int], Node]
) -> Iterable[tuple[Node, Node | None]]:
    """The cotangents of a node's operands; those collected for the node itself are used up."""
    wanted = tuple(o in linear for o in node.operands)
    rule = region_rule(node)
    if rule is not None:
        count = len(node.type.elements) if isinstance(node.type, TupleType) else 1
        pulled = [collected.pop((node, i), None) for i in range(count)]
        if all(c is None for c in pulled):
            return ()
        return list(zip(node.operands, rule.cotangents(node, wanted, pulled), strict=True))
    if node.op is COMPOSITE:
        cotangents = [collected.pop((node, i), None) for i in range(len(node["decomposition"].results))]
        parts = composite_cotangents(node, cotangents) if any(c is not None for c in cotangents) else ()
        return list(zip(node.operands, parts, strict=True)) if parts else ()
    cotangent = collected.pop((node, 0), None)
    if cotangent is None:
        return ()
    if node.op.transpose is None:
        raise InternalError(f"{node.op.name} in the tangent part of a graph has no transpose")
    parts = node.op.transpose(cotangent, node, wanted)
    for operand, part, is_wanted in zip(node.operands, parts, wanted, strict=True):
        if is_wanted and part is not None and part.type != operand.type:
            raise InternalError(f"the transpose of {node!r} gives {part.type} for {operand!r}")
    return list(zip(node.operands, parts, strict=True))
