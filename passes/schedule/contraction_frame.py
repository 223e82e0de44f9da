"""The kernel of a contraction while it is written: elements of its operands, and the epilogue's stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlc.ir.dims import bounds
from mlc.ir.graph import TRANSPOSE, Node
from mlc.ir.kernel import Index, IndexLike, Value

from .contraction_form import Batch, Contraction, Side
from .sums_frame import SumsFrame
from .tasks import counted


class Frame(SumsFrame):
    """``temporaries`` are the nodes that earlier kernels of the region have computed, and the number of each."""

    def __init__(self, c: Contraction, temporaries: Mapping[Node, int], *, in_tables: bool = False) -> None:
        read = (c.rows.node, c.columns.node)
        super().__init__(c.body, c.dot, read, c.accumulator, temporaries, in_tables=in_tables)
        self.c = c
        self.m, self.n, self.k, self.batch = (self.sizes.index(s) for s in (c.m, c.n, c.k, c.batch))

    # Operands of the dot, in the type that they are multiplied in

    def row_element(self, batch: Batch, row: IndexLike, k: IndexLike) -> Value:
        """One element of the rows, as a scalar."""
        return self.read(self.c.rows, self.c.rows.coordinates(batch, Index.of(row), Index.of(k)), 1, None, None)

    def row_vector(self, batch: Batch, row: IndexLike, k: IndexLike, lanes: int, mask: Value | None) -> Value:
        """Neighbours along K of one row; 0 where ``mask`` is off."""
        side = self.c.rows
        at = side.coordinates(batch, Index.of(row), Index.of(k))
        return self._zeroed(side, self.read(side, at, lanes, mask, side.contracted), mask)

    def column_vector(self, batch: Batch, column: IndexLike, k: IndexLike, lanes: int, mask: Value | None) -> Value:
        """Neighbouring columns at one k; anything where ``mask`` is off."""
        side = self.c.columns
        return self.read(side, side.coordinates(batch, Index.of(column), Index.of(k)), lanes, mask, side.free)

    def column_run(self, batch: Batch, column: IndexLike, k: IndexLike, lanes: int, mask: Value | None) -> Value:
        """Neighbours along K of one column; 0 where ``mask`` is off."""
        side = self.c.columns
        at = side.coordinates(batch, Index.of(column), Index.of(k))
        return self._zeroed(side, self.read(side, at, lanes, mask, side.contracted), mask)

    def read(self, side: Side, at: tuple[Index, ...], lanes: int, mask: Value | None, lane_axis: int | None) -> Value:
        """Neighbours along ``lane_axis`` of an operand; anything where ``mask`` is off."""
        axis = -1 if lane_axis is None else lane_axis
        point = self.elements.point(side.node.shape, at, lanes, mask, axis)
        value = point.natural(side.node) if lanes == 1 else point.value(side.node)
        return self.builder.convert(value, self.c.factor or self.c.accumulator)

    def _zeroed(self, side: Side, value: Value, mask: Value | None) -> Value:
        """A masked load gives zeros, but what is computed from zeros need not be one."""
        if mask is None or side.node in self.memories:
            return value
        return self.builder.select(mask, value, self.builder.constant(0, value.dtype, value.lanes))

    # Results

    def store(self, batch: Batch, row: IndexLike, column: IndexLike, total: Value, mask: Value | None) -> None:
        """The epilogue where neighbouring columns have the sums ``total``, and the stores of the results."""
        c = self.c
        at = c.result_coordinates(batch, Index.of(row), Index.of(column))
        axis = -1 if c.column_axis is None else c.column_axis
        point = self.elements.point(c.dot.shape, at, total.lanes, mask, axis)
        point.bind(c.dot, self.builder.convert(total, c.dot.dtype))
        stored = [r.operands[0] if self.is_turned(r) else r for r in c.body.results]
        values = [point.value(x) for x in stored]
        for memory, result, value in zip(self.results, c.body.results, values, strict=True):
            if self.is_turned(result):
                place = tuple(point.domain.coordinates[a] for a in result["permutation"])
                point.store(memory, value, place, result.shape)
            else:
                point.store(memory, value)

    def is_turned(self, result: Node) -> bool:
        """Whether a result is stored in another order of axes than that of the sums."""
        return result.op is TRANSPOSE and result.operands[0].shape == self.c.dot.shape

    def contracted(self, batch: Batch) -> tuple[Index, Index]:
        """Where the products of a batch begin and end along K: all of it, or the part that the batch stands for."""
        if self.c.part is None:
            return Index.of(0), self.k
        start = batch[0] * self.c.part
        return start, self.builder.min(start + self.c.part, self.k)

    def each_batch(self, group: Index, grain: int, body: Callable[[Batch], None]) -> None:
        """Emit ``body`` for the batches that task ``group`` does."""
        lower, upper = Index.of(0), self.batch
        if grain < bounds(self.c.batch)[1]:
            lower = group * grain
            upper = lower + 1 if grain == 1 else self.builder.min(lower + grain, self.batch)
        counted(self.builder, lower, upper, lambda number: body(self.batch_at(number)))

    def batch_at(self, number: Index) -> Batch:
        """The position along each batch axis of a number that counts all batches, the last axis fastest."""
        found: list[Index] = []
        for size in reversed(self.c.batches[1:]):
            if size != 1:
                found.append(self.builder.mod(number, self.sizes.index(size)))
                number = self.builder.floordiv(number, self.sizes.index(size))
            else:
                found.append(Index.of(0))
        return (number, *reversed(found))
