"""Which result takes over the memory of which donated input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlc.ir.graph import Graph, Node

from .order import stored_by
from .places import Key, pairs_in_place
from .schedule import ScheduledRegion

Wishes = dict[int, tuple[Node, int]]  # donated parameter -> the unit that updates it in place, and which result it is


def wishes(
    graph: Graph, donated: frozenset[int], output_of: Mapping[Key, int], regions: Mapping[Node, ScheduledRegion]
) -> Wishes:
    """For donated parameters: the unit that updates it in place, and which result of the graph that is."""
    number = {p: i for i, p in enumerate(graph.parameters)}
    found: Wishes = {}
    taken: set[int] = set()
    for (unit, index), j in output_of.items():
        for p, r in pairs_in_place(unit, regions):
            parameter = stored_by(unit.operands[p])
            i = number.get(parameter)
            if r != index or i not in donated or parameter.type != graph.results[j].type:
                continue
            readings = sum(stored_by(o) is parameter for o in unit.operands)  # views of it count too
            if i not in found and j not in taken and readings == 1:
                found[i] = (unit, j)
                taken.add(j)
    return found


def donations(
    graph: Graph, donated: frozenset[int], output_of: Mapping[Key, int], wished: Wishes, order: Sequence[Node]
) -> dict[int, int]:
    """Parameter index -> result index whose memory it shares, where the order of the units allows it."""
    position = {unit: i for i, unit in enumerate(order)}
    found: dict[int, int] = {}
    readers: dict[Node, list[int]] = {}
    for unit in order:
        for operand in unit.operands:
            readers.setdefault(stored_by(operand), []).append(position[unit])
    copied = {stored_by(r) for r in graph.results}
    free = [i for i in sorted(donated) if graph.parameters[i] not in copied]
    last = {i: max(readers.get(graph.parameters[i], [-1])) for i in free}
    for i in free:
        if i in wished and position[wished[i][0]] >= last[i]:
            found[i] = wished[i][1]
    for i in free:
        if i in found:
            continue
        for (unit, _), j in output_of.items():
            fits = j not in found.values() and graph.results[j].type == graph.parameters[i].type
            if fits and position[unit] > last[i]:
                found[i] = j
                break
    return found
