"""A reduce body as axes, for any target: what is folded and what is kept, and along what memory is contiguous."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.dims import Size
from mlc.ir.graph import REDUCE, Graph
from mlc.ir.kernel import Index, IndexLike, IndexVariable, KernelBuilder, Memory, Value

from .access import Access, walk_accesses
from .axes import Group, join, leaf_indices, refine
from .domain import Domain, coefficient_of
from .elements import Elements, Point
from .folds import Fold
from .sizes import Sizes


class ReduceForm:
    """Kept and reduced groups of a body's ``domain``; ``lane_group`` is the last of those that it is one of.

    ``rest`` is the domain of the results: the ``kept_variables`` of ``domain``, in order. ``accesses`` are what the
    folds read in ``domain``, ``after`` what the results read in ``rest``, where they are written at ``here``.
    """

    def __init__(self, body: Graph) -> None:
        self.body = body
        self.sizes = Sizes(body)
        self.folds = tuple(Fold.of(n) for n in body.nodes if n.op is REDUCE)
        nodes = [f.node for f in self.folds]
        self.size: Size = nodes[0].tensor.size
        shape, axes = nodes[0].operands[0].shape, nodes[0]["dimensions"]
        self.domain, self.accesses = refine(
            shape, self.sizes, lambda d: [Access(n.operands[0], d.coordinates) for n in nodes]
        )
        kept_splits = tuple(s for a, s in enumerate(self.domain.splits) if a not in axes)
        self.rest = Domain(nodes[0].shape, self.sizes, kept_splits)
        self.after = list(walk_accesses([Access(r, self.rest.coordinates) for r in body.results], self.rest, nodes))
        self.here = self.rest.linear(nodes[0].shape, self.rest.coordinates)
        is_reduced = [axis in axes for axis in self.domain.axis_of]
        self.kept_variables = [v for v, gone in zip(self.domain.variables, is_reduced, strict=True) if not gone]
        names = dict(zip(self.rest.variables, map(Index.of, self.kept_variables), strict=True))
        outer = leaf_indices(self.rest, self.after) | {self.here}
        indices = leaf_indices(self.domain, self.accesses) | {e.substitute(names) for e in outer}
        groups = join(self.domain, indices, is_reduced)
        self.lane_group = lane_group_of(groups, self.domain, self.accesses)
        ordered = sorted(groups, key=lambda g: g == self.lane_group)
        self.kept = tuple(g for g in ordered if not is_reduced[g.variable.id])
        self.reduced = tuple(g for g in ordered if is_reduced[g.variable.id])

    @property
    def rest_lane(self) -> IndexVariable:
        """The variable of ``rest`` that the lane group, a kept one, is."""
        return self.rest.variables[self.kept_variables.index(self.lane_group.variable)]

    @property
    def operands_only(self) -> Graph:
        """The body that computes what is folded."""
        body = self.body
        return Graph(body.name, body.parameters, tuple(f.node.operands[0] for f in self.folds), body.table)

    def part_buffers(self, b: KernelBuilder, parts: int) -> list[Memory]:
        """Temporaries for the folds of so many parts of what is folded."""
        size = self.sizes.index(self.size) * parts
        return [b.buffer(f"t{k}", f.dtype, (size,), access="write", noalias=True) for k, f in enumerate(self.folds)]

    def rest_point(
        self, elements: Elements, at: dict[IndexVariable, Index], lanes: int, mask: Value | None = None
    ) -> Point:
        """Where the results are, at the kept variables in ``at``: one element, or ``lanes`` along the lane group."""
        here = {new: at[old] for new, old in zip(self.rest.variables, self.kept_variables, strict=True)}
        return (
            Point(elements, self.rest, here)
            if lanes == 1
            else (Point(elements, self.rest, here, lanes, self.rest_lane, mask))
        )

    def store(self, point: Point, values: Sequence[Value], results: Sequence[Memory]) -> None:
        """The epilogue at a point of ``rest`` where the folds have these ``values``."""
        b = point.elements.builder
        for fold, value in zip(self.folds, values, strict=True):
            point.bind(fold.node, fold.finish(b, value, point))
        found = [point.value(r) for r in self.body.results]
        for memory, value in zip(results, found, strict=True):
            point.store(memory, value)

    def store_part(self, point: Point, values: Sequence[Value], buffers: Sequence[Memory], part: IndexLike) -> None:
        """The folds' values of a part, beside those of the others."""
        for memory, value in zip(buffers, values, strict=True):
            point.store(memory, value, offset=part * self.sizes.index(self.size))


def lane_group_of(groups: tuple[Group, ...], domain: Domain, accesses: list[Access]) -> Group:
    """The group that most operands are contiguous along, inner ones first."""
    best, found = None, Group((IndexVariable("d", 0),), 1)
    for group in reversed(groups):
        apart = 0
        for access in accesses:
            if access.node.op.name == "parameter":
                step = coefficient_of(domain.linear(access.node.shape, access.coordinates), group.variable)
                apart += step is None or step.constant not in (0, 1, -1)
        if best is None or apart < best:
            best, found = apart, group
    return found
