"""Updates of few rows: what subtracts a sum of scattered rows from an array is done on those rows alone.

``p - k * g``, where ``g`` is zero but for the rows that an embedding's gradient was added to, reads and writes all of
``p`` and of ``g``. Only rows that an index names change: they are read, updated and written back in place. Rows that
are named twice need the sum of both first. So each row named has a slot, the place of the last index that names it, in
an array that is as long as the list of indices; sums are made there, from zero and in the order of the indices, as
before. Rows that none names stay as they are, since ``x - 0.0`` is ``x`` for every ``x``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import (
    ADD,
    AND,
    BROADCAST_IN_DIM,
    COMPARE,
    CONCATENATE,
    CONSTANT,
    CONVERT,
    IOTA,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATE,
    OPTIMIZATION_BARRIER,
    SCATTER,
    SELECT,
    SUBTRACT,
    Graph,
    Node,
    Windows,
    combiner_of,
    fill,
    gather,
    reshape,
    scatter_windows,
    windows_of,
)  # fmt: skip
from mlc.ir.types import I32, TensorType

from .rewrite import Rule, of, rewrite

FEWER = 4  # how many times as many rows as indices there are at least: below, one walk over all rows is as fast


def update_rows(graph: Graph) -> Graph:
    """Replace updates of whole arrays that change few of their rows."""
    return rewrite(graph, RULES)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that are added to zeros: ``updates`` [count, ...] at ``indices`` [count]."""

    indices: Node
    updates: Node


@of(SUBTRACT, ADD)
def subtract_rows(n: Node) -> Node | None:
    """``p - k * g`` with k > 0, or ``p + k * g`` with k < 0, on the rows of ``p`` that ``g`` has."""
    for p, term in ((n.operands[0], n.operands[1]), (n.operands[1], n.operands[0])):
        if n.op is SUBTRACT and p is n.operands[1]:
            break
        sums, factors = _factors(term)
        negative = sum(1 for f in factors if f is None or f < 0) % 2 == 1
        found = _scattered(sums) if negative == (n.op is ADD) else None
        if found is not None:
            return _update(n, p, term, sums, found)
    return None


def _factors(term: Node) -> tuple[Node, list[float | None]]:
    """What is scaled, and the finite constants by which; None where it is negated."""
    found: list[float | None] = []
    while True:
        if term.op is NEGATE:
            found.append(None)
            (term,) = term.operands
            continue
        for k, x in (term.operands, term.operands[::-1]) if term.op is MULTIPLY else ():
            number = _constant(k)
            if number is not None and number != 0:
                found.append(number)
                term = x
                break
        else:
            return term, found


def _constant(node: Node) -> float | None:
    """The finite number that every element is."""
    while node.op is BROADCAST_IN_DIM:
        (node,) = node.operands
    if node.op is not CONSTANT or node["value"].array.size != 1:
        return None
    value = float(node["value"].array.reshape(()))
    return value if np.isfinite(value) else None


# ---------------------------------------------------------------- what is scattered


def _scattered(sums: Node) -> _Rows | None:
    """All rows that are added to zeros in ``sums``, where they are few."""
    if not sums.shape or not sums.dtype.is_float:
        return None
    rows = _terms(sums)
    if not rows:
        return None
    count: Size = 0
    for r in rows:
        count = r.indices.tensor.size + count
    if bounds(count)[1] * FEWER > bounds(sums.shape[0])[0] or bounds(sums.shape[0])[1] >= 1 << 31:
        return None
    numbers = [_as_i32(r.indices, sums.shape[0]) for r in rows]
    if len(rows) == 1:
        return _Rows(numbers[0], rows[0].updates)
    return _Rows(CONCATENATE(*numbers, dimension=0), CONCATENATE(*(r.updates for r in rows), dimension=0))


def _terms(sums: Node) -> list[_Rows] | None:
    """The scatters that are added up; None where something else is."""
    if sums.op is ADD:
        found: list[_Rows] = []
        for operand in sums.operands:
            terms = _terms(operand)
            if terms is None:
                return None
            found += terms
        return found
    if sums.op is SCATTER:
        rows = _rows_of(sums)
        before = [] if rows is not None and _is_zero(sums.operands[0]) else _terms(sums.operands[0])
        return None if rows is None or before is None else [*before, rows]
    return None


def _is_zero(node: Node) -> bool:
    value = _constant(node)
    return value == 0 and not np.signbit(value)


def _rows_of(node: Node) -> _Rows | None:
    """A scatter that adds whole rows."""
    windows, (x, indices, updates) = windows_of(node), node.operands
    rest = x.shape[1:]
    whole = windows.index_map == (0,) and windows.dropped == (0,) and not windows.batching
    last = len(updates.shape) - len(rest)
    if not whole or windows.sizes[1:] != rest or windows.window_dims != tuple(range(last, len(updates.shape))):
        return None
    if combiner_of(node["body"]) is not ADD:
        return None
    count = size_product(updates.shape[:last])
    return _Rows(reshape(indices, (count,)), reshape(updates, (count, *rest)))


def _as_i32(indices: Node, rows: Size) -> Node:
    """The same indices in i32; those outside are -1 or the number of rows."""
    least, most = indices.dtype.limits
    if least < 0:
        indices = MAXIMUM(indices, fill(-1, indices.tensor))
    if isinstance(rows, int) and rows <= most:
        indices = MINIMUM(indices, fill(rows, indices.tensor))
    return indices if indices.dtype == I32 else CONVERT(indices, dtype=I32)


# ---------------------------------------------------------------- their update


def _update(n: Node, p: Node, term: Node, sums: Node, rows: _Rows) -> Node | None:
    length, count = p.shape[0], rows.indices.shape[0]
    if not isinstance(length, int):
        return None
    indices = rows.indices
    low, high = fill(0, indices.tensor), fill(length, indices.tensor)
    inside = AND(COMPARE(indices, low, direction="GE"), COMPARE(indices, high, direction="LT"))
    every = TensorType((length,), I32)
    places = IOTA(shape=(count,), dtype=I32, dimension=0)
    last = scatter_windows(fill(-1, every), indices, places, _whole(every, indices), None)
    slots = SELECT(inside, gather(last, indices, _whole(every, indices)), fill(-1, indices.tensor))
    few = rows.updates.tensor
    total = scatter_windows(fill(0.0, few), slots, rows.updates, _whole(few, slots), ADD)
    old, change = gather(p, indices, _whole(p.tensor, indices)), gather(total, slots, _whole(few, slots))
    scaled = _again(term, sums, change)
    new = n.op(old, scaled)
    return scatter_windows(p, indices, OPTIMIZATION_BARRIER(new), _whole(p.tensor, indices), None)


def _again(term: Node, sums: Node, change: Node) -> Node:
    """``term`` on rows in place of the sums."""
    if term is sums:
        return change
    if term.op is NEGATE:
        return NEGATE(_again(term.operands[0], sums, change))
    x, y = term.operands
    number = _constant(x)
    if number is not None and number != 0:
        return MULTIPLY(fill(number, change.tensor), _again(y, sums, change))
    number = _constant(y)
    assert number is not None
    return MULTIPLY(_again(x, sums, change), fill(number, change.tensor))


def _whole(x: TensorType, indices: Node) -> Windows:
    """The rows of ``x`` at ``indices``."""
    return Windows(x, indices.tensor, (1, *x.shape[1:]), tuple(range(1, x.rank)), (0,), (), (), (0,), 1)


RULES: tuple[Rule, ...] = (subtract_rows,)
