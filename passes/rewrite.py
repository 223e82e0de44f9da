"""Apply local rules to every node of a graph, operands first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlc.ir.graph import Graph, Node

Rule = Callable[[Node], Node | None]
"""A rule maps a node to its replacement (of the same type), or None where it does not apply."""

LIMIT = 32  # rules applied to one node in a row; rules have a direction, so that this is never reached


def rewrite(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """The graph with every rule applied until none does; the same object where nothing changed.

    A replacement is at the locations of what it replaces, so that costs and errors still name the user's line.
    """
    before: Graph | None = None
    stable: set[Node] = set()  # no rule applies; a rule sees a node and its operands, and both never change
    while before is not graph:
        before, graph = graph, _once(graph, rules, stable)
    return graph


def _once(graph: Graph, rules: Sequence[Rule], stable: set[Node]) -> Graph:
    table = graph.table
    new: dict[Node, Node] = {}
    with table.active():
        for node in graph.nodes:
            operands = [new[o] for o in node.operands]
            same = all(a is b for a, b in zip(node.operands, operands, strict=True))
            if (same and node in stable) or node.op.name == "parameter":
                new[node] = node
                continue
            with table.at(graph.locations(node)):
                new[node] = _apply(node if same else table.rebuild(node, operands), rules, stable)
    return graph.with_results([new[r] for r in graph.results])


def _apply(node: Node, rules: Sequence[Rule], stable: set[Node]) -> Node:
    for _ in range(LIMIT):
        if node in stable:
            return node
        for rule in rules:
            replacement = rule(node)
            if replacement is not None and replacement is not node:
                node = replacement
                break
        else:
            stable.add(node)
            return node
    return node
