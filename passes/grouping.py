"""Which nodes share a region, first: groups that grow from users to producers."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.dims import bounds
from mlc.ir.graph import (
    BROADCAST_IN_DIM,
    CONCATENATE,
    CONSTANT,
    CONVERT,
    CONVOLUTION,
    DOT_GENERAL,
    DYNAMIC_SLICE,
    DYNAMIC_UPDATE_SLICE,
    GATHER,
    GET_TUPLE_ELEMENT,
    IOTA,
    OPS,
    OPTIMIZATION_BARRIER,
    PAD,
    PARAMETER,
    REDUCE,
    REDUCE_WINDOW,
    RESHAPE,
    REVERSE,
    SCATTER,
    SIZE,
    SLICE,
    SORT,
    TRANSPOSE,
    Graph,
    Node,
    users,
)  # fmt: skip
from mlc.ir.types import Shape, TensorType

from .regions import stands_alone
from .rows import RowSpace

MOVES = frozenset((BROADCAST_IN_DIM, RESHAPE, TRANSPOSE, SLICE, PAD, CONCATENATE, REVERSE))
MAKES = frozenset((IOTA, SIZE, CONSTANT))
EXPENSIVE_FLOPS = 4  # an op that costs at least this much an element is computed once and stored rather than repeated
_DIVISIONS = frozenset(OPS[name] for name in ("divide", "sqrt", "power", "remainder"))
_SPELLED_OUT = {OPS["power"]: 24, OPS["remainder"]: 8}  # one operation each by name, and many when code is generated
MOST_REPEATED = 3  # cheap ops in a row that several groups compute rather than read


_PRODUCTS = {DOT_GENERAL: "contraction", CONVOLUTION: "convolution"}  # ops that read each element many times
_KINDS = {**_PRODUCTS, REDUCE: "reduce", SCATTER: "scatter", DYNAMIC_UPDATE_SLICE: "update", SORT: "sort",
          REDUCE_WINDOW: "cumulative"}  # fmt: skip
_HEARTS = {"row": REDUCE, **{kind: op for op, kind in _KINDS.items()}}
_LOOKS_UP = frozenset((GATHER, DYNAMIC_SLICE))  # reads at places that other operands say


class Group:
    """Nodes that will be one region. ``shape`` is that of every result; ``kind`` says which schedule takes it.

    Results of a row group have the shape of its ``space`` or of that's rows. A while or case, with the elements of its
    tuple, or a copy is a group of kind ``control``, which nothing joins. The rest is known once groups have grown:
    ``reads`` are values from outside, ``stored`` nodes that others read from memory, ``before`` and ``after`` the
    groups whose results this one reads (through views too) and those that read its own. What is ``turned`` stores its
    result with the axes in another order, and takes nothing more. ``work`` is how much code its nodes become.
    """

    __slots__ = (
        "after", "before", "first", "kind", "last", "nodes", "reads", "shape", "space", "stored", "turned", "work",
    )  # fmt: skip

    def __init__(self, kind: str, root: Node) -> None:
        self.kind = kind
        self.nodes: dict[Node, None] = {root: None}
        self.shape: Shape = root.shape if isinstance(root.type, TensorType) else ()
        self.space: RowSpace | None = None
        self.reads: dict[Node, None] = {}
        self.stored: list[Node] = []
        self.before: dict[Group, None] = {}
        self.after: dict[Group, None] = {}
        self.first = self.last = root.uid
        self.turned = False
        self.work = work_of(root)

    def add(self, node: Node) -> None:
        if node not in self.nodes:
            self.work += work_of(node)
        self.nodes[node] = None
        self.first, self.last = min(self.first, node.uid), max(self.last, node.uid)

    @property
    def device(self) -> str | None:
        """Where all of its nodes are, but for constants among others, which are everywhere."""
        root = next(iter(self.nodes))
        return next((n for n in self.nodes if n.op is not CONSTANT), root).device

    @property
    def heart(self) -> Node | None:
        """The contraction, convolution, scatter, update, sort, or one of the reductions, that gives its kind."""
        wanted = _HEARTS.get(self.kind)
        return next((n for n in self.nodes if n.op is wanted), None) if wanted else None

    def in_order(self, results: Sequence[Node]) -> list[Node]:
        """What ``results`` need, operands first, by a walk from them: equal regions come out in equal order."""
        order: dict[Node, None] = {}
        work = list(reversed(results))
        open_: set[Node] = set()
        while work:
            node = work[-1]
            if node in order or node not in self.nodes:
                work.pop()
            elif node in open_:
                work.pop()
                order[node] = None
            else:
                open_.add(node)
                work.extend(o for o in reversed(node.operands) if o not in order)
        return list(order)


def work_of(node: Node) -> int:
    """Operations for one element, which code grows with."""
    if node.op in MAKES or node.op is PARAMETER or node.op is BROADCAST_IN_DIM or node.op is RESHAPE:
        return 0
    if not node.op.elementwise:
        return 1
    if node.op in _SPELLED_OUT:
        return _SPELLED_OUT[node.op]
    return max(1, bounds(node.op.flops(node))[1] // max(1, bounds(node.tensor.size)[1]))


def is_view(node: Node) -> bool:
    """Another name of its operand's memory: a barrier, or a reshape that changes more than axes of size 1."""
    if node.op is OPTIMIZATION_BARRIER:
        return True
    if node.op is not RESHAPE:
        return False
    return [n for n in node.shape if n != 1] != [n for n in node.operands[0].shape if n != 1]


