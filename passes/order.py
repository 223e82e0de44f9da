"""The order in which fused regions and control flow run: producers first, updates in place after other readers.

Collectives start as soon as their operands are there, and are waited for when nothing else is left to do.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from mlc.ir.graph import COLLECTIVE_DONE, COLLECTIVE_START, FUSION, Graph, Node

from .buckets import MOST_IN_FLIGHT
from .grouping import is_view
from .regions import stands_alone


def order_units(graph: Graph, updates: Sequence[tuple[Node, Node]]) -> tuple[Node, ...]:
    """The units of ``graph`` (fusions, whiles and cases) in the order they run.

    ``updates`` are units with a parameter that each would overwrite in place: it is put behind the parameter's other
    readers where no dependence forbids it. Ties go by the order of the program.
    """
    units = [n for n in graph.nodes if is_unit(n)]
    after: dict[Node, set[Node]] = {f: set() for f in units}
    for unit in units:
        for operand in unit.operands:
            producer = stored_by(operand)
            if is_unit(producer):
                after[unit].add(producer)
    readers: dict[Node, list[Node]] = {}
    for unit in units:
        for operand in unit.operands:
            readers.setdefault(stored_by(operand), []).append(unit)
    followers: dict[Node, set[Node]] = {}
    for unit, before in after.items():
        for b in before:
            followers.setdefault(b, set()).add(unit)
    for update, parameter in updates:
        others = {r for r in readers.get(parameter, ()) if r is not update}
        if not _reach(update, others, followers):
            after[update] |= others
            for other in others:
                followers.setdefault(other, set()).add(update)
    return _sort(units, after)


def is_unit(node: Node) -> bool:
    """What runs as a whole: a fusion, a copy, or a while or case with all that it holds."""
    return node.op is FUSION or stands_alone(node)


def stored_by(node: Node) -> Node:
    """The unit, parameter or constant in whose memory ``node`` lies: views and tuple elements looked through."""
    while is_view(node) or node.op.name == "get_tuple_element":
        node = node.operands[0]
    return node


def _reach(start: Node, goals: set[Node], followers: dict[Node, set[Node]]) -> bool:
    """Whether a goal runs after ``start``; few units follow an update."""
    work, seen = [start], {start}
    while work:
        for follower in followers.get(work.pop(), ()):
            if follower in goals:
                return True
            if follower not in seen:
                seen.add(follower)
                work.append(follower)
    return False


def _sort(units: list[Node], after: dict[Node, set[Node]]) -> tuple[Node, ...]:
    position = {f: i for i, f in enumerate(units)}
    waiting = {f: len(before) for f, before in after.items()}
    followers: dict[Node, list[Node]] = {}
    for unit, before in after.items():
        for b in before:
            followers.setdefault(b, []).append(unit)
    ready = [position[f] for f in units if not waiting[f] and f.op is not COLLECTIVE_START]
    starts = [position[f] for f in units if not waiting[f] and f.op is COLLECTIVE_START]
    heapq.heapify(ready)
    order: list[Node] = []
    in_flight: list[Node] = []  # ends that are waited for in the order of their starts
    while ready or starts or in_flight:
        if starts and len(in_flight) < MOST_IN_FLIGHT:
            unit = units[heapq.heappop(starts)]
        elif ready and not starts:
            unit = units[heapq.heappop(ready)]
        else:
            unit = in_flight.pop(0)
        order.append(unit)
        for follower in followers.get(unit, ()):
            waiting[follower] -= 1
            if waiting[follower]:
                continue
            if follower.op is COLLECTIVE_DONE:
                in_flight.append(follower)
            elif follower.op is COLLECTIVE_START:
                heapq.heappush(starts, position[follower])
            else:
                heapq.heappush(ready, position[follower])
    return tuple(order)
