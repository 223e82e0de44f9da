"""The order in which fused regions run: producers first, updates in place after all readers of what they overwrite."""

from __future__ import annotations

import heapq

from mlc.ir.graph import FUSION, Graph, Node

from .grouping import is_view


def order_fusions(graph: Graph, updates: dict[Node, Node]) -> tuple[Node, ...]:
    """The FUSION nodes in the order they run.

    ``updates`` maps a fusion to the parameter that it would overwrite in place: it is put behind the parameter's other
    readers where no dependence forbids it. Ties go by the order of the program.
    """
    fusions = [n for n in graph.nodes if n.op is FUSION]
    after: dict[Node, set[Node]] = {f: set() for f in fusions}
    for fusion in fusions:
        for operand in fusion.operands:
            producer = stored_by(operand)
            if producer.op is FUSION:
                after[fusion].add(producer)
    readers: dict[Node, list[Node]] = {}
    for fusion in fusions:
        for operand in fusion.operands:
            readers.setdefault(stored_by(operand), []).append(fusion)
    followers: dict[Node, set[Node]] = {}
    for fusion, before in after.items():
        for b in before:
            followers.setdefault(b, set()).add(fusion)
    for update, parameter in updates.items():
        others = {r for r in readers.get(parameter, ()) if r is not update}
        if not _reach(update, others, followers):
            after[update] |= others
            for other in others:
                followers.setdefault(other, set()).add(update)
    return _sort(fusions, after)


def stored_by(node: Node) -> Node:
    """The fusion, parameter or constant in whose memory ``node`` lies: views and tuple elements looked through."""
    while is_view(node) or node.op.name == "get_tuple_element":
        node = node.operands[0]
    return node


def _reach(start: Node, goals: set[Node], followers: dict[Node, set[Node]]) -> bool:
    """Whether a goal runs after ``start``; few fusions follow an update."""
    work, seen = [start], {start}
    while work:
        for follower in followers.get(work.pop(), ()):
            if follower in goals:
                return True
            if follower not in seen:
                seen.add(follower)
                work.append(follower)
    return False


def _sort(fusions: list[Node], after: dict[Node, set[Node]]) -> tuple[Node, ...]:
    position = {f: i for i, f in enumerate(fusions)}
    waiting = {f: len(before) for f, before in after.items()}
    followers: dict[Node, list[Node]] = {}
    for fusion, before in after.items():
        for b in before:
            followers.setdefault(b, []).append(fusion)
    ready = [position[f] for f in fusions if not waiting[f]]
    heapq.heapify(ready)
    order = []
    while ready:
        fusion = fusions[heapq.heappop(ready)]
        order.append(fusion)
        for follower in followers.get(fusion, ()):
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, position[follower])
    return tuple(order)
