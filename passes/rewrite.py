"""Apply local rules to every node of a graph, operands first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from mlc.ir.graph import PARAMETER, Graph, Node, Op
from mlc.ir.graph.node import Locations, current_table

Rule = Callable[[Node], Node | None]
"""A rule maps a node to its replacement (of the same type), or None where it does not apply."""

RuleT = TypeVar("RuleT", bound=Rule)
LIMIT = 32  # rules applied to one node in a row; rules have a direction, so that this is never reached


def of(*ops: Op) -> Callable[[RuleT], RuleT]:
    """Says that a rule applies to nodes of these ops only: it is not asked about others."""

    def mark(rule: RuleT) -> RuleT:
        rule.ops = frozenset(ops)  # type: ignore[attr-defined]
        return rule

    return mark


class _Rules(dict[Op, tuple[Rule, ...]]):
    """The rules that may apply to nodes of an op, in order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules

    def __missing__(self, op: Op) -> tuple[Rule, ...]:
        self[op] = tuple(r for r in self.rules if op in getattr(r, "ops", (op,)))
        return self[op]


@dataclass(frozen=True, slots=True)
class Application:
    """One rule that was applied: ``before`` became ``after``, at these lines of the user's program."""

    rule: str
    before: Node
    after: Node
    locations: Locations


class Fuel:
    """How many rules may still be applied, and the last one that was.

    The first application that makes a result wrong is found by bisection on their number (Whalley 1994, "Automatic
    isolation of compiler errors").
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.used = 0
        self.last: Application | None = None

    def spend(self, rule: Rule, before: Node, after: Node) -> bool:
        """Whether one more may be applied."""
        if self.limit is not None and self.used >= self.limit:
            return False
        self.used += 1
        self.last = Application(getattr(rule, "__name__", str(rule)), before, after, current_table().current)
        return True


_fuel: ContextVar[Fuel | None] = ContextVar("fuel", default=None)


@contextlib.contextmanager
def fuelled(limit: int | None = None) -> Iterator[Fuel]:
    """Inside, ``rewrite`` applies at most ``limit`` rules in all, and tells of the last one."""
    token = _fuel.set(Fuel(limit))
    try:
        fuel = _fuel.get()
        assert fuel is not None
        yield fuel
    finally:
        _fuel.reset(token)


def rewrite(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """The graph with every rule applied until none does; the same object where nothing changed.

    A replacement is at the locations of what it replaces, so that costs and errors still name the user's line.
    """
    before: Graph | None = None
    stable: set[Node] = set()  # no rule applies; a rule sees a node and its operands, and both never change
    fuel = _fuel.get()
    by_op = _Rules(rules)
    while before is not graph:
        before, graph = graph, _once(graph, by_op, stable, fuel)
    return graph


def _once(graph: Graph, rules: _Rules, stable: set[Node], fuel: Fuel | None) -> Graph:
    table = graph.table
    new: dict[Node, Node] = {}
    with table.active():
        for node in graph.nodes:
            same = all(new[o] is o for o in node.operands)
            if (same and node in stable) or node.op is PARAMETER:
                new[node] = node
                continue
            if same and not rules[node.op]:
                stable.add(node)
                new[node] = node
                continue
            table.current, table.device = graph.locations(node), node.device
            now = node if same else table.copy(node, [new[o] for o in node.operands])
            new[node] = _apply(now, rules, stable, fuel)
    table.current, table.device = (), None
    return graph.with_results([new[r] for r in graph.results])


def _apply(node: Node, rules: _Rules, stable: set[Node], fuel: Fuel | None) -> Node:
    for _ in range(LIMIT):
        if node in stable:
            return node
        for rule in rules[node.op]:
            replacement = rule(node)
            if replacement is not None and replacement is not node:
                if fuel is not None and not fuel.spend(rule, node, replacement):
                    return node
                node = replacement
                break
        else:
            stable.add(node)
            return node
    return node
