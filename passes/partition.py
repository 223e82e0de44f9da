"""Sharded calls to what each rank computes: values cut among ranks stay so as far as the rules lead, the rest is moved.

Forwards, every node gets a choice from how its operands lie. Backwards, what all ranks would compute only to take a
part of it is computed as that part. Then each node is built on the ranks' parts; where a value is needed as it does not
lie, parts are added up (all_reduce, reduce_scatter), gathered (all_gather), or a rank takes its block of what it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from mlc.ir.graph import (
    ADD,
    CASE,
    CONVERT,
    DYNAMIC_SLICE,
    GET_TUPLE_ELEMENT,
    IOTA,
    MULTIPLY,
    PARAMETER,
    REPLICATED,
    SHARDED_CALL,
    WHILE,
    Graph,
    Node,
    Table,
    all_gather,
    all_reduce,
    broadcast_in_dim,
    constant,
    current_table,
    group_size,
    inline,
    reduce_scatter,
    results_of,
    size_value,
    users,
)  # fmt: skip
from mlc.ir.graph.collective import RANK_TYPE, Groups
from mlc.ir.types import I64, Shape, TupleType, ValueType

from .decompose import decompose
from .merge_loops import merge_loops
from .regions import is_control, run_inside
from .sharding import (
    PARTIAL,
    Choice,
    Sharding,
    choose,
    demanded,
    divides,
    is_zero,
    local_attributes,
    local_shape,
    replicated,
)
from .simplify import simplify

Lies = Sharding | tuple[Sharding, ...]


def partition(graph: Graph) -> Graph:
    """The graph with every sharded call as what one rank computes of it."""
    if not any(n.op is SHARDED_CALL for n in graph.nodes):
        return graph
    table = graph.table
    new: dict[Node, Node] = {}
    opened: dict[Node, Sequence[Node]] = {}
    with table.active():
        for node in graph.nodes:
            operands = [new[o] for o in node.operands]
            with table.at(graph.locations(node), node.device):
                if node.op is SHARDED_CALL:
                    opened[node] = _open(graph, node, operands)
                    new[node] = opened[node][0] if opened[node] else node
                elif node.op is GET_TUPLE_ELEMENT and node.operands[0] in opened:
                    new[node] = opened[node.operands[0]][node["index"]]
                else:
                    new[node] = table.rebuild(node, operands)
    return graph.with_results([new[r] for r in graph.results])


def _open(graph: Graph, call: Node, operands: Sequence[Node]) -> Sequence[Node]:
    callee: Graph = call["callee"]
    if group_size(call) == 1:
        return inline(callee, operands[:-1])
    for prepare in (merge_loops, simplify, decompose):
        callee = run_inside(prepare, callee)
    wanted = call["out_shardings"]
    layout = lay_out(callee, call["in_shardings"], group_size(call), wanted)
    ranks = _Ranks(operands[-1], call["replica_groups"])
    return _Emitter(callee, layout, ranks, operands[:-1]).results(wanted)


# ---------------------------------------------------------------- choices


@dataclass(frozen=True)
class Layout:
    """How the nodes of a graph lie, and how each is computed; for loops and branches, the layouts of their regions."""

    lies: Mapping[Node, Lies]
    choices: Mapping[Node, Choice]
    regions: Mapping[Node, Sequence[Layout]]
    wanted: Mapping[Node, tuple[Sharding, ...]]  # the results of loops and branches

    def of(self, node: Node) -> Sharding:
        found = self.lies[node]
        assert isinstance(found, int), node
        return found


def lay_out(
    graph: Graph, parameters: Sequence[Sharding], ranks: int, wanted: Sequence[Sharding] | None = None
) -> Layout:
    """The choices for every node of ``graph`` when its parameters lie so; ``wanted`` says how its results have to."""
    lies: dict[Node, Lies] = dict(zip(graph.parameters, parameters, strict=True))
    choices: dict[Node, Choice] = {}
    regions: dict[Node, Sequence[Layout]] = {}
    of_control: dict[Node, tuple[Sharding, ...]] = {}
    readers, ends = users(graph.nodes), set(graph.results)
    parts = {r for r, s in zip(graph.results, wanted or (), strict=False) if s == PARTIAL}
    for node in graph.nodes:
        if node in lies:
            continue
        if node.op is GET_TUPLE_ELEMENT:
            whole = lies[node.operands[0]]
            lies[node] = whole[node["index"]] if isinstance(whole, tuple) else whole
            choices[node] = replicated(node)
        elif is_control(node):
            own = [_no_part(lies[o]) for o in node.operands]
            if all(s == REPLICATED for s in own):
                choices[node], of_control[node] = replicated(node), (REPLICATED,) * _count(node)
            else:
                found = _loop(node, own, ranks) if node.op is WHILE else _branches(node, own, ranks)
                choices[node], of_control[node], regions[node] = found
            lies[node] = of_control[node] if isinstance(node.type, TupleType) else of_control[node][0]
        else:
            choice = choose(node, [_single(lies[o]) for o in node.operands], ranks)
            reads = len(readers.get(node, ()))
            if choice.result == PARTIAL and (reads > 1 or (node in ends and (reads or node not in parts))):
                choice = replace(choice, result=REPLICATED, fold="add")  # rather once than for each reader
            choices[node] = choice
            lies[node] = (choice.result,) * _count(node) if isinstance(node.type, TupleType) else choice.result
    _sink(graph, lies, choices, readers, wanted or [_single(lies[r]) for r in graph.results], ranks)
    return Layout(lies, choices, regions, of_control)


def _sink(
    graph: Graph,
    lies: dict[Node, Lies],
    choices: dict[Node, Choice],
    readers: Mapping[Node, Sequence[Node]],
    wanted: Sequence[Sharding],
    ranks: int,
) -> None:
    """What all ranks have and every reader wants a part of is computed as that part, readers first."""
    ends: dict[Node, set[Sharding]] = {}
    for result, sharding in zip(graph.results, wanted, strict=True):
        ends.setdefault(result, set()).add(sharding)
    for node in reversed(graph.nodes):
        choice = choices.get(node)
        if choice is None or choice != replicated(node):
            continue
        wants = set(ends.get(node, ()))
        for reader in readers.get(node, ()):
            demands = choices[reader].operands
            wants |= {s for o, s in zip(reader.operands, demands, strict=True) if o is node}
        if len(wants) != 1 or (axis := wants.pop()) < 0:
            continue
        part = demanded(node, axis)
        if part is not None and divides(node, part, ranks):
            choices[node], lies[node] = part, axis


_Control = tuple[Choice, tuple[Sharding, ...], Sequence[Layout]]


def _loop(node: Node, own: Sequence[Sharding], ranks: int) -> _Control:
    """A carried value is cut where each trip leaves it so, a part where it begins as zeros and each trip adds parts:
    these are added up once, behind the loop. Else all ranks have it."""
    shardings = [PARTIAL if s == REPLICATED and _may_be_part(o) else s for o, s in zip(node.operands, own, strict=True)]
    tried: set[int] = set()
    while True:
        body = lay_out(node["body"], shardings, ranks, shardings)
        before, shardings = shardings, list(shardings)
        for i, (s, result) in enumerate(zip(before, node["body"].results, strict=True)):
            after = body.of(result)
            if s == after:
                continue
            shardings[i] = after if after >= 0 and s < 0 and i not in tried else REPLICATED
            tried.update({i} if shardings[i] >= 0 else ())
        if shardings == before:
            break
    cond = lay_out(node["cond"], shardings, ranks, (REPLICATED,))
    return Choice(tuple(shardings), REPLICATED), tuple(shardings), (cond, body)


def _may_be_part(node: Node) -> bool:
    return is_zero(node) and node.dtype.kind != "bool"


def _branches(node: Node, own: Sequence[Sharding], ranks: int) -> _Control:
    """A result is cut where all branches leave it so."""
    layouts = [lay_out(b, own[1:], ranks) for b in node["branches"]]
    ends = [[lay.of(r) for r in b.results] for lay, b in zip(layouts, node["branches"], strict=True)]
    results = tuple(c[0] if len(set(c)) == 1 else REPLICATED for c in zip(*ends, strict=True))
    layouts = [lay_out(b, own[1:], ranks, results) for b in node["branches"]]
    return Choice((REPLICATED, *own[1:]), REPLICATED), results, layouts


def _single(lies: Lies) -> Sharding:
    """Of a tensor; a tuple is read by its elements alone."""
    return lies if isinstance(lies, int) else REPLICATED


def _no_part(lies: Lies) -> Sharding:
    return max(_single(lies), REPLICATED)


def _count(node: Node) -> int:
    return len(node.type.elements) if isinstance(node.type, TupleType) else 1


# ---------------------------------------------------------------- building


@dataclass(frozen=True)
class _Ranks:
    """The rank's own number, a node, and who takes part."""

    rank: Node
    groups: Groups

    @property
    def count(self) -> int:
        return len(self.groups[0])


