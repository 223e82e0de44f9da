"""The one dot_general of a contraction's body as batch, rows, columns and a contracted extent."""

from __future__ import annotations

from dataclasses import dataclass

from mlc.errors import InternalError
from mlc.ir.dims import Size, bounds
from mlc.ir.graph import DOT_GENERAL, PARAMETER, Graph, Node
from mlc.ir.graph.contraction import free_axes
from mlc.ir.kernel import Index
from mlc.ir.types import F32, DType

from .access import Access, walk_accesses
from .domain import Coordinates, Domain, coefficient_of
from .sizes import Sizes


@dataclass(frozen=True, slots=True)
class Side:
    """An operand of the dot, with the axis of it that is the batch, the free one and the contracted one.

    ``innermost`` is the axis along which neighbouring elements lie side by side.
    """

    node: Node
    batch: int | None
    free: int | None
    contracted: int
    innermost: int | None

    @property
    def walks_contracted(self) -> bool:
        """Whether the contracted axis is the contiguous one (and so not the free one)."""
        return self.innermost == self.contracted

    def coordinates(self, batch: Index, free: Index, contracted: Index) -> Coordinates:
        found = {self.batch: batch, self.free: free, self.contracted: contracted}
        return tuple(found[axis] for axis in range(len(self.node.shape)))


@dataclass(frozen=True, slots=True)
class Contraction:
    """result[batch, row, column] = sum over k of rows[batch, row, k] * columns[batch, column, k], then an epilogue.

    ``rows`` and ``columns`` are lhs and rhs of the dot, or the other way round where rhs has no free axis of more than
    one element: vectors then run along lhs. ``row_axis`` and ``column_axis`` are axes of the result, in which column 0
    is ``first_column``. With ``part``, the batch counts parts of K of that length, and the sums of each are a result.
    """

    body: Graph
    dot: Node
    rows: Side
    columns: Side
    batch: Size
    m: Size
    n: Size
    k: Size
    row_axis: int | None
    column_axis: int | None
    first_column: int = 0
    part: int | None = None

    @property
    def accumulator(self) -> DType:
        """f16 and bf16 are summed in f32; integers wrap in their own type."""
        dtype = self.dot.dtype
        return F32 if dtype.is_float and dtype.bits < 32 else dtype

    @property
    def length(self) -> int:
        """The most products of a sum."""
        return self.part or bounds(self.k)[1]

    def result_coordinates(self, batch: Index, row: Index, column: Index) -> Coordinates:
        found = {self.row_axis: row, self.column_axis: column + self.first_column}
        return tuple(found.get(axis, batch) for axis in range(len(self.dot.shape)))


def contraction_form(body: Graph) -> Contraction:
    """Raises InternalError for a body that is not one dot_general in canonical form."""
    dots = [n for n in body.nodes if n.op is DOT_GENERAL]
    if len(dots) != 1:
        raise InternalError(f"contraction {body.name}: {len(dots)} dot_generals, not one")
    dot = dots[0]
    sizes = Sizes(body)
    lhs = _side(dot.operands[0], dot["lhs_batch"], dot["lhs_contracting"], sizes)
    rhs = _side(dot.operands[1], dot["rhs_batch"], dot["rhs_contracting"], sizes)
    batch = 1 if lhs.batch is None else lhs.node.shape[lhs.batch]
    k = lhs.node.shape[lhs.contracted]
    axes = iter(range(lhs.batch is not None, 3))
    left = next(axes) if lhs.free is not None else None
    right = next(axes) if rhs.free is not None else None
    m = 1 if lhs.free is None else lhs.node.shape[lhs.free]
    n = 1 if rhs.free is None else rhs.node.shape[rhs.free]
    if n == 1:
        return Contraction(body, dot, rhs, lhs, batch, 1, m, k, right, left)
    return Contraction(body, dot, lhs, rhs, batch, m, n, k, left, right)


def _side(node: Node, batch: tuple[int, ...], contracting: tuple[int, ...], sizes: Sizes) -> Side:
    free = free_axes(len(node.shape), batch, contracting)
    if len(batch) > 1 or len(contracting) != 1 or len(free) > 1:
        raise InternalError(
            f"dot_general of {node.type}: {len(batch)} batch, {len(free)} free and {len(contracting)} contracted axes; "
            "its canonical form has at most one, at most one and exactly one"
        )
    innermost = contiguous_axis(node, sizes)
    return Side(node, batch[0] if batch else None, free[0] if free else None, contracting[0], innermost)


def contiguous_axis(node: Node, sizes: Sizes) -> int | None:
    """The axis along which neighbours lie side by side in memory; axes of one element do not count.

    An expression has the axis of most of the memory that it is computed from.
    """
    if node.op is PARAMETER:
        return last_axis(node)
    domain = Domain.of(node.shape, sizes)
    votes: dict[int, int] = {}
    for access in walk_accesses([Access(node, domain.coordinates)], domain):
        if access.node.op is PARAMETER:
            address = domain.linear(access.node.shape, access.coordinates)
            for variable, axis in zip(domain.variables, domain.axis_of, strict=True):
                if coefficient_of(address, variable) == Index.of(1):
                    votes[axis] = votes.get(axis, 0) + bounds(access.node.tensor.size)[1]
    return max(votes, key=lambda axis: (votes[axis], axis), default=last_axis(node))


def last_axis(node: Node) -> int | None:
    """The last axis of more than one element."""
    return next((a for a in range(len(node.shape) - 1, -1, -1) if node.shape[a] != 1), None)
