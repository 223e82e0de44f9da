"""Walks the reduced axes of one kept point, or of some vectors of kept points, and leaves a value for each fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Value

from .axes import Group
from .domain import Domain
from .elements import Elements, Point
from .folds import Fold

CHAIN = 32  # additions that one accumulator takes before it is added to an outer one
ROW_ACCUMULATORS = 4

Bounds = tuple[Index, Index]
Visit = Callable[[Point], None]


@dataclass(frozen=True)
class FoldWalk:
    """Loops over the ``reduced`` groups, the last innermost; the lanes lie along it (``in_rows``) or along a kept axis.

    ``columns`` vectors of kept elements, ``lanes`` apart, are folded side by side. ``enter`` is called with every
    point before its elements are folded and ``leave`` after.
    """

    elements: Elements
    domain: Domain
    folds: tuple[Fold, ...]
    reduced: tuple[Group, ...]
    ranges: Sequence[Bounds]
    lanes: int
    lane_variable: IndexVariable
    in_rows: bool
    columns: int = 1
    mask: Value | None = None
    enter: Visit | None = None
    leave: Visit | None = None

    def run(self, at: Mapping[IndexVariable, Index]) -> list[list[Value]]:
        """For each column the folds' values: scalars in rows, vectors of kept elements in columns."""
        b = self.elements.builder
        slots = self._accumulators()
        found = self._outer(0, dict(at), self._start(slots))
        values = []
        for column in range(self.columns):
            row = []
            for k, fold in enumerate(self.folds):
                mine = [found[self._slot(k, column, a, slots)] for a in range(slots)]
                while len(mine) > 1:
                    half = len(mine) // 2
                    mine = [fold.combine(b, mine[i], mine[i + half]) for i in range(half)] + mine[2 * half :]
                row.append(fold.across(b, mine[0]) if self.in_rows else mine[0])
            values.append(row)
        return values

    def _accumulators(self) -> int:
        """Independent accumulators of a fold and column: as many as hide the latency of an addition."""
        if not self.reduced:
            return 1
        lower, upper = self.ranges[-1]
        trips = (upper - lower).constant
        most = max(ROW_ACCUMULATORS // self.columns, 1)
        if len(self.folds) > 2:
            most = min(most, 2)
        if trips is not None:
            while most > 1 and trips < most * self._width:
                most //= 2
        return most

    @property
    def _width(self) -> int:
        return self.lanes if self.in_rows else 1

    def _slot(self, fold: int, column: int, accumulator: int, slots: int) -> int:
        return (fold * self.columns + column) * slots + accumulator

    def _start(self, slots: int) -> list[Value]:
        b, values = self.elements.builder, []
        for fold in self.folds:
            first = fold.start(b, self.lanes)
            values += [first] * (self.columns * slots)
        return values

    def _outer(self, depth: int, at: dict[IndexVariable, Index], values: list[Value]) -> list[Value]:
        """The reduced groups outside of the innermost."""
        if depth >= len(self.reduced) - 1:
            return self._inner(at, values)
        group, (lower, upper) = self.reduced[depth], self.ranges[depth]
        return self._loop(
            lower, upper, 1, values, self._is_long(depth), lambda i, v: self._outer(depth + 1, at | group.at(i), v)
        )

    def _is_long(self, depth: int) -> bool:
        """Whether the loops inside of this one make chains long enough to start afresh for each iteration."""
        lower, upper = self.ranges[-1]
        trips = (upper - lower).constant
        return any(f.rounds for f in self.folds) and (trips is None or trips >= 8 * self._width)

    def _loop(
        self,
        lower: Index,
        upper: Index,
        step: int,
        values: list[Value],
        afresh: bool,
        body: Callable[[Index, list[Value]], list[Value]],
    ) -> list[Value]:
        """A loop carrying the accumulators; ``afresh`` starts new ones in each iteration and adds them after it."""
        b = self.elements.builder
        trips = (upper - lower).constant
        if trips is not None and trips <= 0:
            return values
        if trips is not None and trips <= step:
            return body(lower, values)
        with b.loop(lower, upper, step, carried=values) as loop:
            carried = list(loop.carried)
            if afresh:
                found = body(loop.index, self._start(len(values) // (len(self.folds) * self.columns)))
                per_fold = len(values) // len(self.folds)
                found = [
                    self.folds[k // per_fold].combine(b, c, f)
                    for k, (c, f) in enumerate(zip(carried, found, strict=True))
                ]
            else:
                found = body(loop.index, carried)
            b.yield_(*found)
        return list(loop.results)

    def _inner(self, at: dict[IndexVariable, Index], values: list[Value]) -> list[Value]:
        """The innermost reduced group, in blocks where it is long."""
        if not self.reduced:
            return self._step(at, None, Index.of(0), values, 1, self.mask)
        b = self.elements.builder
        lower, upper = self.ranges[-1]
        trips = (upper - lower).constant
        slots = self._accumulators()
        block = CHAIN * slots * self._width
        if not any(f.rounds for f in self.folds) or (trips is not None and trips <= 2 * block):
            return self._span(lower, upper, at, values)
        blocks = lower + self._floor(upper - lower, block)
        values = self._loop(lower, blocks, block, values, True, lambda i, v: self._span(i, i + block, at, v))
        if (upper - blocks).constant == 0:
            return values
        rest = self._span(blocks, upper, at, self._start(slots))
        per_fold = len(values) // len(self.folds)
        return [self.folds[k // per_fold].combine(b, v, r) for k, (v, r) in enumerate(zip(values, rest, strict=True))]

    def _span(self, lower: Index, upper: Index, at: dict[IndexVariable, Index], values: list[Value]) -> list[Value]:
        """All slots a step, then one vector or element a step into the first slots, then the masked tail."""
        b, width, slots = self.elements.builder, self._width, self._accumulators()
        group = self.reduced[-1]
        many = lower + self._floor(upper - lower, width * slots)
        single = lower + self._floor(upper - lower, width)

        def step(count: int) -> Callable[[Index, list[Value]], list[Value]]:
            return lambda i, v: self._step(at, group, i, v, count, self.mask)

        values = self._loop(lower, many, width * slots, values, False, step(slots))
        if slots > 1:
            values = self._loop(many, single, width, values, False, step(1))
        if width > 1 and (upper - single).constant != 0:

            def tail(i: Index, v: list[Value]) -> list[Value]:
                return self._step(at, group, i, v, 1, b.tail_mask(i, upper, width))

            values = self._loop(single, upper, width, values, False, tail)
        return values

    def _step(
        self,
        at: dict[IndexVariable, Index],
        group: Group | None,
        index: Index,
        values: list[Value],
        count: int,
        mask: Value | None,
    ) -> list[Value]:
        """Elements join ``count`` accumulators of every fold and column."""
        b, new = self.elements.builder, list(values)
        slots = len(values) // (len(self.folds) * self.columns)
        for a in range(count):
            here = at | (group.at(index + a * self._width) if group else {})
            for column in range(self.columns):
                if not self.in_rows:
                    here = here | {self.lane_variable: at[self.lane_variable] + column * self.lanes}
                point = Point(self.elements, self.domain, here, self.lanes, self.lane_variable, mask)
                if self.enter is not None:
                    self.enter(point)
                for k, fold in enumerate(self.folds):
                    slot = self._slot(k, column, a, slots)
                    new[slot] = fold.step(b, new[slot], point)
                if self.leave is not None:
                    self.leave(point)
        return new

    def _floor(self, length: Index, step: int) -> Index:
        """The largest multiple of ``step`` in ``length``."""
        b: KernelBuilder = self.elements.builder
        return b.floordiv(length, step) * step
