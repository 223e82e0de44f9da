"""Assign every node to a device of the machine, by annotation and by cost, and copy what crosses between them.

Annotated nodes stay where they are told to. The others go where computing and copying take the least time together:
for two devices a minimum cut, which is exact (Stone 1977, "Multiprocessor scheduling with the aid of network flow
algorithms"); for more, minimum cuts between pairs until none is better (Boykov et al. 2001, alpha-beta swap).
Arguments are in the memory of the program's home, and results go there: the host, or a GPU, on which then everything
is computed that says nothing else. What a GPU cannot do (``refused``) is done on the host. A loop or branch is on one
device with all that its regions compute. Nodes of the host carry no device, so that a program without annotations on a
machine of one device is left as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from mlc.errors import TargetError, UnsupportedError
from mlc.ir.device import Device, Machine
from mlc.ir.graph import (
    ALL_REDUCE,
    COLLECTIVES,
    CONSTANT,
    COPY,
    GET_TUPLE_ELEMENT,
    IOTA,
    PARAMETER,
    REDUCE_SCATTER,
    SIZE,
    Graph,
    Node,
    Table,
)
from mlc.ir.graph.cost import Cost, node_cost, value_bytes
from mlc.ir.types import BOOL

from .regions import changed_regions, is_control, regions_of

ANYWHERE = frozenset((CONSTANT, IOTA, SIZE))  # made on each device that reads them
ON_HOST = COLLECTIVES
"""The rows that run on the host where all else is on a GPU: MPI uses the host's memory. NCCL does most on the GPU."""
PICOSECONDS = 1e12  # costs are whole picoseconds: flows of integers are exact


def place(
    graph: Graph, machine: Machine | None = None, home: str | None = None, refused: frozenset[Refusal] = frozenset()
) -> Graph:
    """The graph with every node on a device of ``machine`` and a ``copy`` for each value that another device reads.

    Parameters are on ``home``, and results go there; None is the host. Raises, with the user's line, TargetError for a
    device that the machine has not, and UnsupportedError for a loop or branch that names two.
    """
    machine = machine or Machine()
    host = machine.host.name
    home = machine.device(home).name if home else host
    fixed = _annotations(graph, machine)
    if not fixed and home == host and len(machine.devices) == 1:
        return graph
    if home != host:
        fixed = {n: fixed.get(n, home) for n in graph.nodes if n.op not in ANYWHERE and n.op is not PARAMETER}
    gpus = {d.name for d in machine.devices if d.target is not None}
    fixed |= {n: host for n in _impossible(graph, refused) if fixed.get(n) in gpus}
    return _with_copies(graph, _assigned(graph, machine, fixed, home), host, home)


Refusal = tuple[object, ...]  # what a GPU cannot do: the name of an op, alone or with operands, type and attributes


def refusal_of(node: Node) -> Refusal:
    """What ``place`` knows ``node`` by among the refused, whatever graph it is in."""
    return (node.op.name, tuple(o.type for o in node.operands), node.type, node.attributes_key)


def _impossible(graph: Graph, refused: frozenset[Refusal]) -> list[Node]:
    """The nodes that are refused, loops and branches that hold one, and the elements of what they give."""
    if not refused:
        return []
    found: dict[Node, None] = {}
    for node in graph.nodes:
        inside = any(_impossible(region, refused) for region in regions_of(node)) if is_control(node) else False
        tuple_of = node.op is GET_TUPLE_ELEMENT and node.operands[0] in found
        if inside or tuple_of or (node.op.name,) in refused or refusal_of(node) in refused:
            found[node] = None
    return list(found)


def _annotations(graph: Graph, machine: Machine) -> dict[Node, str]:
    """The devices that the program says, by node; elements of a tuple are where the tuple is."""
    fixed: dict[Node, str] = {}
    for node in graph.nodes:
        if node.op is GET_TUPLE_ELEMENT:
            if node.operands[0] in fixed:
                fixed[node] = fixed[node.operands[0]]
        elif is_control(node):
            names = _devices_inside(graph, node, machine)
            if len(names) > 1:
                raise UnsupportedError(
                    f"{node.op.name}: a loop or branch runs on one device, and this one names {' and '.join(names)}",
                    location=_line(graph, node), hint="move the mlc.device out of it, or use one device in it",
                )  # fmt: skip
            if names:
                fixed[node] = next(iter(names))
        elif node.op in ON_HOST:
            if len(machine.devices) > 1 and not (machine.nccl and _is_of_nccl(node)):
                fixed[node] = machine.host.name
            elif node.device is not None:
                fixed[node] = _known(graph, node, machine)
        elif node.device is not None and node.op not in ANYWHERE:
            fixed[node] = _known(graph, node, machine)
    return fixed


