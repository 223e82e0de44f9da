"""The user's lines in a Plan's labels: remembered by the nodes that stand on them, put in anew for another caller."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mlc.ir.graph import Graph, Location
from mlc.ir.graph.node import graphs_in

from .entry import Line

if TYPE_CHECKING:
    from mlc.ir.plan import Plan, Step

_LABEL = re.compile(r"^(?P<kernel>.*?)(?: in (?P<scope>.*))? at (?P<place>.*:\d+)$", re.DOTALL)


def node_lines(graph: Graph) -> list[Line]:
    """The first line of every node with one, those of inner graphs included, in an order that equal graphs share."""
    found: list[Line] = []
    work = [graph]
    while work:
        here = work.pop()
        for node in here.nodes:
            locations = here.locations(node)
            found.append(_line(locations[0]) if locations else ("", 0, ""))
            if any(type(v) is not str for v in node.attributes.values()):
                work.extend(graphs_in(node))
    return found


def named_lines(plan: Plan, lines: Iterable[Line]) -> dict[int, Line]:
    """Which of ``lines`` the labels of ``plan`` name: the first position of each."""
    from mlc.ir.plan import walk_steps

    first: dict[tuple[str, str], int] = {}
    by_position = dict(enumerate(lines))
    for position, line in by_position.items():
        first.setdefault(_words(line), position)
    labels = [_LABEL.match(step.label) for step in walk_steps(plan.steps)]
    named = {(match["scope"] or "", match["place"]) for match in labels if match}
    return {first[words]: by_position[first[words]] for words in sorted(named) if words in first}


def relabelled(plan: Plan, before: Mapping[int, Line], now: list[Line]) -> Plan:
    """``plan`` with the lines and scopes of ``now`` in place of those it was compiled for."""
    moved = {_words(line): now[position] for position, line in before.items()}

    def label(text: str) -> str:
        match = _LABEL.match(text)
        line = moved.get((match["scope"] or "", match["place"])) if match else None
        if match is None or line is None:
            return text
        scope, place = _words(line)
        return f"{match['kernel']}{' in ' if scope else ''}{scope} at {place}"

    return replace(plan, steps=_map(plan.steps, label))


def _map(steps: tuple[Step, ...], label: Callable[[str], str]) -> tuple[Step, ...]:
    return tuple([_relabel(step, label) for step in steps])


def _relabel(step: Step, label: Callable[[str], str]) -> Step:
    from mlc.ir.plan import Branch, Loop

    if isinstance(step, Loop):
        return replace(step, body=_map(step.body, label), label=label(step.label))
    if isinstance(step, Branch):
        return replace(step, branches=tuple([_map(b, label) for b in step.branches]), label=label(step.label))
    return replace(step, label=label(step.label))


def _words(line: Line) -> tuple[str, str]:
    """The scope and the place, as a label has them."""
    return line[2], f"{line[0]}:{line[1]}"


def _line(location: Location) -> Line:
    return location.file, location.line, location.scope
