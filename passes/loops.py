"""Loops and branches made smaller: nothing is carried in vain, what never changes is computed before the loop.

``rotate`` brings every while into the form that the Plan has: its condition is a value that it carries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mlc.ir.graph import (
    CASE,
    CONSTANT,
    CONVERT,
    GET_TUPLE_ELEMENT,
    PARAMETER,
    WHILE,
    Graph,
    Node,
    Op,
    Table,
    inline,
    invariants,
    reachable,
    results_of,
)  # fmt: skip
from mlc.ir.graph.control import branch_of
from mlc.ir.types import TupleType

from .grouping import MOVES
from .simplify import fold_scalar

Make = Callable[[Node, set[int]], Sequence[Node | None] | None]


def tighten(graph: Graph) -> Graph:
    """Drop what loops and branches take or give in vain, and move what is the same in every trip in front of loops."""
    for op, make in ((CASE, _narrow), (WHILE, _drop_unused), (WHILE, _hoist)):
        if any(n.op is op for n in graph.nodes):
            graph = _replace(graph, op, make)
    return graph


def rotate(graph: Graph) -> Graph:
    """while cond(x): x = body(x) -> p = cond(x); while p: x = body(x), p = cond(x). The body computes both at once.

    A loop whose condition is false to begin with is what it was given.
    """
    return _replace(graph, WHILE, _carry_condition)


def is_rotated(node: Node) -> bool:
    """Whether a while goes by a bool that it carries."""
    return node["cond"].results[0].op is PARAMETER


def _replace(graph: Graph, op: Op, make: Make) -> Graph:
    """The graph with each node of ``op`` replaced by what ``make`` gives for its elements (None: nobody reads it)."""
    table = graph.table
    used = _used_elements(graph, op)
    new: dict[Node, Node] = {}
    parts: dict[Node, Sequence[Node | None]] = {}
    with table.active():
        for node in graph.nodes:
            if node.op is GET_TUPLE_ELEMENT and node.operands[0] in parts:
                element = parts[node.operands[0]][node["index"]]
                assert element is not None
                new[node] = element
                continue
            with table.at(graph.locations(node), node.device):
                rebuilt = table.rebuild(node, [new[o] for o in node.operands])
                found = make(rebuilt, used[node]) if node.op is op else None
            new[node] = rebuilt
            if found is not None and isinstance(node.type, TupleType):
                parts[node] = found
            elif found is not None:
                assert found[0] is not None
                new[node] = found[0]
    return graph.with_results([new[r] for r in graph.results])


def _used_elements(graph: Graph, op: Op) -> dict[Node, set[int]]:
    """For each node of ``op``, which of its results the graph reads."""
    used: dict[Node, set[int]] = {n: set() for n in graph.nodes if n.op is op}
    for node in graph.nodes:
        for operand in node.operands:
            if operand in used:
                used[operand].add(node["index"] if isinstance(operand.type, TupleType) else 0)
    for result in graph.results:
        if result in used:
            used[result].add(0)
    return used


def _narrow(node: Node, used: set[int]) -> Sequence[Node | None] | None:
    """The branch itself where its number is a constant; else only results that are read, from operands that are."""
    index, *operands = node.operands
    branches: tuple[Graph, ...] = node["branches"]
    if index.op is CONSTANT:
        return inline(branches[branch_of(int(index["value"].array), len(branches))], operands)
    kept = sorted(used)
    thin = [b.with_results([b.results[i] for i in kept]) for b in branches]
    read = [i for i in range(len(operands)) if any(b.parameters[i] in _read_by(b) for b in thin)]
    count = len(branches[0].results)
    if len(kept) == count and len(read) == len(operands):
        return None
    narrow = tuple(Graph(b.name, [b.parameters[i] for i in read], b.results, b.table) for b in thin)
    values: list[Node | None] = [None] * count
    for i, result in zip(kept, results_of(CASE(index, *(operands[i] for i in read), branches=narrow)), strict=True):
        values[i] = result
    return values


def _read_by(graph: Graph) -> set[Node]:
    return set(reachable(graph.results))


def _drop_unused(node: Node, used: set[int]) -> Sequence[Node | None] | None:
    """Carry only what is read behind the loop, by its condition, or on the way to these; invariants are themselves."""
    cond, body = node["cond"], node["body"]
    same = invariants(node)
    needed = set(used)
    work = [*(body.results[i] for i in used), *cond.results]
    position = {p: i for g in (cond, body) for i, p in enumerate(g.parameters)}
    while work:
        for p in reachable(work):
            i = position.get(p)
            if i is not None:
                needed.add(i)
        work = [body.results[i] for i in needed if i not in used]
        used = used | needed
    carried = [i for i in range(len(same)) if i in needed and not (same[i] and not _is_read(i, cond, body))]
    values: list[Node | None] = [o if s else None for o, s in zip(node.operands, same, strict=True)]
    if len(carried) == len(same) and not any(same):
        return None
    if not carried:  # the condition reads nothing: it is never or always true
        return None
    results = results_of(_with_carried(node, carried))
    for i, result in zip(carried, results, strict=True):
        values[i] = values[i] if same[i] else result
    return values


def _is_read(i: int, cond: Graph, body: Graph) -> bool:
    """Whether anything but the handing on reads value ``i``."""
    mine = body.parameters[i]
    others = [r for j, r in enumerate(body.results) if j != i]
    return mine in reachable(others) or cond.parameters[i] in reachable(cond.results)


def _with_carried(node: Node, carried: Sequence[int]) -> Node:
    """The while with only these of its values."""
    cond, body = (
        Graph(g.name, [g.parameters[i] for i in carried], g.results, g.table) for g in (node["cond"], node["body"])
    )
    body = Graph(body.name, body.parameters, [node["body"].results[i] for i in carried], body.table)
    return WHILE(*(node.operands[i] for i in carried), cond=cond, body=body)


def _hoist(node: Node, used: set[int]) -> Sequence[Node | None] | None:
    """Compute what depends on invariants alone before the loop, where it is more than moving and making data."""
    body, count = node["body"], len(node.operands)
    same = invariants(node)
    outer = dict(zip(body.parameters, node.operands, strict=True))
    fixed = {p for p, s in zip(body.parameters, same, strict=True) if s}
    made: set[Node] = set()  # fixed, from constants by moving and converting: as well made where they are read
    costs: set[Node] = set()  # fixed, and computed
    for n in body.nodes:
        if n.op is PARAMETER or n.op is WHILE or n.op is CASE or isinstance(n.type, TupleType) or n.op.effect:
            continue
        if n.op is CONSTANT or (all(o in fixed for o in n.operands) and n.op is not GET_TUPLE_ELEMENT):
            fixed.add(n)
            if not n.operands or (all(o in made for o in n.operands) and (n.op in MOVES or n.op is CONVERT)):
                made.add(n)
            elif n.op not in MOVES or any(o in costs for o in n.operands):
                costs.add(n)
    inside = [n for n in body.nodes if n not in fixed]
    reads = dict.fromkeys(o for n in inside for o in n.operands if o in costs)
    roots = [*reads, *(r for r in dict.fromkeys(body.results) if r in costs and r not in reads)]
    if not roots:
        return None
    lifted = inline(Graph("invariant", body.parameters, roots, body.table), [outer[p] for p in body.parameters])
    inner = _with_parameters(body, {root: root for root in roots})
    cond_table = node["cond"].table
    extra = [cond_table.parameter(r.type) for r in roots]
    cond = Graph(node["cond"].name, (*node["cond"].parameters, *extra), node["cond"].results, cond_table)
    return results_of(WHILE(*node.operands, *lifted, cond=cond, body=inner))[:count]


def _with_parameters(body: Graph, replaced: Mapping[Node, Node]) -> Graph:
    """``body`` with further parameters, handed on as they are, in place of some of its nodes."""
    table = Table()
    new: dict[Node, Node] = {}
    with table.active():
        parameters = [table.parameter(p.type, p["name"]) for p in body.parameters]
        new.update(zip(body.parameters, parameters, strict=True))
        extra = [table.parameter(r.type) for r in replaced]
        new.update(zip(replaced, extra, strict=True))
        for n in body.nodes:
            if n not in new:
                with table.at(body.locations(n)):
                    new[n] = table.copy(n, [new[o] for o in n.operands])
    return Graph(body.name, [*parameters, *extra], [*(new[r] for r in body.results), *extra], table)


def _carry_condition(node: Node, used: set[int]) -> Sequence[Node | None] | None:
    if is_rotated(node):
        return None
    cond, body = node["cond"], node["body"]
    (begin,) = inline(cond, node.operands)
    begin = fold_scalar(begin) or begin
    if begin.op is CONSTANT and not begin["value"].array:
        return node.operands
    table = Table()
    with table.active():
        parameters = [table.parameter(p.type, p["name"]) for p in body.parameters]
        results = inline(body, parameters)
        (again,) = inline(cond, results)
        test = table.parameter(begin.type, "again")
    rotated = Graph(body.name, [*parameters, test], [*results, again], table)
    table = Table()
    with table.active():
        parameters = [table.parameter(p.type, p["name"]) for p in (*body.parameters, test)]
    going_on = Graph(cond.name, parameters, parameters[-1:], table)
    return results_of(WHILE(*node.operands, begin, cond=going_on, body=rotated))[:-1]
