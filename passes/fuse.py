"""Cut the graph into fused regions: each becomes a FUSION node whose body one schedule turns into kernels.

Four steps, each linear in nodes: grow loops from consumers to producers; split what became too long; merge groups that
share data (a contraction or reduction with what follows it, whole rows, siblings that read the same arrays); emit. What
stays outside is parameters, large constants and reshapes, which are views.
"""

from __future__ import annotations

from mlc.ir.graph import (
    CONSTANT,
    CONVERT,
    FUSION,
    GET_TUPLE_ELEMENT,
    IOTA,
    PARAMETER,
    REDUCE,
    RESHAPE,
    SELECT,
    SIZE,
    Graph,
    Node,
    Table,
)  # fmt: skip
from mlc.ir.types import TupleType

from .grouping import MOVES, Group, Grouping
from .merging import merge
from .splitting import split


def fuse(graph: Graph) -> Graph:
    """Replace every computing node by FUSION nodes and the elements of their tuples; what is fused stays as it is."""
    if any(n.op is FUSION for n in graph.nodes):
        return graph
    grouping = Grouping(graph)
    grouping.grow()
    split(grouping)
    grouping.link()
    merge(grouping)
    return emit(grouping)


def emit(grouping: Grouping) -> Graph:
    """The graph of FUSION nodes."""
    graph, table = grouping.graph, grouping.graph.table
    new: dict[Node, Node] = {n: n for n in graph.nodes if n.op is PARAMETER or n.op is CONSTANT}
    bodies: dict[object, Graph] = {}  # equal regions, such as those of equal layers, share one body
    with table.active():
        for group in ordered(grouping):
            if group.kind == "control":
                _emit_control(group, new, grouping)
                continue
            results = sorted(group.stored, key=lambda n: n.uid)
            inside = group.in_order(results)
            operands = list(dict.fromkeys(o for n in inside for o in n.operands if o not in group.nodes))
            for operand in operands:
                _find(operand, new, grouping)
            heart = group.heart
            first = inside if heart is None else (heart, *inside)
            locations = tuple(dict.fromkeys(x for n in first for x in graph.locations(n)))
            with table.at(locations, group.device):
                key = _structure(inside, operands, results)
                if key not in bodies:
                    bodies[key] = body_of_group(group, inside, operands, results, graph)
                body = bodies[key]
                fusion = FUSION(*(new[o] for o in operands), kind=group.kind, body=body)
                for i, result in enumerate(results):
                    is_tuple = isinstance(fusion.type, TupleType)
                    new[result] = GET_TUPLE_ELEMENT(fusion, index=i) if is_tuple else fusion
        for result in graph.results:
            _find(result, new, grouping)
    return graph.with_results([new[r] for r in graph.results])


def _emit_control(group: Group, new: dict[Node, Node], grouping: Grouping) -> None:
    """The while or case itself, its regions as they are, and the elements of its tuple."""
    table = grouping.graph.table
    for node in sorted(group.nodes, key=lambda n: n.uid):
        for operand in node.operands:
            _find(operand, new, grouping)
        with table.at(grouping.graph.locations(node), node.device):
            new[node] = table.rebuild(node, [new[o] for o in node.operands])


def _find(node: Node, new: dict[Node, Node], grouping: Grouping) -> None:
    """Make the views that lead from a stored value to ``node``."""
    chain = []
    while node not in new:
        chain.append(node)
        node = node.operands[0]
    for view in reversed(chain):
        with grouping.graph.table.at(grouping.graph.locations(view), view.device):
            new[view] = grouping.graph.table.rebuild(view, (new[view.operands[0]],))


def ordered(grouping: Grouping) -> list[Group]:
    """Groups, producers first; among those that are ready, in the order of the program."""
    order: list[Group] = []
    state: dict[Group, bool] = {}
    for first in grouping.groups():
        work = [first]
        while work:
            group = work[-1]
            if group in state:
                work.pop()
                if not state[group]:
                    state[group] = True
                    order.append(group)
                continue
            state[group] = False
            work.extend(p for p in sorted(group.before, key=lambda g: g.first) if p not in state)
    return order


def _structure(inside: list[Node], operands: list[Node], results: list[Node]) -> object:
    """Equal for regions whose bodies compute the same."""
    number = {n: i for i, n in enumerate((*operands, *inside))}
    nodes = tuple([
        (n.op.name, tuple([number[o] for o in n.operands]), n.type, n.attributes_key, n.device, n.sharding, n.layout,
         n.remat)
        for n in inside
    ])  # fmt: skip
    return tuple([o.type for o in operands]), nodes, tuple([number[r] for r in results])


def body_of_group(
    group: Group, inside_nodes: list[Node], operands: list[Node], results: list[Node], graph: Graph
) -> Graph:
    """The group as a closed graph in a table of its own."""
    table = Table()
    with table.active():
        inside: dict[Node, Node] = {o: table.parameter(o.type) for o in operands}
        parameters = list(inside.values())
        for node in inside_nodes:
            table.current = graph.locations(node)
            inside[node] = table.copy(node, [inside[o] for o in node.operands])
    table.current = ()
    return Graph(name_of(group), parameters, [inside[r] for r in results], table)


def name_of(group: Group) -> str:
    """A short name from the ops that matter, for kernel symbols and profiles."""
    short = {"dot_general": "dot", "exponential": "exp", "maximum": "max", "minimum": "min", "multiply": "mul",
             "subtract": "sub", "divide": "div", "broadcast_in_dim": "broadcast",
             "dynamic_slice": "slice", "dynamic_update_slice": "update"}  # fmt: skip
    silent = {CONSTANT, SIZE, SELECT, CONVERT, IOTA, RESHAPE}
    if any(n.op not in MOVES and n.op not in silent for n in group.nodes):
        silent |= MOVES
    heart = group.heart
    ops = [n for n in sorted(group.nodes, key=lambda n: (n is not heart, n.uid)) if n.op not in silent]
    words: list[str] = []
    for node in ops:
        word = f"reduce_{node['body'].name}" if node.op is REDUCE else node.op.name
        word = short.get(word, word)
        if word not in words:
            words.append(word)
    name = "_".join(words[:4]) or "fill"
    return f"{name}_etc" if len(words) > 4 else name
