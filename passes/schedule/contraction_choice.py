"""Which kernels compute a contraction: outer or inner products, all columns alike or the last few by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mlc.ir.dims import bounds
from mlc.ir.graph import PARAMETER, TRANSPOSE
from mlc.ir.target import Target

from .contraction_form import Contraction

INNER_ROWS = 48  # with more rows, columns that are contiguous along K are turned into panels first
LEAST_ROWS = 8  # that pay for columns rewritten along K
LEAST_GAIN = 0.06  # of the time, for which the last columns get a kernel of their own
DEEP = 8192  # products of a sum, from which on it may be cut in parts
PART = 2048  # products of a part, at least
FEWEST_TASKS = 8
PART_WORK = 1_000_000  # multiply-adds that are worth a kernel that adds up parts

# Cycles, as measured: of a vector of outer products, of inner products, of the sum over a vector's lanes, of turning
# an element, of a kernel that is small.
OUTER, OUTER_START, INNER, LANES_SUM, TURN, START = 0.525, 3.0, 0.62, 3.3, 1.2, 300.0


@dataclass(frozen=True, slots=True)
class Part:
    """A kernel's share of a contraction; ``inner`` says by inner products."""

    contraction: Contraction
    inner: bool


def choose_parts(c: Contraction, target: Target) -> Iterator[Part]:
    """All columns in one kernel, but where the last few of them, which do not fill a vector, cost too much."""
    if _inner_serves(c, target):
        yield Part(c, True)
        return
    lanes = target.lanes(c.accumulator)
    rest = c.n % lanes if isinstance(c.n, int) else 0
    if isinstance(c.n, int) and 0 < rest <= lanes // 2 and rest < c.n and _rewrites_columns(c):
        few = replace(c, n=rest, first_column=c.n - rest)
        many = replace(c, n=c.n - rest)
        whole = _outer(c, lanes)
        if _outer(many, lanes) + _inner(few, lanes, turned=True) < (1 - LEAST_GAIN) * whole - START:
            yield Part(many, False)
            yield Part(few, True)
            return
    yield Part(c, False)


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


def _inner_serves(c: Contraction, target: Target) -> bool:
    """Few rows, and columns that are contiguous along K; or many rows, and columns too few for a vector."""
    if c.accumulator.itemsize < 4:
        return False
    along = c.columns.walks_contracted
    if along and (bounds(c.m)[1] if isinstance(c.m, int) else bounds(c.m)[0]) <= INNER_ROWS:
        return True
    lanes = target.lanes(c.accumulator)
    if not isinstance(c.n, int) or c.n >= lanes or not _rewrites_columns(c):
        return False
    return _inner(c, lanes, turned=not along) < _outer(c, lanes)


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
