"""More identities that keep every bit: of truth values, whole numbers, ops done twice, moves of repeated elements."""

from __future__ import annotations

from mlc.ir.graph import (
    ABS,
    ADD,
    AND,
    BROADCAST_IN_DIM,
    COMPARE,
    CONCATENATE,
    CONSTANT,
    CONVERT,
    DYNAMIC_SLICE,
    DYNAMIC_UPDATE_SLICE,
    IOTA,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATE,
    NOT,
    OPS,
    OR,
    PAD,
    REDUCE,
    RESHAPE,
    SELECT,
    SLICE,
    SUBTRACT,
    XOR,
    Node,
    broadcast_in_dim,
    fill,
    reducer_of,
)  # fmt: skip
from mlc.ir.types import BOOL

from .rewrite import Rule, of

REMAINDER, SIGN = OPS["remainder"], OPS["sign"]
SHIFTS = tuple(OPS[name] for name in ("shift_left", "shift_right_arithmetic", "shift_right_logical"))
ROUNDINGS = tuple(OPS[name] for name in ("floor", "ceil", "round_nearest_even", "round_nearest_afz"))
OPPOSITE = {"EQ": "NE", "NE": "EQ", "LT": "GE", "GE": "LT", "GT": "LE", "LE": "GT"}
_GROUPED = (ADD, MULTIPLY, AND, OR, XOR, MAXIMUM, MINIMUM)


def scalar_value(node: Node) -> float | int | bool | None:
    """The number that every element of ``node`` has, where it is a constant scalar or a broadcast of one."""
    while node.op is BROADCAST_IN_DIM or node.op is RESHAPE:
        node = node.operands[0]
    if node.op is CONSTANT and node["value"].array.size == 1:
        value: float | int | bool = node["value"].array.reshape(()).item()
        return value
    return None


# ---------------------------------------------------------------- truth values


@of(SELECT)
def select_of_truth(n: Node) -> Node | None:
    """select(p, true, false) -> p; select(p, false, true) -> not p."""
    p, x, y = n.operands
    if n.dtype != BOOL or p.shape != n.shape:
        return None
    chosen = scalar_value(x), scalar_value(y)
    return p if chosen == (True, False) else NOT(p) if chosen == (False, True) else None


@of(NOT)
def not_of_compare(n: Node) -> Node | None:
    """not (x == y) -> x != y, and so on; of floats only these two, since a NaN is neither less nor not less."""
    inner = n.operands[0]
    if inner.op is not COMPARE or (inner.operands[0].dtype.is_float and inner["direction"] not in ("EQ", "NE")):
        return None
    return COMPARE(*inner.operands, direction=OPPOSITE[inner["direction"]])


# ---------------------------------------------------------------- whole numbers


@of(AND, OR, MAXIMUM, MINIMUM)
def decided_by_one(n: Node) -> Node | None:
    """x and 0 -> 0, x or -1 -> -1, min(x, lowest) -> lowest: one operand decides. A float may be NaN."""
    if n.dtype.is_float:
        return None
    bits = n.dtype.bits
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if n.dtype.kind == "int" else (0, (1 << bits) - 1)
    if n.dtype == BOOL:
        high = 1
    deciding = {AND: 0, OR: high if low == 0 else -1, MAXIMUM: high, MINIMUM: low}[n.op]
    return next((x for x in n.operands if scalar_value(x) == deciding), None)


@of(SUBTRACT, XOR, REMAINDER)
def nothing_left(n: Node) -> Node | None:
    """x - x, x xor x and x % 1 are 0 for whole numbers."""
    if n.dtype.is_float:
        return None
    x, y = n.operands
    gone = scalar_value(y) == 1 if n.op is REMAINDER else x is y
    return fill(0, n.tensor) if gone else None


@of(*SHIFTS)
def shift_by_nothing(n: Node) -> Node | None:
    return n.operands[0] if scalar_value(n.operands[1]) == 0 else None


@of(*_GROUPED)
def join_constants(n: Node) -> Node | None:
    """(x + 2) + 3 -> x + 5 for whole numbers, which wrap; the largest and smallest of floats, too."""
    exact = n.op in (MAXIMUM, MINIMUM) or not n.dtype.is_float
    for inner, outer in (n.operands, n.operands[::-1]):
        if not exact or inner.op is not n.op or scalar_value(outer) is None:
            continue
        for x, known in (inner.operands, inner.operands[::-1]):
            if scalar_value(known) is not None and scalar_value(x) is None:
                return n.op(x, n.op(known, outer))
    return None


@of(MULTIPLY)
def multiply_by_minus_one(n: Node) -> Node | None:
    """x * -1 -> -x."""
    signed = n.dtype.is_float or n.dtype.kind == "int"
    return NEGATE(n.operands[0]) if signed and scalar_value(n.operands[1]) == -1 else None


@of(*ROUNDINGS, ABS, SIGN)
def done_before(n: Node) -> Node | None:
    """Rounding what is whole, the sign of a sign, and the absolute value of what has no sign change nothing."""
    x = n.operands[0]
    if n.op in ROUNDINGS:
        return x if x.op in ROUNDINGS or (x.op is CONVERT and not x.operands[0].dtype.is_float) else None
    if n.op is SIGN:
        return x if x.op is SIGN else None
    return x if n.dtype.kind == "uint" else None