def is_outside(node: Node) -> bool:
    """Nodes that are in no group: parameters, constants that are arrays, views."""
    return node.op is PARAMETER or (node.op is CONSTANT and node.shape != ()) or is_view(node)


def is_expensive(node: Node) -> bool:
    if node.op in MOVES or node.op in MAKES:
        return False
    size = node.tensor.size
    flops = node.op.flops(node)
    return flops != 0 and (node.op in _DIVISIONS or flops == size * EXPENSIVE_FLOPS or _at_least(flops, size))


def _at_least(flops: object, size: object) -> bool:
    if isinstance(flops, int) and isinstance(size, int):
        return flops >= size * EXPENSIVE_FLOPS
    least = flops.bounds[1] if not isinstance(flops, int) else flops  # type: ignore[attr-defined]
    most = size.bounds[1] if not isinstance(size, int) else size  # type: ignore[attr-defined]
    return bool(least >= most * EXPENSIVE_FLOPS)


def is_repeatable(node: Node) -> bool:
    """Cheap enough to be computed again in every group that reads it."""
    return node.op in MAKES or node.op is BROADCAST_IN_DIM or node.op is RESHAPE or node.op is CONVERT


def _is_read_often(node: Node, operand: Node) -> bool:
    """Whether computing ``operand`` for every element of ``node`` that looks it up may cost more than storing it."""
    if operand.op in MAKES or operand.op in MOVES or operand is not node.operands[0]:
        return False
    if is_expensive(operand):
        return True
    return bool(bounds(node.tensor.size)[1] > bounds(operand.tensor.size)[0])