def _is_of_nccl(node: Node) -> bool:
    """Whether NCCL does a collective as it is meant: what moves bytes; sums and products, but not of 16-bit integers;
    maxima and minima of other integers, since those of floats lose NaN there."""
    if node.op not in (ALL_REDUCE, REDUCE_SCATTER):
        return True
    reduction: str = node["reduction"]
    dtype = node.dtype
    if dtype is BOOL:
        return reduction != "xor"
    if dtype.is_integer:
        return dtype.bits != 16 and reduction in ("add", "multiply", "maximum", "minimum")
    return reduction in ("add", "multiply")


def _known(graph: Graph, node: Node, machine: Machine) -> str:
    """The device that the node says, by its full name."""
    try:
        return machine.device(str(node.device)).name
    except TargetError as error:
        error.location = _line(graph, node)
        raise


def _line(graph: Graph, node: Node) -> str | None:
    locations = graph.locations(node)
    return str(locations[0]) if locations else None


def _devices_inside(graph: Graph, control: Node, machine: Machine) -> dict[str, None]:
    """The devices that a loop or branch and what is in its regions say."""
    found: dict[str, None] = {}
    todo = [(graph, control)]
    while todo:
        where, node = todo.pop()
        if node.op in ON_HOST:
            found[machine.host.name] = None
        elif node.device is not None and node.op not in ANYWHERE:
            found[_known(where, node, machine)] = None
        todo += [(region, n) for region in regions_of(node) for n in region.nodes]
    return found


# ---------------------------------------------------------------- costs


class _Costs:
    """Picoseconds of computing a node on a device, and of moving a value."""

    def __init__(self, graph: Graph, machine: Machine) -> None:
        self.machine = machine
        self.sizes = {s.name: s.upper for s in graph.symbols}
        self.costs: dict[Node, Cost] = {n: node_cost(n, self.sizes) for n in graph.nodes}

    def compute(self, node: Node, device: Device) -> int:
        cost = self.costs[node]
        return int(max(cost.flops / device.flops, cost.bytes_accessed / device.bandwidth) * PICOSECONDS)

    def move(self, value: Node, a: str, b: str) -> int:
        if a == b:
            return 0
        return int(self.machine.link(a, b).seconds(value_bytes(value.type, self.sizes)) * PICOSECONDS)


def _assigned(graph: Graph, machine: Machine, fixed: dict[Node, str], home: str) -> dict[Node, str]:
    """A device for every node that computes: the home for parameters."""
    host = machine.host.name
    where = {n: home if n.op is PARAMETER else fixed.get(n, host) for n in graph.nodes if n.op not in ANYWHERE}
    free = any(n not in fixed and n.op is not PARAMETER for n in where)
    if not free:
        return where
    costs = _Costs(graph, machine)
    best = _total(graph, where, costs)
    improved = len(machine.devices) > 1
    while improved:
        improved = False
        for a, b in itertools.combinations(machine.devices, 2):
            trial = _cut(graph, where, fixed, a, b, costs)
            total = _total(graph, trial, costs)
            if total < best:
                where, best, improved = trial, total, True
        improved = improved and len(machine.devices) > 2  # one cut between two devices is the best there is
    return where


def _total(graph: Graph, where: dict[Node, str], costs: _Costs) -> int:
    """Of computing everything, and of each copy once."""
    devices = {d.name: d for d in costs.machine.devices}
    total = sum(costs.compute(n, devices[d]) for n, d in where.items())
    moves = {(o, where[n]) for n in where for o in n.operands if o in where}
    moves |= {(r, costs.machine.host.name) for r in graph.results if r in where}
    return total + sum(costs.move(value, where[value], to) for value, to in moves)


