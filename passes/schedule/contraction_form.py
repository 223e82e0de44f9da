"""The one dot_general of a contraction's body as batches, rows, columns and a contracted extent."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlc.errors import InternalError
from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import DOT_GENERAL, PARAMETER, Graph, Node
from mlc.ir.graph.contraction import free_axes
from mlc.ir.kernel import Index
from mlc.ir.types import F32, DType

from .access import Access, walk_accesses
from .domain import Coordinates, Domain, coefficient_of
from .sizes import Sizes

Batch = tuple[Index, ...]
"""Where one product of a contraction is along each of its batch axes."""


@dataclass(frozen=True, slots=True)
class Side:
    """An operand of the dot, with the axes of it that are the batch, the free one and the contracted one.

    ``innermost`` is the axis along which neighbouring elements lie side by side.
    """

    node: Node
    batch: tuple[int, ...]
    free: int | None
    contracted: int
    innermost: int | None

    @property
    def walks_contracted(self) -> bool:
        """Whether the contracted axis is the contiguous one (and so not the free one)."""
        return self.innermost == self.contracted

    def coordinates(self, batch: Batch, free: Index, contracted: Index) -> Coordinates:
        found: dict[int | None, Index] = dict(zip(self.batch, batch, strict=False))
        found |= {self.free: free, self.contracted: contracted}
        return tuple(found[axis] for axis in range(len(self.node.shape)))


@dataclass(frozen=True, slots=True)
class Contraction:
    """result[batch, row, column] = sum over k of rows[batch, row, k] * columns[batch, column, k], then an epilogue.

    ``rows`` and ``columns`` are lhs and rhs of the dot, or the other way round where rhs has no free axis of more than
    one element: vectors then run along lhs. ``row_axis`` and ``column_axis`` are axes of the result, in which column 0
    is ``first_column``; the axes before them are ``batches``. With ``part``, the one batch axis counts parts of K of
    that length, and the sums of each are a result. Operands are read as ``factor``, or as the accumulator's type.
    """

    body: Graph
    dot: Node
    rows: Side
    columns: Side
    batches: tuple[Size, ...]
    m: Size
    n: Size
    k: Size
    row_axis: int | None
    column_axis: int | None
    first_column: int = 0
    part: int | None = None
    factor: DType | None = None

    @property
    def batch(self) -> Size:
        """The number of products, all batch axes together."""
        return size_product(self.batches)

    @property
    def accumulator(self) -> DType:
        """f16 and bf16 are summed in f32; integers wrap in their own type."""
        dtype = self.dot.dtype
        return F32 if dtype.is_float and dtype.bits < 32 else dtype

    @property
    def length(self) -> int:
        """The most products of a sum."""
        return self.part or bounds(self.k)[1]

    def in_parts(self, sums: Node, length: int) -> Contraction:
        """Of one batch: the products of each part of K of this length summed by themselves, which is ``sums``."""
        only = Graph(f"{self.body.name}_parts", self.body.parameters, (sums,), self.body.table)
        row_axis, column_axis = (None if a is None else a + 1 for a in (self.row_axis, self.column_axis))
        batches = sums.shape[:1]
        return replace(
            self, body=only, dot=sums, batches=batches, part=length, row_axis=row_axis, column_axis=column_axis
        )

    def result_coordinates(self, batch: Batch, row: Index, column: Index) -> Coordinates:
        found = {self.row_axis: row, self.column_axis: column + self.first_column}
        return tuple(found[axis] if axis in found else batch[axis] for axis in range(len(self.dot.shape)))


def contraction_form(body: Graph) -> Contraction:
    """Raises InternalError for a body that is not one dot_general in canonical form."""
    dots = [n for n in body.nodes if n.op is DOT_GENERAL]
    if len(dots) != 1:
        raise InternalError(f"contraction {body.name}: {len(dots)} dot_generals, not one")
    dot = dots[0]
    sizes = Sizes(body)
    lhs = _side(dot.operands[0], dot["lhs_batch"], dot["lhs_contracting"], sizes)
    rhs = _side(dot.operands[1], dot["rhs_batch"], dot["rhs_contracting"], sizes)
    batches = tuple(lhs.node.shape[a] for a in lhs.batch)
    k = lhs.node.shape[lhs.contracted]
    axes = iter(range(len(lhs.batch), len(lhs.batch) + 2))
    left = next(axes) if lhs.free is not None else None
    right = next(axes) if rhs.free is not None else None
    m = 1 if lhs.free is None else lhs.node.shape[lhs.free]
    n = 1 if rhs.free is None else rhs.node.shape[rhs.free]
    if n == 1:
        return Contraction(body, dot, rhs, lhs, batches, 1, m, k, right, left)
    return Contraction(body, dot, lhs, rhs, batches, m, n, k, left, right)


def _side(node: Node, batch: tuple[int, ...], contracting: tuple[int, ...], sizes: Sizes) -> Side:
    free = free_axes(len(node.shape), batch, contracting)
    if len(contracting) != 1 or len(free) > 1:
        raise InternalError(
            f"dot_general of {node.type}: {len(free)} free and {len(contracting)} contracted axes; "
            "its canonical form has at most one and exactly one"
        )
    innermost = contiguous_axis(node, sizes)
    return Side(node, batch, free[0] if free else None, contracting[0], innermost)


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
