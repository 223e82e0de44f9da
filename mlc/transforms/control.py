"""Derivatives of case and while: regions that compute the tangents or cotangents beside the values they need."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DifferentiationError
from ..ir.graph import CASE, WHILE, Graph, Node, Table, current_table, full_like, inline, results_of
from ..ir.types import ValueType
from .cotangent import transpose
from .region_rules import REGION_RULES, RegionRule
from .tangent import jvp


def push_region(
    graph: Graph, given: Sequence[bool], table: Table
) -> tuple[list[Node], list[Node], list[Node], list[Node | None]]:
    """``graph`` rebuilt in ``table``: parameters, tangents of those ``given``, results, and the results' tangents."""
    with table.active():
        parameters = [table.parameter(p.type, p["name"]) for p in graph.parameters]
        results = inline(graph, parameters)
        pushed = {p: table.parameter(p.type) for p, g in zip(parameters, given, strict=True) if g}
        return parameters, list(pushed.values()), list(results), jvp(results, pushed)


def or_zero(node: Node | None, like: Node) -> Node:
    return full_like(like, 0.0) if node is None else node


def spread(count: int, positions: Sequence[int], nodes: Sequence[Node]) -> list[Node | None]:
    """A list of ``count`` with ``nodes`` at ``positions`` and None elsewhere."""
    found: list[Node | None] = [None] * count
    for i, node in zip(positions, nodes, strict=True):
        found[i] = node
    return found


# ---------------------------------------------------------------- case


def case_tangents(node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
    """A case whose branches give the tangents of those of ``node``."""
    index, *operands = node.operands
    given = [t is not None for t in tangents[1:]]
    pushed = [(t := Table(), *push_region(b, given, t)) for b in node["branches"]]
    count = len(node["branches"][0].results)
    live = [i for i in range(count) if any(found[i] is not None for *_, found in pushed)]
    if not live:
        return [None] * count
    branches = []
    for table, parameters, fresh, results, found in pushed:
        with table.active():
            made = [or_zero(found[i], results[i]) for i in live]
        branches.append(Graph("tangents", (*parameters, *fresh), made, table))
    present = [t for t in tangents[1:] if t is not None]
    return spread(count, live, results_of(CASE(index, *operands, *present, branches=tuple(branches))))


def case_cotangents(node: Node, wanted: Sequence[bool], cotangents: Sequence[Node | None]) -> Sequence[Node | None]:
    """A case whose branches are the transposes of those of ``node``, which are linear in the wanted operands."""
    index, *operands = node.operands
    linear = [i for i, w in enumerate(wanted[1:]) if w]
    fixed = [i for i in range(len(operands)) if i not in linear]
    present = [i for i, c in enumerate(cotangents) if c is not None]
    branches = []
    for branch in node["branches"]:
        table = Table()
        with table.active():
            parameters = [table.parameter(p.type) for p in branch.parameters]
            pulled = [table.parameter(branch.results[i].type) for i in present]
            results = inline(branch, parameters)
            wrt = [parameters[i] for i in linear]
            parts = transpose(results, wrt, spread(len(results), present, pulled))
            made = [or_zero(part, p) for part, p in zip(parts, wrt, strict=True)]
        branches.append(Graph("cotangents", (*(parameters[i] for i in fixed), *pulled), made, table))
    given = [c for c in cotangents if c is not None]
    found = results_of(CASE(index, *(operands[i] for i in fixed), *given, branches=tuple(branches)))
    return [None, *spread(len(operands), linear, found)]


# ---------------------------------------------------------------- while


def while_tangents(node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
    """A while that carries the tangents beside the values."""
    cond, body, count = node["cond"], node["body"], len(node.operands)
    live = [t is not None for t in tangents]
    while True:
        table = Table()
        parameters, fresh, results, found = push_region(body, live, table)
        grown = [a or f is not None for a, f in zip(live, found, strict=True)]
        if grown == live:
            break
        live = grown
    carried = [i for i in range(count) if live[i]]
    with table.active():
        following = [or_zero(found[i], results[i]) for i in carried]
    both = Graph(body.name, (*parameters, *fresh), (*results, *following), table)
    first = [or_zero(tangents[i], node.operands[i]) for i in carried]
    made = results_of(WHILE(*node.operands, *first, cond=more_parameters(cond, [f.type for f in first]), body=both))
    return spread(count, carried, made[count:])


def more_parameters(graph: Graph, types: Sequence[ValueType]) -> Graph:
    """The graph with further parameters, which it does not read."""
    extra = [graph.table.parameter(t) for t in types]
    return Graph(graph.name, (*graph.parameters, *extra), graph.results, graph.table)


def while_cotangents(node: Node, wanted: Sequence[bool], cotangents: Sequence[Node | None]) -> Sequence[Node | None]:
    here = current_table().current
    raise DifferentiationError(
        "while: a gradient needs the values of every trip, and how many trips there are is not known before it runs",
        location=str(here[0]) if here else None,
        hint="mlc.scan and mlc.fori_loop with Python integers as bounds have gradients; mlc.jvp goes through any loop",
    )


REGION_RULES["case"] = RegionRule(case_tangents, case_cotangents)
REGION_RULES["while"] = RegionRule(while_tangents, while_cotangents)
