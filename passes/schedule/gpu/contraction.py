"""Contraction fusions on a GPU: one dot_general with what is computed before and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlc.ir.graph import CONVERT, TRANSPOSE, Graph, Node
from mlc.ir.kernel import Index, Memory, Value
from mlc.ir.target import GpuTarget
from mlc.ir.types import I8, I32
from mlc.passes.schedule.axes import in_place_pairs
from mlc.passes.schedule.contraction_form import Contraction, Side, contraction_form
from mlc.passes.schedule.contraction_frame import Frame
from mlc.passes.schedule.parts import SumOfParts
from mlc.passes.schedule.region import ScheduledRegion

from .inner_product import as_reduce, is_thin
from .product import Batch, Product, Reader, Walk, matrix_type
from .product_call import parts_of_depth, product_call
from .reduce import schedule_reduce


def schedule_contraction(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """One kernel computes the contraction and its epilogue; none where the result has no elements.

    Where results are few and sums long, it computes parts of the sums, which another one adds up. Products of a vector
    have nothing that a tile would use twice: they are sums of rows or columns like any other.
    """
    c = contraction_form(body)
    if c.dot.tensor.size == 0:
        return ScheduledRegion(())
    if is_thin(c):
        return schedule_reduce(as_reduce(c), target)
    cut = parts_of_depth(c.batch, c.m, c.n, c.k, target)
    if cut is None:
        call = product_call(ContractionProduct(_as_stored(c), {}, target), target)
        return ScheduledRegion((call,), (), in_place_pairs(body, opaque=(c.dot,)))
    parts = SumOfParts.of(body, c.dot, cut[0], c.accumulator)
    call = product_call(ContractionProduct(c.in_parts(parts.sums, cut[1]), {}, target), target)
    return parts.region([call], [], schedule_reduce(parts.end, target))


def _as_stored(c: Contraction) -> Contraction:
    """Rows and columns exchanged where all results are stored with rows side by side: threads write neighbours."""
    turned = [r.op is TRANSPOSE and r.operands[0].shape == c.dot.shape for r in c.body.results]
    if c.row_axis is None or not all(turned) or any(r["permutation"][-1] != c.row_axis for r in c.body.results):
        return c
    return replace(
        c, rows=c.columns, columns=c.rows, m=c.n, n=c.m, row_axis=c.column_axis, column_axis=c.row_axis
    )  # fmt: skip


def _before_widening(side: Side) -> Side:
    """An operand of i8 that was converted to i32, as it was before: matrix units widen what they multiply."""
    node = side.node
    widens = node.op is CONVERT and node.dtype == I32 and node.operands[0].dtype == I8
    return replace(side, node=node.operands[0]) if widens else side


class ContractionProduct(Product):
    """The product that a dot is; ``temporaries`` are nodes that earlier kernels have computed."""

    frame: Frame

    def __init__(self, c: Contraction, temporaries: Mapping[Node, int], target: GpuTarget) -> None:
        rows, columns = (_before_widening(side) for side in (c.rows, c.columns))
        self.factor = matrix_type(rows.node.dtype, columns.node.dtype, c.accumulator, target)
        if self.factor is not None:
            c = replace(c, rows=rows, columns=columns, factor=self.factor)
        self.c = c
        self.frame = Frame(c, temporaries, in_tables=True)
        self.batch, self.depth = c.batch, c.k
        self.left = Reader("rows", c.m, self._walk(c.rows, target))
        self.right = Reader("columns", c.n, self._walk(c.columns, target))

    def _walk(self, side: Side, target: GpuTarget) -> Walk:
        along = side.walks_contracted or side.free is None
        axis = side.contracted if along else side.free
        return self.walk_of(side.node, axis, along, 0, target)

    def _side(self, operand: Reader) -> Side:
        return self.c.rows if operand is self.left else self.c.columns

    def read(self, operand: Reader, batch: Batch, free: Index, k: Index, lanes: int) -> Value:
        side = self._side(operand)
        axis = side.contracted if operand.walk.along_depth else side.free
        return self.frame.read(side, side.coordinates(batch, free, k), lanes, None, axis)

    def source(self, operand: Reader) -> Node:
        return self._side(operand).node

    def address(
        self, operand: Reader, batch: Batch, free: Index, k: Index
    ) -> tuple[Memory, tuple[Index, ...], Value | None]:
        side = self._side(operand)
        place = self.frame.sizes.linear(side.node.shape, side.coordinates(batch, free, k))
        return self.frame.memories[side.node], (place,), None

    def store(self, batch: Batch, row: Index, column: Index, total: Value, mask: Value | None) -> None:
        self.frame.store(batch, row, column, total, mask)

    def batch_at(self, number: Index) -> Batch:
        return self.frame.batch_at(number)

    def contracted(self, batch: Batch) -> tuple[Index, Index]:
        return self.frame.contracted(batch)

    @property
    def longest(self) -> int:
        return self.c.length

    def is_whole(self, depth: int) -> bool:
        return super().is_whole(depth) and (self.c.part or 0) % depth == 0
