"""Which kernels compute a contraction: outer or inner products, all columns alike or the last few by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from mlc.ir.dims import bounds
from mlc.ir.graph import PARAMETER, TRANSPOSE
from mlc.ir.target import Target

from .contraction_form import Contraction
from .narrow_product import narrow_width
from .pair_product import as_pairs

INNER_ROWS = 48  # with more rows, columns that are contiguous along K are turned into panels first
LEAST_ROWS = 8  # that pay for columns rewritten along K
LEAST_GAIN = 0.06  # of the time, for which the last columns get a kernel of their own
DEEP = 8192  # products of a sum, from which on it may be cut in parts
PART = 2048  # products of a part, at least
FEWEST_TASKS = 8
PART_WORK = 1_000_000  # multiply-adds that are worth a kernel that adds up parts

# Cycles, as measured: of a vector of outer products, of inner products, of the sum over a vector's lanes, of turning
# an element, of a kernel that is small; and of narrow products.
OUTER, OUTER_START, INNER, LANES_SUM, TURN, START = 0.525, 3.0, 0.62, 3.3, 1.2, 300.0
STREAM = 1 / 28  # of a byte from the second-level cache
NARROW, NARROW_FOLD, NARROW_COPY = 0.58, 1.5, 1.5  # of a vector, of a halving of its lanes, of a k that is copied


Way = Literal["outer", "inner", "narrow", "pair"]


@dataclass(frozen=True, slots=True)
class Part:
    """A kernel's share of a contraction, and the products that it is computed by."""

    contraction: Contraction
    way: Way


def choose_parts(c: Contraction, target: Target) -> Iterator[Part]:
    """All columns in one kernel, but where the last few of them, which do not fill a vector, cost too much."""
    pairs = as_pairs(c)
    if pairs is not None:
        yield Part(pairs, "pair")
        return
    if _inner_serves(c):
        yield Part(c, "inner")
        return
    lanes = target.lanes(c.accumulator)
    if not isinstance(c.n, int) or c.n == 0 or not _rewrites_columns(c):
        yield Part(c, "outer")
        return
    best, least = [Part(c, "outer")], (1 - LEAST_GAIN) * _outer(c, lanes)
    rest = c.n % lanes
    for first in dict.fromkeys((rest, rest - rest % (lanes // 2), rest - rest % (lanes // 4))):
        parts = [Part(replace(c, n=c.n - rest), "outer")] if rest < c.n else []
        at = c.n - rest
        for n in (first, rest - first):
            if n:
                parts.append(_few(replace(c, n=n, first_column=at), target))
                at += n
        cost = sum(_cost(part, target) for part in parts) + START * (len(parts) - 1)
        if rest and cost < least:
            best, least = parts, cost
    yield from best


def _few(c: Contraction, target: Target) -> Part:
    """Columns that do not fill a vector, in the way that costs least."""
    ways: tuple[Way, ...] = ("inner", "outer") if c.columns.walks_contracted else ("inner", "narrow", "outer")
    parts = [Part(c, way) for way in ways if way != "outer" or c.first_column == 0]
    return min(parts, key=lambda part: _cost(part, target))


def _cost(part: Part, target: Target) -> float:
    """Cycles: rows that do not stay in the first-level cache come from the second one, once for each part."""
    c, lanes = part.contraction, target.lanes(part.contraction.accumulator)
    if part.way == "outer":
        return _outer(c, lanes)
    if part.way == "inner":
        cycles = _inner(c, lanes, turned=not (c.columns.walks_contracted and c.first_column == 0))
    else:
        cycles = _narrow(c, lanes)
    nbytes = bounds(c.m)[1] * c.length * c.accumulator.itemsize
    return max(cycles, bounds(c.batch)[1] * nbytes * STREAM if nbytes > target.l1_bytes else 0)


def parts_of_k(c: Contraction) -> tuple[int, int] | None:
    """The number and the length of parts of a deep K with so few results that they make few tasks; else None."""
    if not isinstance(c.k, int) or c.k < DEEP or c.batch != 1 or not c.accumulator.is_float:
        return None
    if any(r.op is TRANSPOSE for r in c.body.results):
        return None
    m, n = bounds(c.m)[1], bounds(c.n)[1]
    tasks = max(-(-m * n // (14 * 32)), 1)
    if tasks >= FEWEST_TASKS or m * n * c.k < PART_WORK:
        return None
    count = min(-(-FEWEST_TASKS // tasks) * 2, c.k // PART)
    length = -(-c.k // (count * 64)) * 64
    return -(-c.k // length), length


def _inner_serves(c: Contraction) -> bool:
    """Few rows, and columns that are contiguous along K."""
    if c.accumulator.itemsize < 4 or not c.columns.walks_contracted:
        return False
    return (bounds(c.m)[1] if isinstance(c.m, int) else bounds(c.m)[0]) <= INNER_ROWS


def _rewrites_columns(c: Contraction) -> bool:
    """Whether columns may be rewritten along K: sizes are known, and many rows are in memory that way."""
    if not (isinstance(c.m, int) and isinstance(c.k, int) and isinstance(c.batch, int)):
        return False
    rows = c.rows
    in_memory = rows.node.op is PARAMETER and rows.node.dtype == c.accumulator
    return in_memory and rows.walks_contracted and c.m >= LEAST_ROWS and c.k > 1 and c.accumulator.itemsize >= 4


def _outer(c: Contraction, lanes: int) -> float:
    m, n, k, batch = (bounds(s)[1] for s in (c.m, c.n, c.k, c.batch))
    return batch * m * -(-n // lanes) * (OUTER * k + OUTER_START)


def _inner(c: Contraction, lanes: int, turned: bool) -> float:
    m, n, k, batch = (bounds(s)[1] for s in (c.m, c.n, c.k, c.batch))
    sums = batch * m * n * (-(-k // lanes) * INNER + LANES_SUM)
    return sums + (batch * TURN * k * n + START if turned else 0)


def _narrow(c: Contraction, lanes: int) -> float:
    m, n, k, batch = (bounds(s)[1] for s in (c.m, c.n, c.k, c.batch))
    width = narrow_width(n)
    if width > lanes // 2:
        return float("inf")
    steps = lanes // width
    return batch * (m * (-(-k // steps) * NARROW + 2 + NARROW_FOLD * steps.bit_length()) + k * NARROW_COPY)
