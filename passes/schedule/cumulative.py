"""reduce_window over all elements up to each: the operand (or what is there) folded along one axis, in place.

Along the last axis a vector is folded in log2(lanes) steps, each with itself moved on; what came before it is carried
from vector to vector. Other axes are walked element by element, with the lanes along the axes behind.
"""

from __future__ import annotations

from contextlib import ExitStack

from mlc.ir.dims import size_product
from mlc.ir.graph import Graph, cumulative_axis, identity_of, reducer_of
from mlc.ir.kernel import Index, KernelBuilder, Memory, Value
from mlc.ir.target import Target

from .axes import Group
from .loop import enter_loop, task_ranges
from .region import KernelCall, Operand, ScheduledRegion
from .scalars import bits_of_element
from .sizes import Sizes
from .tasks import choose_lanes, count_tasks, cut, vector_loop
from .update import write_operand

MOST_LANES = 16  # more of small elements take longer to move among each other


def schedule_cumulative(body: Graph, target: Target) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and the one that folds it."""
    first = write_operand(body, body.results[0].operands[0], target)
    return ScheduledRegion((*first.calls, _Folds(body, target).call()), (), first.in_place, first.copies)


class _Folds:
    """A body's result as an array of three axes: rows before the folded one, that, and columns behind."""

    def __init__(self, body: Graph, target: Target) -> None:
        self.node = body.results[0]
        self.op = reducer_of(self.node["body"])
        self.identity = bits_of_element(identity_of(self.op, self.node.dtype), self.node.dtype)
        axis, _ = cumulative_axis(self.node) or (0, False)
        shape = self.node.shape
        self.rows, self.count, self.columns = size_product(shape[:axis]), shape[axis], size_product(shape[axis + 1 :])
        self.sizes = Sizes(body)
        along = self.count if self.columns == 1 else self.columns
        self.lanes = min(choose_lanes((self.node,), target, along), MOST_LANES)

    def call(self) -> KernelCall:
        in_rows = self.columns == 1
        extents = (self.rows,) if in_rows else (self.rows, self.columns)
        cost = 2 * self.node.dtype.itemsize * self.sizes.upper_bound(self.sizes.index(self.count))
        grains = cut(extents, max(cost, 1), 1 if in_rows else 4 * self.lanes)
        tasks = tuple((e, n) for e, n in zip(extents, grains, strict=True) if n is not None) or ((1, 1),)
        b = KernelBuilder(f"cumulative_{self.op.name}", self.sizes.count)
        memory = b.buffer("r0", self.node.dtype, (self.sizes.index(self.node.tensor.size),), access="readwrite")
        groups = tuple(Group((), e) for e in extents)
        with b.parallel(*((self.sizes.index(e), n) for e, n in tasks)) as at, ExitStack() as stack:
            ranges = task_ranges(b, groups, grains, at, self.sizes)
            row = enter_loop(b, stack, *ranges[0])
            start = row * self.sizes.index(self.count) * self.sizes.index(self.columns)
            if in_rows:
                self._fold_row(b, memory, start)
            else:
                columns = self.sizes.index(self.columns)
                emit = lambda i, mask: self._fold_columns(b, memory, start + i, mask)  # noqa: E731
                vector_loop(b, *ranges[1], columns, self.lanes, 1, emit)
        return KernelCall(b.build(), (Operand("result", 0),), self.sizes.operands, tasks, count_tasks(tasks) <= 1)

    def _fold_row(self, b: KernelBuilder, memory: Memory, start: Index) -> None:
        """Vectors one after another, then the elements that fill none."""
        length = self.sizes.index(self.count)
        neutral = b.constant_bits(self.identity, self.node.dtype, self.lanes)
        with b.loop(0, b.floordiv(length, self.lanes) * self.lanes, self.lanes, carried=(neutral,)) as at:
            folded = self._folded(b, b.load(memory, (start + at.index,), self.lanes), neutral)
            (before,) = at.carried
            b.store(memory, (start + at.index,), b.op(self.op.name, before, folded))
            last = b.shuffle(folded, folded, [self.lanes - 1] * self.lanes)
            b.yield_(b.op(self.op.name, before, last))
        if isinstance(self.count, int) and self.count % self.lanes == 0:
            return
        (before,) = at.results
        with b.loop(b.floordiv(length, self.lanes) * self.lanes, length, self.lanes) as tail:
            mask = b.tail_mask(tail.index, length, self.lanes)
            folded = self._folded(b, b.load(memory, (start + tail.index,), self.lanes, mask), neutral)
            b.store(memory, (start + tail.index,), b.op(self.op.name, before, folded), mask)

    def _folded(self, b: KernelBuilder, v: Value, neutral: Value) -> Value:
        """Each lane with all those before it."""
        apart = 1
        while apart < self.lanes:
            moved = b.shuffle(neutral, v, [i if i < apart else self.lanes + i - apart for i in range(self.lanes)])
            v = b.op(self.op.name, moved, v)
            apart *= 2
        return v

    def _fold_columns(self, b: KernelBuilder, memory: Memory, start: Index, mask: Value | None) -> None:
        neutral = b.constant_bits(self.identity, self.node.dtype, self.lanes)
        columns = self.sizes.index(self.columns)
        with b.loop(0, self.sizes.index(self.count), carried=(neutral,), unroll=4) as at:
            place = start + at.index * columns
            folded = b.op(self.op.name, at.carried[0], b.load(memory, (place,), self.lanes, mask))
            b.store(memory, (place,), folded, mask)
            b.yield_(folded)
