"""What a row fusion does in each walk over a row: folds, results that it stores, and what it keeps for later walks.

A value that depends on no fold is computed in the first walk, one that depends on a fold after it. A value that a
later walk wants again is kept in L1, where computing it again would cost more than reading it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.errors import InternalError
from mlc.ir.dims import Size, size_product
from mlc.ir.graph import CONSTANT, DIVIDE, PARAMETER, REDUCE, SQRT, Graph, Node
from mlc.ir.kernel import Index
from mlc.ir.target import Target
from mlc.ir.types import Shape

from .access import Access, operand_accesses
from .axes import Group, join, leaf_indices, refine
from .domain import Domain
from .folds import Fold
from .loop import operations_of, work_of
from .sizes import Sizes
from .tasks import choose_lanes
from .turned import MOST_APART, lies_apart

WORTH_KEEPING = 4  # operations an element: less is computed again by the next walk
SLOW = 4  # operations that a division or a root counts for beyond its own
MOST_UNROLLED = 256  # node values in the straight line that short rows are computed by


@dataclass(frozen=True)
class Space:
    """The elements of all rows: tensors of ``shape``, whose first ``axes`` number the rows."""

    shape: Shape
    axes: int
    domain: Domain

    @property
    def row_shape(self) -> Shape:
        return self.shape[self.axes :]

    @property
    def here(self) -> Index:
        """The position of an element among all."""
        return self.domain.linear(self.shape, self.domain.coordinates)

    @property
    def row(self) -> Index:
        """The number of an element's row."""
        return self.domain.linear(self.shape[: self.axes], self.domain.coordinates[: self.axes])

    @property
    def column(self) -> Index:
        """The position of an element in its row."""
        return self.domain.linear(self.row_shape, self.domain.coordinates[self.axes :])

    def access(self, node: Node) -> Access:
        """``node`` here: it has the shape of all elements, or that of the rows with or without axes of size 1."""
        if node.shape == self.shape:
            return Access(node, self.domain.coordinates)
        if node.shape[: self.axes] != self.shape[: self.axes] or not set(node.shape[self.axes :]) <= {1}:
            raise InternalError(f"row: {node.type} has neither the shape {self.shape} nor that of its rows")
        pairs = zip(node.shape, self.domain.coordinates, strict=False)
        return Access(node, tuple(c if n != 1 else Index.of(0) for n, c in pairs))

    def is_here(self, access: Access) -> bool:
        return access.node.shape == self.shape and access == Access(access.node, self.domain.coordinates)

    def is_uniform(self, access: Access) -> bool:
        """Whether the element is the same all along a row; those of the whole shape are not, even in rows of one."""
        if self.is_here(access):
            return False
        indices = [*access.coordinates, *(i for g in access.guards for i in (g.index, g.extent))]
        used = {v for i in indices for v in self.domain.dependencies(i)}
        return all(self.domain.axis_of[v.id] < self.axes for v in used)


@dataclass(frozen=True)
class Walk:
    """One walk over a row: what is folded, stored, and kept (``writes``) or read again (``reads``).

    ``uniform`` are elements that are the same all along the row: they are computed once, before the walk.
    """

    folds: tuple[Fold, ...]
    results: tuple[int, ...]
    uniform: tuple[Access, ...]
    reads: tuple[Node, ...]
    writes: tuple[Node, ...]
    accesses: tuple[Access, ...]


@dataclass(frozen=True)
class RowForm:
    """A row body as loops: ``kept`` groups number the rows, ``reduced`` ones walk a row, the lanes along the last.

    ``vectors`` are those of a row that is computed without a loop; 0 where rows are walked by loops.
    """

    body: Graph
    sizes: Sizes
    space: Space
    kept: tuple[Group, ...]
    reduced: tuple[Group, ...]
    lanes: int
    vectors: int
    walks: tuple[Walk, ...]

    @property
    def length(self) -> Size:
        return size_product(self.space.row_shape)

    def is_full(self, result: int) -> bool:
        return self.body.results[result].shape == self.space.shape

    @property
    def cost(self) -> int:
        """Bytes moved and operations done for an element, all walks together."""
        stored = sum(r.dtype.itemsize for k, r in enumerate(self.body.results) if self.is_full(k))
        return max(work_of(dict.fromkeys(a for w in self.walks for a in w.accesses)) + stored, 1)


@dataclass(frozen=True)
class RowAxes:
    """The axes of a row body: groups that number the rows, those that walk a row, and what an element is made of."""

    sizes: Sizes
    space: Space
    accesses: list[Access]
    kept: tuple[Group, ...]
    reduced: tuple[Group, ...]


def row_form(body: Graph, target: Target) -> RowForm:
    """Raises InternalError for a body whose folds are not all along the last axes of one shape."""
    axes = row_axes(body)
    reduced, domain = axes.reduced, axes.space.domain
    lanes = choose_lanes((a.node for a in axes.accesses), target, reduced[-1].extent) if reduced else 1
    if reduced and lies_apart(domain, axes.accesses, reduced[-1]):
        lanes = min(lanes, MOST_APART)
    vectors = _vectors(reduced, lanes, len(body.nodes), target)
    walks = find_walks(body, axes.space, keep=not vectors)
    return RowForm(body, axes.sizes, axes.space, axes.kept, reduced, lanes, vectors, walks)


