"""Rebuild the part of a graph that changes when some of its nodes are replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import InternalError
from ..ir.graph import GET_TUPLE_ELEMENT, OPTIMIZATION_BARRIER, REGIONS, Graph, Node, current_table, inline, reachable


def substitute(results: Sequence[Node], mapping: Mapping[Node, Node]) -> list[Node]:
    """``results`` with every node of ``mapping`` replaced, rebuilt in the active table at the locations they had.

    Replacements have the types of what they replace and are not themselves searched; what depends on no replaced node
    is the same node as before. Iterative: the depth of the graph is not limited by the stack.
    """
    for old, new in mapping.items():
        if old.type != new.type:
            raise InternalError(f"substitute: {old!r} cannot become {new!r}: the types differ")
    return _rebuild(results, mapping, lambda node: False)


def open_regions(results: Sequence[Node], sources: Sequence[Node], keep: Callable[[Node], bool]) -> list[Node]:
    """``results`` with each call and composite that depends on ``sources`` inlined, nested ones too, unless ``keep``.

    The nodes of ``sources`` themselves stay as they are.
    """
    leaves = {source: source for source in sources}
    while True:
        region = [n for n in dependents(reachable(results), sources) if n.op.name in REGIONS]
        opened = {n for n in region if n not in leaves and not keep(n)}
        if not opened:
            return list(results)
        results = _rebuild(results, leaves, opened.__contains__)


def dependents(nodes: Sequence[Node], sources: Sequence[Node]) -> dict[Node, None]:
    """Those of ``nodes`` (topologically ordered) that depend on a node of ``sources``, in order, sources included."""
    found = dict.fromkeys(sources)
    for node in nodes:
        if any(operand in found for operand in node.operands):
            found[node] = None
    return found


def _rebuild(results: Sequence[Node], mapping: Mapping[Node, Node], opened: Callable[[Node], bool]) -> list[Node]:
    table = current_table()
    new: dict[Node, Node] = dict(mapping)
    elements: dict[Node, tuple[Node, ...]] = {}  # the results of opened nodes with more than one
    for node in _above(results, mapping):
        if node in new or node in elements:
            continue
        if node.op is GET_TUPLE_ELEMENT and node.operands[0] in elements:
            new[node] = elements[node.operands[0]][node["index"]]
            continue
        with table.at(table.locations.get(node, ()), node.device):
            if node.op is OPTIMIZATION_BARRIER and node.operands[0] in elements:
                elements[node] = tuple(OPTIMIZATION_BARRIER(e) for e in elements[node.operands[0]])
                continue
            operands = [new[o] for o in node.operands]
            if not opened(node):
                new[node] = table.rebuild(node, operands)
                continue
            region: Graph = node[REGIONS[node.op.name]]
            inner = inline(region, operands)
        if len(region.results) == 1:
            new[node] = inner[0]
        else:
            elements[node] = inner
    return [new[r] for r in results]


def _above(results: Sequence[Node], leaves: Mapping[Node, Node]) -> tuple[Node, ...]:
    """What ``results`` depend on, not looking behind ``leaves``, operands before users."""
    return reachable([r for r in results if r not in leaves], also=leaves)