def _cut(
    graph: Graph, where: dict[Node, str], fixed: dict[Node, str], a: Device, b: Device, costs: _Costs
) -> dict[Node, str]:
    """The best assignment that differs from ``where`` only in which of ``a`` and ``b`` nodes on either are on.

    Ties go to ``a``. The nodes of the source's side of the network are on ``b``.
    """
    import networkx  # type: ignore[import-untyped]  # late: a machine of one device needs none

    host = costs.machine.host.name
    free = {n for n, d in where.items() if d in (a.name, b.name) and n not in fixed and n.op is not PARAMETER}
    network = networkx.DiGraph()
    network.add_nodes_from(("b", "a"))

    def cost_on(node: Node, on_a: int, on_b: int) -> None:
        """What it takes to have ``node`` on either device; the edges that a cut then counts."""
        for u, v, cost in (("b", node, on_a), (node, "a", on_b)):
            if cost:
                old = network.edges[u, v]["capacity"] if network.has_edge(u, v) else 0
                network.add_edge(u, v, capacity=old + cost)

    for node in free:
        cost_on(node, costs.compute(node, a), costs.compute(node, b))
    for value, readers in _readers(graph, where):
        home = where[value]
        if value in free:
            ends = {where[r] for r in readers if r not in free} | ({host} if value in graph.results else set())
            cost_on(value, sum(costs.move(value, a.name, e) for e in ends),
                    sum(costs.move(value, b.name, e) for e in ends))  # fmt: skip
        inside = [r for r in readers if r in free]
        if not inside:
            continue
        if value.op is not GET_TUPLE_ELEMENT and any(r.op is GET_TUPLE_ELEMENT for r in inside):
            for r in inside:  # a tuple and its elements are never apart: edges without capacity are unbounded
                network.add_edge(value, r)
                network.add_edge(r, value)
        elif value in free or home in (a.name, b.name):
            price = costs.move(value, a.name, b.name)
            here: object = value if value in free else "b" if home == b.name else "a"
            to_a, to_b = ("to a", value), ("to b", value)
            network.add_edge(here, to_a, capacity=price)  # the value on b, some reader on a: one copy
            network.add_edge(to_b, here, capacity=price)
            for r in inside:
                network.add_edge(to_a, r)
                network.add_edge(r, to_b)
        else:
            for r in inside:
                cost_on(r, costs.move(value, home, a.name), costs.move(value, home, b.name))
    _, (on_b, _) = networkx.minimum_cut(network, "b", "a")
    return {n: (b.name if n in on_b else a.name) if n in free else d for n, d in where.items()}


def _readers(graph: Graph, where: dict[Node, str]) -> Iterator[tuple[Node, list[Node]]]:
    readers: dict[Node, list[Node]] = {n: [] for n in where}
    for node in where:
        for operand in dict.fromkeys(node.operands):
            if operand in readers:
                readers[operand].append(node)
    yield from readers.items()


# ---------------------------------------------------------------- copies


def _with_copies(graph: Graph, where: dict[Node, str], host: str, home: str) -> Graph:
    table = graph.table
    found: dict[tuple[Node, str], Node] = {}

    def value_on(node: Node, device: str) -> Node:
        """``node`` as ``device`` reads it."""
        if (node, device) not in found:
            with table.at(graph.locations(node), None if device == host else device):
                if node.op in ANYWHERE:
                    found[node, device] = _made(table, node, ())
                else:
                    found[node, device] = COPY(found[node, where[node]])
        return found[node, device]

    with table.active():
        for node, device in where.items():
            if node.op is PARAMETER:
                found[node, device] = node
                continue
            operands = tuple(value_on(o, device) for o in node.operands)
            with table.at(graph.locations(node), None if device == host else device):
                found[node, device] = _made(table, node, operands)
        results = [value_on(r, home) for r in graph.results]
    return graph.with_results(results)


def _made(table: Table, node: Node, operands: tuple[Node, ...]) -> Node:
    """``node`` on the table's current device, with all that its regions compute."""
    changed = changed_regions(node, lambda region: _moved(region, table.device))
    return table.make(
        node.op, operands, node.type, {**node.attributes, **changed}, sharding=node.sharding, layout=node.layout,
        remat=node.remat, attributes_key=None if changed else node.attributes_key,
    )  # fmt: skip


def _moved(region: Graph, device: str | None) -> Graph:
    """The region with everything on the device."""
    table = region.table
    new: dict[Node, Node] = {}
    with table.active():
        for node in region.nodes:
            if node.op is PARAMETER:
                new[node] = node
                continue
            with table.at(region.locations(node), device):
                new[node] = _made(table, node, tuple(new[o] for o in node.operands))
    return region.with_results([new[r] for r in region.results])