def row_axes(body: Graph) -> RowAxes:
    """Raises InternalError for a body whose folds are not all along the last axes of one shape."""
    sizes = Sizes(body)
    reduces = [n for n in body.nodes if n.op is REDUCE]
    shape, axes = reduces[0].operands[0].shape, len(reduces[0].shape)
    for n in reduces:
        if n.operands[0].shape != shape or n["dimensions"] != tuple(range(axes, len(shape))):
            raise InternalError(f"row {body.name}: a fold of {n.operands[0].type} over {n['dimensions']}")
    roots = [n.operands[0] for n in reduces] + list(body.results)
    domain, accesses = refine(
        shape, sizes, lambda d: [Space(shape, axes, d).access(n) for n in roots], frozenset(reduces)
    )
    space = Space(shape, axes, domain)
    is_reduced = [axis >= axes for axis in domain.axis_of]
    indices = leaf_indices(domain, accesses) | {space.here, space.row, space.column}
    groups = join(domain, indices, is_reduced)
    kept = tuple(g for g in groups if not is_reduced[g.variable.id])
    reduced = tuple(g for g in groups if is_reduced[g.variable.id])
    return RowAxes(sizes, space, accesses, kept, reduced)


def find_walks(body: Graph, space: Space, *, keep: bool) -> tuple[Walk, ...]:
    """The walks over a row, in order; with ``keep`` later ones read what earlier ones left for them."""
    return _Walks(body, space, keep=keep).all()


def _vectors(reduced: tuple[Group, ...], lanes: int, nodes: int, target: Target) -> int:
    """The vectors of a row that is computed without loops: it is static, and fits into a quarter of the registers."""
    if not reduced:
        return 1
    if len(reduced) != 1 or not isinstance(reduced[0].extent, int):
        return 0
    count = -(-reduced[0].extent // lanes)
    return count if 0 < count <= target.vector_registers // 4 and count * nodes <= MOST_UNROLLED else 0


def levels(body: Graph) -> dict[Node, int]:
    """How many folds, one after another, each node waits for."""
    found: dict[Node, int] = {}
    for n in body.nodes:
        found[n] = max((found[o] for o in n.operands), default=0) + (n.op is REDUCE)
    return found


class _Walks:
    """Finds the walks of a body; without ``keep`` a row's values all stay in registers."""

    def __init__(self, body: Graph, space: Space, *, keep: bool) -> None:
        self.body, self.space, self.keep = body, space, keep
        self.level = levels(body)
        self.first: dict[Node, int] = {}  # the walk that computes a node at its own element
        self.written: dict[Node, int] = {}

    def all(self) -> tuple[Walk, ...]:
        reduces = [n for n in self.body.nodes if n.op is REDUCE]
        full = [k for k, r in enumerate(self.body.results) if r.shape == self.space.shape]
        count = max([self.level[n] for n in reduces] + [self.level[self.body.results[k]] + 1 for k in full])
        found = []
        for number in range(count):
            folds = tuple(Fold.of(n) for n in reduces if self.level[n] == number + 1)
            results = tuple(k for k in full if self.level[self.body.results[k]] == number)
            found.append(self._walk(number, folds, results))
        return tuple(
            Walk(
                w.folds, w.results, w.uniform, w.reads, tuple(n for n, k in self.written.items() if k == i), w.accesses
            )
            for i, w in enumerate(found)
        )

    def _walk(self, number: int, folds: tuple[Fold, ...], results: tuple[int, ...]) -> Walk:
        space = self.space
        stored = {r for r in self.body.results if r.shape == space.shape and self.level[r] < number}
        uniform: list[Access] = []
        reads: list[Node] = []
        seen: set[Access] = set()
        order: list[Access] = []
        work = [space.access(f.node.operands[0]) for f in folds]
        work = [*work, *(space.access(self.body.results[k]) for k in results)][::-1]
        while work:
            access = work.pop()
            if access in seen:
                continue
            seen.add(access)
            order.append(access)
            if space.is_uniform(access) and access.node.op is not CONSTANT:
                uniform.append(access)
                continue
            if space.is_here(access):
                node = access.node
                if self.first.setdefault(node, number) < number and self._keeps(access, node in stored):
                    reads.append(node)
                    if node not in stored:
                        self.written[node] = self.first[node]
                    continue
            work.extend(reversed(operand_accesses(access, space.domain)))
        return Walk(folds, results, tuple(uniform), tuple(reads), (), tuple(order))

    def _keeps(self, access: Access, is_stored: bool) -> bool:
        """Whether reading the element again is better than computing it again."""
        if not self.keep or access.node.op is PARAMETER:
            return False
        below = self._below(access)
        loads = sum(1 for a in below if a.node.op is PARAMETER)
        slow = sum(SLOW for a in below if a.node.op in (DIVIDE, SQRT))
        return is_stored or loads + slow + operations_of(below) > WORTH_KEEPING

    def _below(self, access: Access) -> Sequence[Access]:
        """What is computed along the row for an element."""
        found: dict[Access, None] = {}
        work = [access]
        while work:
            a = work.pop()
            if a not in found and a.node.op is not CONSTANT and not self.space.is_uniform(a):
                found[a] = None
                work.extend(operand_accesses(a, self.space.domain))
        return list(found)
