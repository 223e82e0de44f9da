"""Folds of windows, and what they select, to elementwise work on shifted slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from mlc.errors import UnsupportedError
from mlc.ir.dims import Dim, Size
from mlc.ir.graph import (
    ADD,
    AND,
    COMPARE,
    CONSTANT,
    CONVERT,
    IOTA,
    MULTIPLY,
    NOT,
    OR,
    REDUCE_WINDOW,
    REVERSE,
    SELECT,
    SELECT_AND_GATHER,
    SELECT_AND_SCATTER,
    Literal,
    Node,
    Op,
    body_of,
    broadcast_in_dim,
    constant,
    cumulative,
    cumulative_axis,
    direction_of,
    fill,
    identity_of,
    reducer_of,
    reshape,
)  # fmt: skip
from mlc.ir.graph.window import dilated
from mlc.ir.graph.window_parts import fixed, pad_windows, window_element
from mlc.ir.types import BOOL, F32, I32, I64, DType

from .rewrite import of

MOST_AT_ONCE = 9  # elements of a window that one loop folds; larger windows are folded an axis at a time


@of(REDUCE_WINDOW)
def open_reduce_window(n: Node) -> Node | None:
    """reduce_window(x, init) -> op(op(init, x at the first element of each window), x at the second) ...

    Large windows are folded an axis at a time, and along an axis by windows of half the size. 16-bit floats are summed
    in f32.
    """
    if n.op is not REDUCE_WINDOW:
        return None
    x, init = n.operands
    op = reducer_of(n["body"])
    along = cumulative_axis(n) if prod(n["window_dimensions"]) > MOST_AT_ONCE and n.dtype != BOOL else None
    if n.dtype.is_float and n.dtype.bits == 16 and (op in (ADD, MULTIPLY) or along is not None):
        attributes = {**n.attributes, "body": body_of(op, F32)}
        wide = REDUCE_WINDOW(CONVERT(x, dtype=F32), CONVERT(init, dtype=F32), **attributes)
        return CONVERT(wide, dtype=n.dtype)
    if along is not None and n.tensor.size != 0:
        return _open_cumulative(n, op, *along)
    x = pad_windows(x, init, n["padding"], [d - 1 for d in n["base_dilations"]])
    counts, strides, dilations = list(n.shape), n["window_strides"], n["window_dilations"]
    if n.tensor.size == 0:
        return fill(0.0, n.tensor)
    if prod(n["window_dimensions"]) <= MOST_AT_ONCE:
        taps = list(product(*map(range, n["window_dimensions"])))
        parts = [
            window_element(x, [t * d for t, d in zip(tap, dilations, strict=True)], counts, strides) for tap in taps
        ]
        return _from(init, op, _chain(op, parts))
    for axis, (window, dilation) in enumerate(zip(n["window_dimensions"], dilations, strict=True)):
        x = _fold_axis(op, x, axis, window, dilation)
    x = window_element(x, [0] * len(counts), counts, strides)
    return _from(init, op, x)


def _open_cumulative(n: Node, op: Op, axis: int, backward: bool) -> Node | None:
    """Folds that go backward turned; others are what a kernel does."""
    if not backward:
        return None
    turned = cumulative(op, REVERSE(n.operands[0], dimensions=(axis,)), axis)
    return REVERSE(turned, dimensions=(axis,))


def _from(init: Node, op: Op, x: Node) -> Node:
    """op(init, x); ``x`` where that changes nothing."""
    neutral = init.op is CONSTANT and init["value"] == Literal(identity_of(op, x.dtype), x.dtype)
    return x if neutral and op is not ADD else op(broadcast_in_dim(init, x.shape, ()), x)  # 0.0 + -0.0 is 0.0


def _fold_axis(op: Op, x: Node, axis: int, window: int, dilation: int) -> Node:
    """Every window of this size along one axis, a stride of 1 apart, by windows of half the size."""
    if window == 1:
        return x
    half = window // 2
    part = _fold_axis(op, x, axis, half, dilation)
    rest = part if window % 2 == 0 else _fold_axis(op, x, axis, window - half, dilation)
    count = x.shape[axis] - (dilated(window, dilation) - 1)
    first = [0] * len(x.shape)
    counts = [count if a == axis else n for a, n in enumerate(x.shape)]
    later = [half * dilation if a == axis else 0 for a in range(len(x.shape))]
    return op(window_element(part, first, counts), window_element(rest, later, counts))


def _chain(op: Op, parts: Sequence[Node]) -> Node:
    total = parts[0]
    for part in parts[1:]:
        total = op(total, part)
    return total


# ---------------------------------------------------------------- selection


@dataclass(frozen=True, slots=True)
class _Selected:
    """For each window the number of the selected element (``place``, by ``codes``) and what was carried along."""

    place: Node
    carried: Node | None


@of(SELECT_AND_GATHER)
def open_select_and_gather(n: Node) -> Node | None:
    """The element selected, carried through the comparisons that select it."""
    if n.op is not SELECT_AND_GATHER:
        return None
    if n.tensor.size == 0:
        return fill(0.0, n.tensor)
    x, operand = n.operands
    return _select(n, operand, n.shape, x).carried


@of(SELECT_AND_SCATTER)
def open_select_and_scatter(n: Node) -> Node | None:
    """Each element of the operand gathers from the windows that it is in: from one where they do not overlap.

    The operand's axes are cut in blocks of a stride: block q, place r in it. Window q - j selects the element where
    the number that it selected is that of place r + j * stride.
    """
    if n.op is not SELECT_AND_SCATTER:
        return None
    source, init = n.operands[1:]
    start = broadcast_in_dim(init, n.shape, ())
    if n.tensor.size == 0 or source.tensor.size == 0:
        return start
    if reducer_of(n["scatter"]) is not ADD:
        raise UnsupportedError("select_and_scatter: the scatter body is not add")
    if n.dtype.is_float and n.dtype.bits == 16 and not _apart(n):
        return CONVERT(_gathered(n, CONVERT(source, dtype=F32), CONVERT(start, dtype=F32)), dtype=n.dtype)
    return _gathered(n, source, start)


def _apart(n: Node) -> bool:
    """Whether no element is in two windows."""
    return all(w <= s for w, s in zip(n["window_dimensions"], n["window_strides"], strict=True))


def _gathered(n: Node, source: Node, start: Node) -> Node:
    operand = n.operands[0]
    place = _select(n, operand, source.shape).place
    rank = len(n.shape)
    cut = [a for a in range(rank) if n["window_dimensions"][a] > 1 or n["window_strides"][a] > 1]
    blocks: list[Size] = list(source.shape)
    for a in cut:
        padded = n.shape[a] + sum(n["padding"][a])
        if isinstance(padded, Dim):
            raise UnsupportedError(f"select_and_scatter: axis {a} of {n.tensor} is symbolic and has windows on it")
        blocks[a] = -(-padded // n["window_strides"][a])
    split: list[Size] = []
    where = []  # of each axis of the source in the shape with its places
    for a in range(rank):
        where.append(len(split))
        split += [blocks[a], n["window_strides"][a]] if a in cut else [blocks[a]]
    shape = tuple(split)
    zero = fill(0.0, source.tensor.with_shape(shape))
    reach = [-(-n["window_dimensions"][a] // n["window_strides"][a]) if a in cut else 1 for a in range(rank)]
    total: Node | None = None
    for back in product(*map(range, reach)):
        moved = [_moved(x, back, blocks, value) for x, value in ((place, -1), (source, 0))]
        chosen, value = (broadcast_in_dim(x, shape, tuple(where)) for x in moved)
        code = _code(n, back, shape, where, cut, place.dtype)
        part = SELECT(COMPARE(chosen, code, direction="EQ"), value, zero)
        total = part if total is None else ADD(total, part)
    assert total is not None
    whole = [b * n["window_strides"][a] if a in cut else b for a, b in enumerate(blocks)]
    low = [pair[0] for pair in n["padding"]]
    none = constant(np.zeros((), total.dtype.numpy), total.dtype)
    joined = reshape(total, tuple(whole))
    rest = tuple((-a, fixed(have - size + a)) for a, have, size in zip(low, n.shape, whole, strict=True))
    inner = pad_windows(joined, none, rest)
    return inner if _is_zero(start) else ADD(inner, start)


def _moved(x: Node, back: Sequence[int], blocks: Sequence[Size], value: int) -> Node:
    """``x`` with element q - back at q, for as many q as there are blocks."""
    padding = tuple((j, fixed(b - have - j)) for j, b, have in zip(back, blocks, x.shape, strict=True))
    return pad_windows(x, constant(np.asarray(value).astype(x.dtype.numpy), x.dtype), padding)


def _code(n: Node, back: Sequence[int], shape: tuple[Size, ...], where: Sequence[int], cut: Sequence[int],
          dtype: DType) -> Node:  # fmt: skip
    """The number of place r + back * stride in a window, for every place; no window has a number below 0."""
    total = fill(0.0, n.tensor.with_dtype(dtype).with_shape(shape))
    outside: Node | None = None
    codes = _codes(n["window_dimensions"])
    for a in cut:
        window, stride = n["window_dimensions"][a], n["window_strides"][a]
        r = IOTA(shape=shape, dtype=dtype, dimension=where[a] + 1)
        first = back[a] * stride
        total = ADD(total, MULTIPLY(ADD(r, _number(first, r)), _number(codes[a], r)))
        if first + stride > window:
            beyond = COMPARE(r, _number(window - first, r), direction="GE")
            outside = beyond if outside is None else OR(outside, beyond)
    return total if outside is None else SELECT(outside, _number(-2, total), total)


def _select(n: Node, operand: Node, counts: Sequence[Size], x: Node | None = None) -> _Selected:
    """What each window selects; ``x`` is carried along. -1 where the window is all padding."""
    dtype = I64 if operand.dtype.bits == 64 else I32
    keeps = direction_of(n["select"])
    zero = constant(np.zeros((), operand.dtype.numpy), operand.dtype)
    padded = any(low > 0 or high > 0 for low, high in n["padding"])
    inside = pad_windows(fill(1.0, operand.tensor.with_dtype(BOOL)), constant(np.False_, BOOL), n["padding"])
    operand = pad_windows(operand, zero, n["padding"])
    carry = None if x is None else pad_windows(x, zero, n["padding"])
    codes = _codes(n["window_dimensions"])
    best = place = held = found = None
    for tap in product(*map(range, n["window_dimensions"])):
        here = window_element(operand, tap, counts, n["window_strides"])
        number = fill(sum(t * c for t, c in zip(tap, codes, strict=True)), here.tensor.with_dtype(dtype))
        value = None if carry is None else window_element(carry, tap, counts, n["window_strides"])
        there = window_element(inside, tap, counts, n["window_strides"]) if padded else None
        if best is None or place is None:
            best, place, held, found = here, number, value, there
            if there is not None:
                place = SELECT(there, number, _number(-1, number))
                held = None if value is None else SELECT(there, value, fill(0.0, value.tensor))
            continue
        take = NOT(COMPARE(best, here, direction=keeps))
        if there is not None and found is not None:
            take = AND(there, OR(take, NOT(found)))
            found = OR(found, there)
        best, place = SELECT(take, here, best), SELECT(take, number, place)
        held = None if held is None or value is None else SELECT(take, value, held)
    assert place is not None
    return _Selected(place, held)


# ---------------------------------------------------------------- parts


def _codes(window: Sequence[int]) -> list[int]:
    """What a step along each axis adds to the row-major number of an element of a window."""
    return [prod(window[a + 1 :]) for a in range(len(window))]


def _number(value: int, like: Node) -> Node:
    return fill(value, like.tensor)


def _is_zero(x: Node) -> bool:
    value: Any = x
    while value.op.name == "broadcast_in_dim":
        value = value.operands[0]
    return bool(value.op.name == "constant" and not value["value"].array.any())