class _Emitter:
    """Builds a graph on the ranks' parts, in the active table."""

    def __init__(self, graph: Graph, layout: Layout, ranks: _Ranks, operands: Sequence[Node]) -> None:
        self.graph, self.layout, self.ranks = graph, layout, ranks
        self.built: dict[tuple[Node, Sharding], Node] = {}
        self.elements: dict[Node, Sequence[Node]] = {}  # of nodes with several results
        self.table, self.around = current_table(), current_table().current
        for parameter, operand in zip(graph.parameters, operands, strict=True):
            self.built[parameter, layout.of(parameter)] = operand
        for node in graph.nodes:
            if node.op is not PARAMETER:
                with self.at(node):
                    self.build(node)

    def results(self, wanted: Sequence[Sharding]) -> list[Node]:
        found = []
        for result, sharding in zip(self.graph.results, wanted, strict=True):
            with self.at(result):
                found.append(self.value(result, sharding))
        return found

    def at(self, node: Node) -> AbstractContextManager[None]:
        own = self.graph.locations(node)
        return self.table.at(own + tuple(x for x in self.around if x not in own), node.device)

    # ---------------------------------------------------------------- nodes

    def build(self, node: Node) -> None:
        choice = self.layout.choices[node]
        if node.op is GET_TUPLE_ELEMENT:
            self.built[node, self.layout.of(node)] = self.elements[node.operands[0]][node["index"]]
            return
        operands = [self.value(o, s) for o, s in zip(node.operands, choice.operands, strict=True)]
        if node in self.layout.regions:
            found = self.loop(node, operands) if node.op is WHILE else self.branches(node, operands)
        else:
            found = [self.plain(node, choice, operands)]
        if isinstance(node.type, TupleType):
            self.elements[node] = found if node in self.layout.regions else results_of(found[0])
        else:
            self.built[node, self.layout.of(node)] = found[0]

    def plain(self, node: Node, choice: Choice, operands: Sequence[Node]) -> Node:
        if choice == replicated(node):
            return self.table.copy(node, operands)
        attributes = local_attributes(node, choice, self.ranks.count)
        type = node.op.result_type(operands, attributes)
        made = self.table.make(node.op, tuple(operands), type, attributes, device=node.device, remat=node.remat)
        if node.op is IOTA and choice.result == node["dimension"]:
            made = self.counted_on(made, node["dimension"])
        return made if choice.fold is None else all_reduce(made, choice.fold, self.ranks.groups)

    def counted_on(self, made: Node, axis: int) -> Node:
        """A count that goes on from rank to rank."""
        first = self.begin(made.shape, axis)
        first = first if made.dtype == I64 else CONVERT(first, dtype=made.dtype)
        return ADD(made, broadcast_in_dim(first, made.shape, ()))

    def begin(self, part: Shape, axis: int) -> Node:
        """Where this rank's part, of this shape, begins along ``axis`` of the whole."""
        return MULTIPLY(self.ranks.rank, size_value(part[axis]))

    # ---------------------------------------------------------------- loops and branches

    def loop(self, node: Node, operands: Sequence[Node]) -> list[Node]:
        cond, body = self.layout.regions[node]
        types = [o.type for o in operands]
        made = WHILE(
            *operands, self.ranks.rank,
            cond=self.region(node["cond"], cond, types, (REPLICATED,), keep_rank=False),
            body=self.region(node["body"], body, types, self.layout.wanted[node], keep_rank=True),
        )  # fmt: skip
        return list(results_of(made)[:-1])

    def branches(self, node: Node, operands: Sequence[Node]) -> list[Node]:
        types, wanted = [o.type for o in operands[1:]], self.layout.wanted[node]
        made = CASE(*operands, self.ranks.rank, branches=tuple(
            self.region(b, layout, types, wanted, keep_rank=False)
            for b, layout in zip(node["branches"], self.layout.regions[node], strict=True)
        ))  # fmt: skip
        return list(results_of(made))

    def region(
        self, region: Graph, layout: Layout, types: Sequence[ValueType], wanted: Sequence[Sharding], *, keep_rank: bool
    ) -> Graph:
        """A region on the ranks' parts: one more parameter is the rank, and one more result where ``keep_rank``."""
        table = Table()
        with table.active():
            names = [p["name"] for p in region.parameters]
            parameters = [table.parameter(t, n) for t, n in zip(types, names, strict=True)]
            rank = table.parameter(RANK_TYPE, "rank")
            emitter = _Emitter(region, layout, _Ranks(rank, self.ranks.groups), parameters)
            results = emitter.results(wanted)
        return Graph(region.name, (*parameters, rank), (*results, *([rank] if keep_rank else [])), table)

    # ---------------------------------------------------------------- conversions

    def value(self, node: Node, want: Sharding) -> Node:
        """``node`` as it is wanted; converted once."""
        found = self.built.get((node, want))
        if found is None:
            found = self.built[node, want] = self.converted(node, self.layout.of(node), want)
        return found

    def converted(self, node: Node, have: Sharding, want: Sharding) -> Node:
        value, groups = self.built[node, have], self.ranks.groups
        if want == PARTIAL:
            assert is_zero(node), (node, have)  # as many zeros as there are ranks
            return value
        if have == PARTIAL:
            return all_reduce(value, "add", groups) if want < 0 else reduce_scatter(value, "add", groups, want)
        if have >= 0:
            whole = all_gather(value, groups, have)
            self.built[node, REPLICATED] = whole
            return whole if want < 0 else self.block(whole, want)
        assert want >= 0, (node, have, want)
        return self.block(value, want)

    def block(self, whole: Node, axis: int) -> Node:
        """This rank's block of what all ranks have."""
        sizes = local_shape(whole.shape, axis, self.ranks.count)
        zero, first = constant(0, I64), self.begin(sizes, axis)
        starts = [first if i == axis else zero for i in range(len(sizes))]
        return DYNAMIC_SLICE(whole, *starts, slice_sizes=sizes)
