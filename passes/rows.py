"""Whole rows: reductions along the last axes merge with what is computed on the same rows before, between and after.

A softmax is two reductions and two loops over the same rows; as one region it reads them from memory once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import attrgetter

from mlc.ir.dims import bounds, size_product
from mlc.ir.graph import BROADCAST_IN_DIM, REDUCE, Node
from mlc.ir.types import Shape

SHORTEST, LONGEST = 2, 1 << 16  # elements of a row: a row and what is kept beside it lie in L2 at least


@dataclass(frozen=True, slots=True)
class RowSpace:
    """Rows of tensors of ``shape``, numbered by the first ``axes``."""

    shape: Shape
    axes: int

    @property
    def kept(self) -> Shape:
        return self.shape[: self.axes]


def row_space(nodes: Iterable[Node]) -> RowSpace | None:
    """The rows that all the reductions among ``nodes`` fold; None where they differ or are too long for a cache."""
    found: RowSpace | None = None
    for n in nodes:
        if n.op is REDUCE:
            shape, axes = n.operands[0].shape, len(n.shape)
            if n["dimensions"] != tuple(range(axes, len(shape))) or found not in (None, RowSpace(shape, axes)):
                return None
            found = found or RowSpace(shape, axes)
    if found is None:
        return None
    length = bounds(size_product(found.shape[found.axes :]))[1]
    return found if SHORTEST <= length <= LONGEST else None


def is_in_rows(node: Node, user: Node, space: RowSpace) -> bool:
    """Whether ``user`` reads of ``node`` only what belongs to the row, or the element, that it is computed for."""
    if user.op.elementwise:
        return node.shape in (space.shape, space.kept) and user.shape == node.shape
    if user.op is REDUCE:
        return node.shape == space.shape
    if user.op is BROADCAST_IN_DIM and user.shape == space.shape:
        return node.shape == space.kept and user["dimensions"] == tuple(range(space.axes))
    return False


def make_rows(nodes: Collection[Node], users: dict[Node, list[Node]], once: Collection[Node], space: RowSpace) -> bool:
    """Whether one region of ``nodes`` computes every reduction and each node of ``once`` for its own row only."""
    ordered = sorted(nodes, key=_by_uid)
    late = set(once)  # what has to be aligned, and is reached from nothing that has not
    for n in ordered:
        if n.op is REDUCE or n in late:
            for u in users.get(n, ()):
                if u in nodes:
                    if not is_in_rows(n, u, space):
                        return False
                    late.add(u)
    return all(n.shape in (space.shape, space.kept) for n in late if n in nodes)


_by_uid = attrgetter("uid")


def is_row(nodes: Collection[Node], results: Collection[Node], space: RowSpace) -> bool:
    """Whether the region needs more than one walk over a row, or stores rows: else it is a plain reduction."""
    late: set[Node] = set()
    for n in sorted(nodes, key=lambda n: n.uid):
        if any(o in late for o in n.operands):
            if n.op is REDUCE:
                return True
            late.add(n)
        elif n.op is REDUCE:
            late.add(n)
    return any(r.shape == space.shape for r in results)
