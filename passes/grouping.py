"""Which nodes share a region: groups that grow from users to producers, then merge along edges and as siblings."""

from __future__ import annotations

from collections.abc import Iterator

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
    PAD,
    PARAMETER,
    REDUCE,
    RESHAPE,
    REVERSE,
    SCATTER,
    SIZE,
    SLICE,
    TRANSPOSE,
    Graph,
    Node,
    users,
)  # fmt: skip
from mlc.ir.types import Shape, TensorType

from .regions import is_control
from .rows import RowSpace, is_row, make_rows, row_space

MOVES = frozenset((BROADCAST_IN_DIM, RESHAPE, TRANSPOSE, SLICE, PAD, CONCATENATE, REVERSE))
MAKES = frozenset((IOTA, SIZE, CONSTANT))
EXPENSIVE_FLOPS = 4  # an op that costs at least this much an element is computed once and stored rather than repeated
_DIVISIONS = frozenset(OPS[name] for name in ("divide", "sqrt", "power", "remainder"))
MOST_REPEATED = 3  # cheap ops in a row that several groups compute rather than read
MOST_BUFFERS = 28  # operands and results of one fused kernel: more would spill the pointers


_PRODUCTS = {DOT_GENERAL: "contraction", CONVOLUTION: "convolution"}  # ops that read each element many times
_KINDS = {**_PRODUCTS, REDUCE: "reduce", SCATTER: "scatter", DYNAMIC_UPDATE_SLICE: "update"}
_HEARTS = {"row": REDUCE, **{kind: op for op, kind in _KINDS.items()}}
_LOOKS_UP = frozenset((GATHER, DYNAMIC_SLICE))  # reads at places that other operands say


class Group:
    """Nodes that will be one region. ``shape`` is that of every result; ``kind`` says which schedule takes it.

    Results of a row group have the shape of its ``space`` or of that's rows. A while or case, with the elements of its
    tuple, is a group of kind ``control``, which nothing joins.
    """

    __slots__ = ("kind", "nodes", "shape", "space")

    def __init__(self, kind: str, root: Node) -> None:
        self.kind = kind
        self.nodes: set[Node] = {root}
        self.shape: Shape = root.shape if isinstance(root.type, TensorType) else ()
        self.space: RowSpace | None = None

    @property
    def heart(self) -> Node | None:
        """The contraction, convolution, scatter or update, or one of the reductions, that give the group its kind."""
        wanted = _HEARTS.get(self.kind)
        return next((n for n in self.nodes if n.op is wanted), None) if wanted else None


