"""One loop for two that start with the same values, where the one computes all that the other does.

Derivatives make such pairs: the loop of the program, and the same loop that also keeps what the way back needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mlc.ir.graph import GET_TUPLE_ELEMENT, WHILE, Graph, Node
from mlc.ir.graph.scan import Scan, is_scan
from mlc.ir.types import TupleType


def merge_loops(graph: Graph) -> Graph:
    """Take the results of scans and whiles from larger ones that give the same; these are before they are opened."""
    loops = [n for n in graph.nodes if n.op is WHILE or is_scan(n)]
    larger = {n: found for n in loops if (found := _larger(n, loops)) is not None}
    if not larger:
        return graph
    table = graph.table
    new: dict[Node, Node] = {}
    work = list(graph.results)
    with table.active():
        while work:
            node = work[-1]
            source = _source(node, larger)
            needed = [source[0]] if source else node.operands
            missing = [o for o in needed if o not in new]
            if missing and node not in new:
                work.extend(missing)
                continue
            work.pop()
            if node in new:
                continue
            with table.at(graph.locations(node)):
                if source:
                    new[node] = GET_TUPLE_ELEMENT(new[source[0]], index=source[1])
                else:
                    new[node] = table.rebuild(node, [new[o] for o in node.operands])
    return graph.with_results([new[r] for r in graph.results])


def _source(node: Node, larger: dict[Node, tuple[Node, dict[int, int]]]) -> tuple[Node, int] | None:
    """The loop and element that gives what ``node`` is, where that is one of a loop to be replaced."""
    loop, index = (node.operands[0], node["index"]) if node.op is GET_TUPLE_ELEMENT else (node, 0)
    if loop not in larger or (node is loop and isinstance(loop.type, TupleType)):
        return None
    other, places = larger[loop]
    return other, places[index]


def _larger(node: Node, loops: Iterable[Node]) -> tuple[Node, dict[int, int]] | None:
    """The largest loop that covers this one, and where its elements are."""
    found: tuple[Node, dict[int, int]] | None = None
    most = _count(node)
    for other in loops:
        if other is not node and other.op is node.op and _count(other) > most:
            places = _cover_scan(node, other) if is_scan(node) else _cover_while(node, other)
            if places is not None:
                found, most = (other, places), _count(other)
    return found


def _count(node: Node) -> int:
    return len(node.type.elements) if isinstance(node.type, TupleType) else 1


def _cover_scan(small: Node, large: Node) -> dict[int, int] | None:
    """Where the results of a scan are among those of another with more results a trip, or more carried behind them."""
    if not is_scan(large) or large.operands != small.operands:
        return None
    one, other = Scan.of(small), Scan.of(large)
    same = replace(one, body=other.body) == other
    count = len(one.body.results)
    if not same or not _is_start(one.body, other.body, len(other.body.parameters), count):
        return None
    return {i: i for i in range(count)}


def _cover_while(small: Node, large: Node) -> dict[int, int] | None:
    """As for scans: the first values of ``large`` are those of ``small``, and go by the same condition."""
    count = len(small.operands)
    if large.operands[:count] != small.operands:
        return None
    same = _is_start(small["cond"], large["cond"], count, 1) and _is_start(small["body"], large["body"], count, count)
    return {i: i for i in range(count)} if same else None


def _is_start(small: Graph, large: Graph, parameters: int, results: int) -> bool:
    """Whether the first results of ``large`` are those of ``small``, from its first parameters alone."""
    start = Graph(large.name, large.parameters[:parameters], large.results[:results], large.table)
    if any(n.op.name == "parameter" and n not in start.parameters for n in start.nodes):
        return False
    return start.fingerprint == small.fingerprint
