"""Contraction fusions on a GPU: one dot_general with what is computed before and after it."""

from __future__ import annotations

from collections.abc import Mapping

from mlc.ir.graph import Graph, Node
from mlc.ir.kernel import Index, Value
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.axes import in_place_pairs
from mlc.passes.schedule.contraction_form import Contraction, Side, contraction_form
from mlc.passes.schedule.contraction_frame import Frame
from mlc.passes.schedule.region import ScheduledRegion

from .product import Batch, Product, Reader, Walk, even_lanes
from .tile import choose_tile
from .tiled_product import tiled_product


def schedule_contraction(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """One kernel computes the contraction and its epilogue; none where the result has no elements."""
    c = contraction_form(body)
    if c.dot.tensor.size == 0:
        return ScheduledRegion(())
    product = ContractionProduct(c, {}, target)
    tile = choose_tile(c.batch, c.m, c.n, c.accumulator, target)
    return ScheduledRegion((tiled_product(product, tile),), (), in_place_pairs(body, opaque=(c.dot,)))


class ContractionProduct(Product):
    """The product that a dot is; ``temporaries`` are nodes that earlier kernels have computed."""

    frame: Frame

    def __init__(self, c: Contraction, temporaries: Mapping[Node, int], target: GpuTarget) -> None:
        self.c = c
        self.frame = Frame(c, temporaries, in_tables=True)
        self.batch, self.depth = c.batch, c.k
        self.left = Reader("rows", c.m, self._walk(c.rows, target))
        self.right = Reader("columns", c.n, self._walk(c.columns, target))

    def _walk(self, side: Side, target: GpuTarget) -> Walk:
        along = side.walks_contracted or side.free is None
        axis = side.contracted if along else side.free
        return Walk(even_lanes(side.node, axis, self.frame.sizes, target), along)

    def read(self, operand: Reader, batch: Batch, free: Index, k: Index, lanes: int) -> Value:
        side = self.c.rows if operand is self.left else self.c.columns
        axis = side.contracted if operand.walk.along_depth else side.free
        return self.frame.read(side, side.coordinates(batch, free, k), lanes, None, axis)

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
