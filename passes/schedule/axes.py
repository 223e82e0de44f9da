"""Which axes a loop nest walks: split where reshapes need it, joined where all accesses walk them together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from mlc.ir.dims import Size, size_product
from mlc.ir.graph import CONSTANT, IOTA, Graph, Node
from mlc.ir.kernel import Index, IndexVariable
from mlc.ir.types import Shape

from .access import Access, walk_accesses
from .domain import Domain, Quotient, coefficient_of, split
from .sizes import Sizes

MOST_SPLITS = 32


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring variables of a domain that one loop walks: the last takes the loop's index, the others stay 0."""

    variables: tuple[IndexVariable, ...]
    extent: Size

    @property
    def variable(self) -> IndexVariable:
        return self.variables[-1]

    def at(self, index: Index) -> dict[IndexVariable, Index]:
        """The variables' values where the loop's index is ``index``."""
        return {v: index if v == self.variable else Index.of(0) for v in self.variables}


Roots = Callable[[Domain], Sequence[Access]]


def refine(shape: Shape, sizes: Sizes, roots: Roots, stop: Collection[Node] = ()) -> tuple[Domain, list[Access]]:
    """All accesses, over the domain of ``shape`` whose axes are split so that reshapes divide as little as can be."""
    domain = Domain.of(shape, sizes)
    for _ in range(MOST_SPLITS):
        accesses = list(walk_accesses(roots(domain), domain, stop))
        finer = split(domain)
        if finer is None:
            break
        domain = finer
    return domain, accesses


def leaf_indices(domain: Domain, accesses: Iterable[Access], stop: Collection[Node] = ()) -> set[Index]:
    """Every expression of the domain's variables that an address, a guard or a value is made of."""
    found = {g.index for a in accesses for g in a.guards}
    found |= {q.index for q in domain.derived.values() if isinstance(q, Quotient)}  # look-ups are accesses
    for access in accesses:
        if access.node.op is IOTA:
            found.add(access.coordinates[access.node["dimension"]])
        elif access.node.op.name == "parameter" or access.node.op is CONSTANT or access.node in stop:
            found.add(domain.linear(access.node.shape, access.coordinates))
    return found


def join(domain: Domain, indices: Iterable[Index], classes: Sequence[object] | None = None) -> tuple[Group, ...]:
    """Groups of the domain's variables, as few as walk every index evenly; a group has one class."""
    kinds = classes or [None] * len(domain.extents)
    groups: list[list[IndexVariable]] = []
    for k, v in enumerate(domain.variables):
        joins = k > 0 and kinds[k] == kinds[k - 1]
        if joins and all(_walks_together(domain, e, domain.variables[k - 1], v) for e in indices):
            groups[-1].append(v)
        else:
            groups.append([v])
    return tuple(Group(tuple(g), size_product(domain.extents[v.id] for v in g)) for g in groups)


def _walks_together(domain: Domain, index: Index, outer: IndexVariable, inner: IndexVariable) -> bool:
    """Whether a step of ``outer`` moves ``index`` as a whole walk of ``inner`` does."""
    a, b = coefficient_of(index, outer), coefficient_of(index, inner)
    return a is not None and b is not None and a == b * domain.sizes.index(domain.extents[inner.id])


def in_place_pairs(body: Graph, opaque: Collection[Node] = ()) -> frozenset[tuple[int, int]]:
    """The (parameter, result) pairs that may share memory.

    Each access to the parameter is at the position of the result's element that is written by the same iteration.
    The operands of ``opaque`` nodes (a dot, a reduce) are read at other points, too.
    """
    if not body.results:
        return frozenset()
    sizes, shape = Sizes(body), body.results[0].shape
    domain, accesses = refine(
        shape, sizes, lambda d: [Access(r, d.coordinates) for r in body.results if r.shape == shape], opaque
    )
    here = domain.linear(shape, domain.coordinates)
    same: dict[Node, bool] = {}
    for access in accesses:
        if access.node in opaque:
            inside = _parameters_below(access.node.operands)
            same.update(dict.fromkeys(inside, False))
        elif access.node.op.name == "parameter":
            at = domain.linear(access.node.shape, access.coordinates)
            same[access.node] = same.get(access.node, True) and at == here
    return frozenset(
        (p, r)
        for p, parameter in enumerate(body.parameters)
        for r, result in enumerate(body.results)
        if same.get(parameter) and parameter.tensor.size == result.tensor.size
        and parameter.dtype.itemsize == result.dtype.itemsize
    )  # fmt: skip


def _parameters_below(nodes: Iterable[Node]) -> set[Node]:
    from mlc.ir.graph import reachable

    return {n for n in reachable(nodes) if n.op.name == "parameter"}