class Grouping:
    """The groups of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users = users(graph.nodes)
        self.views = {n for n in graph.nodes if is_view(n)}
        self.groups_of: dict[Node, list[Group]] = {}
        self.results = set(graph.results)
        self.repeated: set[Node] = set()  # cheap nodes that each of several groups computes for itself
        self.stored = {  # nodes that must be in memory whoever reads them
            o
            for n in graph.nodes
            for o in n.operands
            if n.op in _PRODUCTS
            or is_view(n)
            or stands_alone(n)
            or (n.op in (CONCATENATE, PAD, SCATTER) and is_expensive(o))
            or (n.op in _LOOKS_UP and _is_read_often(n, o))
        } | self.results
        self.stored |= {n for n in graph.nodes if self._is_shifted(n)}

    def _is_shifted(self, node: Node) -> bool:
        """Computed here and read by slices and pads that overlap: each of them would compute it again."""
        if not node.op.elementwise or node.op is CONVERT:
            return False
        moved = sum(bounds(u.tensor.size)[1] for u in self.users.get(node, ()) if u.op is SLICE or u.op is PAD)
        return 2 * moved > 3 * bounds(node.tensor.size)[1]

    # ---------------------------------------------------------------- growing

    def grow(self) -> None:
        """Give every node its groups, users first."""
        for node in reversed(self.graph.nodes):
            if is_outside(node) or (not self.users.get(node) and node not in self.results):
                continue
            if node.op is GET_TUPLE_ELEMENT:  # in the group of its while or case
                continue
            if stands_alone(node):
                self._start_control(node)
                continue
            into = self._groups_that_read(node)
            kind = _KINDS.get(node.op)
            if kind is not None:
                self._start(kind, node)
            elif node.op is CONSTANT and node not in self.results:
                self._join(node, into)
            elif node in self.stored or not into:
                self._start("loop", node)
            elif (len(into) == 1 and self._may_join(node)) or is_repeatable(node) or self._repeat(node):
                self._join(node, into)
            else:
                self._start("loop", node)

    def _groups_that_read(self, node: Node) -> list[Group]:
        found: dict[int, Group] = {}
        for user in self.users.get(node, ()):
            for group in self.groups_of.get(user, ()):
                if group.kind != "control":
                    found[id(group)] = group
        return list(found.values())

    def _may_join(self, node: Node) -> bool:
        """Not where an expensive value would be computed again for every element it is broadcast to."""
        return not (is_expensive(node) and any(self._enlarges(u, node) for u in self.users[node]))

    def _repeat(self, node: Node) -> bool:
        """Whether each group that reads ``node`` computes it for itself, and what only ``node`` uses with it.

        So it is where that costs at most three cheap ops and takes no more memory to read than the result would: their
        operands are broadcast, counted, constant, and one that is in memory anyway.
        """
        if node in self.repeated:
            return True
        if node.op is SLICE:  # of what is in memory: reading it there costs nothing more
            return self._is_in_memory(node.operands[0], node)
        if not node.op.elementwise or is_expensive(node) or any(u in self.repeated for u in self.users[node]):
            return False
        ops, large = [node], set()
        for op in ops:
            for operand in op.operands:
                if operand in ops or self._is_small(operand, node):
                    continue
                if len(ops) < MOST_REPEATED and self._is_cheap_for_one(operand):
                    ops.append(operand)
                else:
                    large.add(operand)
        if len(large) > 1 or not all(self._is_in_memory(x, node) for x in large):
            return False
        self.repeated.update(ops)
        return True

    def _is_cheap_for_one(self, node: Node) -> bool:
        cheap = node.op.elementwise and not is_expensive(node)
        return cheap and len(self.users[node]) == 1 and node not in self.stored

    def _is_in_memory(self, x: Node, instead_of: Node) -> bool:
        if x.op is PARAMETER or x.op is GET_TUPLE_ELEMENT or stands_alone(x):
            return True
        return x.dtype.bits <= instead_of.dtype.bits and (is_outside(x) or x in self.stored or len(self.users[x]) > 1)

    def _is_small(self, operand: Node, node: Node) -> bool:
        """Made on the spot, or a broadcast of fewer elements."""
        if operand.op is RESHAPE and not is_view(operand):
            return self._is_small(operand.operands[0], node)
        if operand.op is BROADCAST_IN_DIM:
            return operand.operands[0].tensor.size != node.tensor.size
        return operand.op in MAKES and not is_outside(operand)

    @staticmethod
    def _enlarges(user: Node, node: Node) -> bool:
        return user.op is BROADCAST_IN_DIM and user.tensor.size != node.tensor.size

    def _start_control(self, node: Node) -> None:
        group = Group("control", node)
        for user in self.users.get(node, ()):
            if user.op is GET_TUPLE_ELEMENT:
                group.add(user)
        self.groups_of.update((n, [group]) for n in group.nodes)

    def _start(self, kind: str, node: Node) -> None:
        self.groups_of[node] = [Group(kind, node)]

    def _join(self, node: Node, groups: list[Group]) -> None:
        self.groups_of[node] = list(groups)
        for group in groups:
            group.add(node)

    # ---------------------------------------------------------------- what groups know of each other

    def link(self) -> None:
        """Fill in what each group reads and stores, and its neighbours."""
        for group in self.groups():
            for node in group.nodes:
                for operand in node.operands:
                    if operand not in group.nodes:
                        group.reads[operand] = None
            for operand in group.reads:
                producer = None if operand.op is CONSTANT else self.owner(self.source(operand))
                if producer is not None:
                    group.before[producer] = None
                    producer.after[group] = None
            group.stored = [n for n in group.nodes if self.is_stored(n)]

    def groups(self) -> list[Group]:
        """All groups, in the order of their last node."""
        found = dict.fromkeys(g for gs in self.groups_of.values() for g in gs)
        return sorted(found, key=lambda g: g.last)

    def owner(self, node: Node) -> Group | None:
        """The one group that computes ``node``, where there is one."""
        groups = self.groups_of.get(node, ())
        return groups[0] if len(groups) == 1 else None

    def source(self, node: Node) -> Node:
        """What ``node`` is a view of; itself, where it is no view."""
        while node in self.views:
            node = node.operands[0]
        return node

    def is_stored(self, node: Node) -> bool:
        """Whether the one group that computes ``node`` has others read it from memory.

        Loops and branches take a constant from where the plan has it.
        """
        group = self.owner(node)
        if group is None or node.op is CONSTANT:
            return group is not None and node in self.results
        return node in self.results or (
            any(u in self.views or any(g is not group for g in self.groups_of.get(u, ())) for u in self.users[node])
        )
