"""A pass on a graph, applied to the regions of its control flow too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc.ir.graph import CASE, COLLECTIVE_DONE, COLLECTIVE_START, COPY, WHILE, Graph, Node

Run = Callable[[Graph], Graph]

CONTROL = frozenset((WHILE, CASE))
_ALONE = frozenset((COPY, COLLECTIVE_START, COLLECTIVE_DONE))


def is_control(node: Node) -> bool:
    """Whether the node's regions run a number of times that data decides: they stay graphs of their own to the end."""
    return node.op in CONTROL


def stands_alone(node: Node) -> bool:
    """Whether a node is a step of its own, which no region takes in: control flow, copies between devices, and the
    start and end of a collective."""
    return node.op in _ALONE or is_control(node)


def regions_of(node: Node) -> tuple[Graph, ...]:
    """The regions of a while or case; none of another node."""
    if node.op is WHILE:
        return node["cond"], node["body"]
    return tuple(node["branches"]) if node.op is CASE else ()


def changed_regions(node: Node, change: Run) -> dict[str, Any]:
    """The attributes of a while or case that hold regions, after ``change``; none where it changes nothing."""
    changed: dict[str, Any] = {}
    if node.op is WHILE:
        changed = {"cond": change(node["cond"]), "body": change(node["body"])}
    elif node.op is CASE:
        changed = {"branches": tuple(change(b) for b in node["branches"])}
    return {} if all(changed[k] == node[k] for k in changed) else changed


def run_inside(run: Run, graph: Graph) -> Graph:
    """``run(graph)``, and then the same on every region of a while or case in it, and in these. Equal regions once."""
    return _inside(run, run(graph), {})


def _inside(run: Run, graph: Graph, known: dict[Graph, Graph]) -> Graph:
    if not any(is_control(n) for n in graph.nodes):
        return graph

    def region(old: Graph) -> Graph:
        if old not in known:
            known[old] = _inside(run, run(old), known)
        return known[old]

    table = graph.table
    new: dict[Node, Node] = {}
    with table.active():
        for node in graph.nodes:
            operands = [new[o] for o in node.operands]
            with table.at(graph.locations(node), node.device):
                new[node] = table.rebuild(node, operands, **changed_regions(node, region))
    return graph.with_results([new[r] for r in graph.results])