# ---------------------------------------------------------------- moves


@of(SLICE)
def slice_of_broadcast(n: Node) -> Node | None:
    """A slice of a broadcast is a broadcast, where all of the operand's own axes are taken whole."""
    inner = n.operands[0]
    if inner.op is not BROADCAST_IN_DIM:
        return None
    source = inner.operands[0]
    own = [d for d, size in zip(inner["dimensions"], source.shape, strict=True) if size != 1]
    if any(n.shape[d] != inner.shape[d] or n["strides"][d] != 1 for d in own):
        return None
    return broadcast_in_dim(source, n.shape, inner["dimensions"])


@of(SLICE)
def slice_of_pad(n: Node) -> Node | None:
    """A slice that takes nothing of the padding is a slice of what was padded."""
    inner = n.operands[0]
    if inner.op is not PAD or any(inner["interior"]) or 0 in n.shape or not _is_static(inner, n):
        return None
    x, low = inner.operands[0], inner["low"]
    start = tuple(a - p for a, p in zip(n["start"], low, strict=True))
    limit = tuple(a - p for a, p in zip(n["limit"], low, strict=True))
    if not all(a >= 0 and b <= size for a, b, size in zip(start, limit, x.shape, strict=True)):
        return None
    return SLICE(x, start=start, limit=limit, strides=n["strides"])


@of(PAD)
def pad_of_pad(n: Node) -> Node | None:
    """Padding twice with one value, where neither cuts nor spreads, is padding once."""
    inner, value = n.operands
    if inner.op is not PAD or inner.operands[1] is not value or any((*n["interior"], *inner["interior"])):
        return None
    amounts = [(*a["low"], *a["high"]) for a in (inner, n)]
    if any(amount < 0 for both in amounts for amount in both):
        return None
    low, high = (tuple(a + b for a, b in zip(inner[k], n[k], strict=True)) for k in ("low", "high"))
    return PAD(inner.operands[0], value, low=low, high=high, interior=n["interior"])


@of(CONCATENATE)
def concatenate_of_slices(n: Node) -> Node | None:
    """Neighbouring slices side by side are one slice."""
    axis, (first, *rest) = n["dimension"], n.operands
    if first.op is not SLICE or not _is_static(first, n) or set(first["strides"]) != {1}:
        return None
    limit = list(first["limit"])
    for x in rest:
        if x.op is not SLICE or x.operands[0] is not first.operands[0] or set(x["strides"]) != {1}:
            return None
        where = [(x["start"][a], x["limit"][a]) for a in range(len(limit)) if a != axis]
        if where != [(first["start"][a], limit[a]) for a in range(len(limit)) if a != axis]:
            return None
        if x["start"][axis] != limit[axis]:
            return None
        limit[axis] = x["limit"][axis]
    return SLICE(first.operands[0], start=first["start"], limit=tuple(limit), strides=first["strides"])


@of(DYNAMIC_SLICE, DYNAMIC_UPDATE_SLICE)
def whole_window(n: Node) -> Node | None:
    """A window as large as the array lies at its beginning: all of it is read, or replaced."""
    what = n if n.op is DYNAMIC_SLICE else n.operands[1]
    if what.shape != n.operands[0].shape:
        return None
    return n.operands[0] if n.op is DYNAMIC_SLICE else what


@of(IOTA)
def count_of_one(n: Node) -> Node | None:
    return fill(0, n.tensor) if n.shape[n["dimension"]] == 1 else None


@of(REDUCE)
def reduce_of_reduce(n: Node) -> Node | None:
    """A fold of a fold by the same op is one fold: of whole numbers, and the largest and smallest of floats."""
    inner, op = n.operands[0], reducer_of(n["body"])
    if inner.op is not REDUCE or reducer_of(inner["body"]) is not op or inner.operands[1] is not n.operands[1]:
        return None
    if n.dtype.is_float and op not in (MAXIMUM, MINIMUM):
        return None
    if op in (ADD, MULTIPLY, XOR) and not _is_identity(n.operands[1], op):
        return None
    x = inner.operands[0]
    left = [a for a in range(len(x.shape)) if a not in inner["dimensions"]]
    dimensions = tuple(sorted((*inner["dimensions"], *(left[a] for a in n["dimensions"]))))
    return REDUCE(x, n.operands[1], dimensions=dimensions, body=n["body"])


def _is_identity(start: Node, op: object) -> bool:
    return scalar_value(start) == (1 if op is MULTIPLY else 0)


def _is_static(*nodes: Node) -> bool:
    return all(isinstance(size, int) for n in nodes for x in (n, *n.operands[:1]) for size in x.shape)


IDENTITIES: tuple[Rule, ...] = (
    select_of_truth, not_of_compare, decided_by_one, nothing_left, shift_by_nothing, join_constants,
    multiply_by_minus_one, done_before, slice_of_broadcast, slice_of_pad, pad_of_pad, concatenate_of_slices,
    whole_window, count_of_one, reduce_of_reduce,
)  # fmt: skip