def is_view(node: Node) -> bool:
    """A reshape that changes more than axes of size 1: it is a view of its operand, which must be in memory."""
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
    """The groups of a graph while they grow and merge."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users = users(graph.nodes)
        self.groups_of: dict[Node, list[Group]] = {}
        self.results = set(graph.results)
        self.repeated: set[Node] = set()  # cheap nodes that each of several groups computes for itself
        self.stored = {  # nodes that must be in memory whoever reads them
            o
            for n in graph.nodes
            for o in n.operands
            if n.op in _PRODUCTS
            or is_view(n)
            or is_control(n)
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
            if is_control(node):
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
        if x.op is PARAMETER or x.op is GET_TUPLE_ELEMENT or is_control(x):
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
        group.nodes.update(u for u in self.users.get(node, ()) if u.op is GET_TUPLE_ELEMENT)
        self.groups_of.update((n, [group]) for n in group.nodes)

    def _start(self, kind: str, node: Node) -> None:
        self.groups_of[node] = [Group(kind, node)]

    def _join(self, node: Node, groups: list[Group]) -> None:
        self.groups_of[node] = list(groups)
        for group in groups:
            group.nodes.add(node)

    # ---------------------------------------------------------------- merging

    def merge(self) -> None:
        """Merge along edges and between siblings until nothing changes."""
        self._merge_behind("contraction")
        self._merge_behind("convolution")
        self._merge_rows()
        self._merge_behind("reduce")
        self._merge_behind("loop")
        self._merge_siblings()

    def _merge_behind(self, kind: str) -> None:
        for group in list(self.groups()):
            if group.kind == kind and group.nodes:
                while self._merge_a_consumer(group):
                    pass

    def groups(self) -> list[Group]:
        """All groups, in the order of their last node."""
        found = {id(g): g for gs in self.groups_of.values() for g in gs}
        return sorted(found.values(), key=lambda g: max(n.uid for n in g.nodes))

    def owner(self, node: Node) -> Group | None:
        """The one group that stores ``node``, where there is one."""
        groups = self.groups_of.get(node, ())
        return groups[0] if len(groups) == 1 else None

    def reads(self, group: Group) -> dict[Node, None]:
        """Values from outside that the group reads."""
        inside = group.nodes
        ordered = sorted(inside, key=lambda n: n.uid)
        return {o: None for n in ordered for o in n.operands if o not in inside}

    def producers(self, group: Group) -> dict[int, Group]:
        """The groups whose results this one reads, through views too."""
        found: dict[int, Group] = {}
        for node in self.reads(group):
            while is_view(node):
                node = node.operands[0]
            owner = self.owner(node)
            if owner is not None:
                found[id(owner)] = owner
        return found

    def consumers(self, group: Group) -> dict[int, Group]:
        """The groups that read this one's results, through views too."""
        found: dict[int, Group] = {}
        work = [u for n in group.nodes if self.owner(n) is group for u in self.users.get(n, ())]
        while work:
            user = work.pop()
            if is_view(user):
                work.extend(self.users.get(user, ()))
            for other in self.groups_of.get(user, ()):
                if other is not group:
                    found[id(other)] = other
        return found

    def _merge_a_consumer(self, group: Group) -> bool:
        ordered = sorted(self.consumers(group).values(), key=lambda g: min(n.uid for n in g.nodes))
        for other in ordered:
            if self._fits_behind(group, other) and not self._has_path(group, other, direct=False):
                self._absorb(group, other)
                return True
        return False

    def _fits_behind(self, group: Group, other: Group) -> bool:
        """``other`` is a loop over the same elements that reads the group's results element by element only."""
        if other.kind != "loop" or other.shape != group.shape or self._too_wide(group, other):
            return False
        aligned = self.aligned(other)
        for node in other.nodes:
            for operand in node.operands:
                if operand in group.nodes and operand not in other.nodes and self.owner(operand) is group:
                    if operand.shape != group.shape or not (node.op.elementwise and node in aligned):
                        return False
                elif is_view(operand) and self._is_view_of(operand, group):
                    return False
        return True

    def _is_view_of(self, node: Node, group: Group) -> bool:
        return self._source(node) in group.nodes

    def _too_wide(self, group: Group, other: Group) -> bool:
        reads = self.reads(group).keys() | self.reads(other).keys()
        inputs = [n for n in reads if n not in group.nodes and n not in other.nodes]
        return len(inputs) + len(self.stored_results(group)) + len(self.stored_results(other)) > MOST_BUFFERS

    def aligned(self, group: Group) -> set[Node]:
        """The nodes of the group that are computed for exactly the element of the result that is stored."""
        found: set[Node] = set()
        for node in sorted(group.nodes, key=lambda n: -n.uid):
            inside = [u for u in self.users.get(node, ()) if u in group.nodes]
            if node.shape == group.shape and all(u.op.elementwise and u in found for u in inside):
                found.add(node)
        return found

    def _has_path(self, start: Group, goal: Group, *, direct: bool) -> bool:
        """Whether ``goal`` depends on ``start``; without ``direct`` only through a third group."""
        seen: set[int] = set()
        work = [g for g in self.consumers(start).values() if direct or g is not goal]
        newest = max(n.uid for n in goal.nodes)
        while work:
            group = work.pop()
            if group is goal:
                return True
            if id(group) in seen or min(n.uid for n in group.nodes) > newest:
                continue
            seen.add(id(group))
            work.extend(self.consumers(group).values())
        return False

    def _absorb(self, group: Group, other: Group) -> None:
        for node in other.nodes:
            kept = [g for g in self.groups_of[node] if g is not other and g is not group]
            self.groups_of[node] = [*kept, group]
        group.nodes |= other.nodes
        other.nodes = set()

    def _merge_rows(self) -> None:
        """Merge reductions of rows with what is computed on the same rows around them."""
        found = []
        for group in self.groups():
            if group.kind == "reduce":
                group.space = row_space(group.nodes)
                if group.space is not None:
                    found.append((not group.space.axes, group))
        for _, group in sorted(found, key=lambda pair: pair[0]):  # a single row last
            while group.nodes and self._extend_rows(group):
                pass

    def _extend_rows(self, group: Group) -> bool:
        assert group.space is not None
        around = self.consumers(group) | (self.producers(group) if group.space.axes else {})
        for other in sorted(around.values(), key=lambda g: min(n.uid for n in g.nodes)):
            if (
                self._makes_rows(group, other)
                and not self._has_path(group, other, direct=False)
                and not self._has_path(other, group, direct=False)
            ):
                self._absorb(group, other)
                is_one = is_row(group.nodes, self.stored_results(group), group.space)
                group.kind = "row" if is_one else "reduce"
                return True
        return False

    def _makes_rows(self, group: Group, other: Group) -> bool:
        space = group.space
        assert space is not None
        if other.kind in ("contraction", "convolution", "control") or self._too_wide(group, other):
            return False
        if other.kind == "loop" and other.shape not in (space.shape, space.kept):
            return False
        if other.kind != "loop" and row_space(other.nodes) != space:
            return False
        both = group.nodes | other.nodes
        if any(is_view(o) and self._source(o) in both for n in both for o in n.operands if o not in both):
            return False
        return make_rows(both, self.users, {*self.stored_results(group), *self.stored_results(other)}, space)

    def _source(self, node: Node) -> Node:
        while is_view(node):
            node = node.operands[0]
        return node

    def _merge_siblings(self) -> None:
        """Merge loops over the same elements (and reductions of the same axes) that read a common array."""
        by_place: dict[object, list[Group]] = {}
        for group in self.groups():
            for key in self._sibling_keys(group):
                merged = False
                for other in by_place.get(key, ()):
                    if other is group or not other.nodes or self._too_wide(other, group):
                        continue
                    if not self._has_path(other, group, direct=True) and not self._has_path(group, other, direct=True):
                        if "row" in (other.kind, group.kind):
                            other.kind, other.space = "row", other.space or group.space
                        self._absorb(other, group)
                        merged = True
                        break
                if merged:
                    break
                by_place.setdefault(key, []).append(group)

    def _sibling_keys(self, group: Group) -> Iterator[object]:
        if group.kind == "loop":
            if group.shape == ():
                yield "scalars"
            for node in self.reads(group):
                if node.shape == group.shape and group.shape != ():
                    yield ("loop", node)
        elif group.kind in ("reduce", "row"):
            heart = group.heart
            assert heart is not None
            operand = heart.operands[0]
            for node in self.reads(group):
                if node.shape == operand.shape:
                    yield ("reduce", heart["dimensions"], operand.shape, node)

    # ---------------------------------------------------------------- results

    def stored_results(self, group: Group) -> list[Node]:
        """The group's nodes that others read from memory, in order."""
        found = []
        for node in sorted(group.nodes, key=lambda n: n.uid):
            if self.owner(node) is not group or (node.op is CONSTANT and node not in self.results):
                continue  # loops and branches take a constant from where the plan has it
            outside = any(
                is_view(u) or any(g is not group and node not in g.nodes for g in self.groups_of.get(u, ()))
                for u in self.users.get(node, ())
            )
            if node in self.results or outside:
                found.append(node)
        return found
