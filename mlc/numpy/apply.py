"""What elementwise functions have in common: promote, broadcast, apply one op to nodes."""

from __future__ import annotations

from mlc.errors import ArgumentError, DTypeError
from mlc.ir.graph import (
    ADD,
    AND,
    COMPARE,
    CONVERT,
    DIVIDE,
    MULTIPLY,
    NEGATE,
    REMAINDER,
    ROUND_NEAREST_EVEN,
    SELECT,
    SUBTRACT,
    fill,
    full_like,
)  # fmt: skip
from mlc.ir.graph.node import Node
from mlc.ir.graph.op import Op
from mlc.ir.types import BOOL, I64
from mlc.tracing.lift import as_node, describe
from mlc.tracing.tracer import Tracer

from .promotion import broadcast_node, promote, wrap


def apply_unary(name: str, op: Op, x: object) -> Tracer:
    (node,), weak = promote(name, x)
    if node.dtype == BOOL:
        raise DTypeError(f"{name}: operand is {node.type}; it takes numbers", hint=".astype('i64') makes them")
    return wrap(op(node), weak)


def apply_binary(name: str, op: Op, x1: object, x2: object) -> Tracer:
    (x, y), weak = promote(name, x1, x2)
    if op is SUBTRACT and x.dtype == BOOL:
        raise DTypeError(f"{name}: lhs is {x.type}, rhs is {y.type}; bools have no difference",
                         hint="lhs ^ rhs is where they differ; .astype('i64') makes numbers")  # fmt: skip
    return wrap(op(x, y), weak)


def promote_numbers(name: str, x1: object, x2: object) -> tuple[list[Node], bool]:
    """Promoted operands; bools become i64."""
    nodes, weak = promote(name, x1, x2)
    return [CONVERT(n, dtype=I64) if n.dtype == BOOL else n for n in nodes], weak


def apply_real(name: str, op: Op, x: object) -> Tracer:
    (node,), weak = promote(name, x, to_float=True)
    return wrap(op(node), weak)


def apply_rounding(name: str, op: Op, x: object) -> Tracer:
    (node,), weak = promote(name, x)
    return wrap(op(node) if node.dtype.is_float else node, weak)


def apply_compare(name: str, direction: str, x1: object, x2: object) -> Tracer:
    if x1 is None or x2 is None or isinstance(x1, str) or isinstance(x2, str):
        other = x2 if x1 is None or isinstance(x1, Tracer) else x1
        raise ArgumentError(f"{name}: an array cannot be compared with {other!r}",
                            hint="`x is None` asks whether there is a value" if other is None else None)  # fmt: skip
    for one, other, way in ((x1, x2, direction), (x2, x1, MIRRORED[direction])):
        known = _beyond(one, other, way)
        if known is not None:
            return known
    (x, y), _ = promote(name, x1, x2)
    found = COMPARE(x, y, direction=direction)
    for one, other, way in ((x1, x2, direction), (x2, x1, MIRRORED[direction])):
        found = _unless_beyond(found, one, other, way)
    return wrap(found)


MIRRORED = {"EQ": "EQ", "NE": "NE", "LT": "GT", "LE": "GE", "GT": "LT", "GE": "LE"}


def _beyond(x: object, number: object, direction: str) -> Tracer | None:
    """What comparing ``x`` with a Python integer gives that its element type cannot hold: the same for all elements."""
    if not isinstance(number, int) or isinstance(number, bool) or isinstance(x, int):
        return None
    type, _ = describe(x, "compare: operand")
    if not type.dtype.is_integer or type.dtype.limits[0] <= number <= type.dtype.limits[1]:
        return None
    true = ABOVE if number < 0 else BELOW
    return wrap(fill(float(direction in true), type.with_dtype(BOOL)))


ABOVE, BELOW = ("GT", "GE", "NE"), ("LT", "LE", "NE")  # what is true of all numbers above, and below, another


def _unless_beyond(found: Node, x: object, number: object, direction: str) -> Node:
    """``found``, unless ``number``, a Python integer that is known at the call, is one that ``x`` cannot hold."""
    (type, _), (kind, weak) = describe(x, "compare: operand"), describe(number, "compare: operand")
    integers = type.dtype.is_integer and kind.dtype == I64 and type.dtype != I64
    if not (integers and weak and kind.rank == 0 and isinstance(number, Tracer)):
        return found
    node = as_node(number, None)
    for limit, beyond, true in zip(type.dtype.limits, ("LT", "GT"), (ABOVE, BELOW), strict=True):
        if limit <= I64.limits[1]:
            outside = COMPARE(node, full_like(node, limit), direction=beyond)
            answer = fill(float(direction in true), found.tensor)
            found = SELECT(broadcast_node(outside, found.shape), answer, found)
    return found


def apply_logical(name: str, op: Op, x1: object, x2: object) -> Tracer:
    (x, y), _ = promote(name, wrap(truth(as_node(x1, None, name))), wrap(truth(as_node(x2, None, name))))
    return wrap(op(x, y))


def apply_bits(name: str, op: Op, x1: object, x2: object) -> Tracer:
    (x, y), weak = promote(name, x1, x2)
    refuse_floats(name, x, y)
    return wrap(op(x, y), weak)


def refuse_floats(name: str, *nodes: Node) -> None:
    if nodes[0].dtype.is_float:
        sides = ["operand"] if len(nodes) == 1 else ["lhs", "rhs"]
        types = ", ".join(f"{side} is {n.type}" for side, n in zip(sides, nodes, strict=True))
        raise DTypeError(
            f"{name}: {types}; it takes integers and bools",
            hint="conditions need parentheses, since & and | bind tighter: (x > 0) & (y > 0)",
        )


def truth(node: Node) -> Node:
    return node if node.dtype == BOOL else COMPARE(node, full_like(node, 0), direction="NE")


def always(node: Node, value: bool) -> Node:
    return fill(value, node.tensor.with_dtype(BOOL))


def differs(node: Node, value: float) -> Node:
    return COMPARE(node, full_like(node, value), direction="NE")


def is_negative(node: Node) -> Node:
    return COMPARE(node, full_like(node, 0), direction="LT")


def python_remainder(x: Node, y: Node) -> Node:
    """With the sign of ``y``; that of a zero too, as NumPy and the array API have it."""
    rest = REMAINDER(x, y)
    if x.dtype.kind == "uint":
        return rest
    other_sign = COMPARE(is_negative(rest), is_negative(y), direction="NE")
    moved = AND(AND(differs(rest, 0), other_sign), differs(y, 0))
    found = SELECT(moved, ADD(rest, y), rest)
    if not x.dtype.is_float:
        return found
    zero = full_like(x, 0)  # a sum of zeros is 0.0 where one is
    return SELECT(is_negative(y), NEGATE(ADD(NEGATE(found), zero)), ADD(found, zero))


def floor_divide_floats(x: Node, y: Node) -> Node:
    """The quotient of ``x`` less its remainder toward zero, one lower where that has the other sign than ``y``.

    ``x`` less Python's remainder will not do: that is infinite for -1 // inf, which is -1. By zero it is the plain
    quotient, of which a zero has the sign, as NumPy's.
    """
    rest = REMAINDER(x, y)
    quotient = ROUND_NEAREST_EVEN(DIVIDE(SUBTRACT(x, rest), y))
    down = AND(differs(rest, 0), COMPARE(is_negative(rest), is_negative(y), direction="NE"))
    quotient = SELECT(down, SUBTRACT(quotient, full_like(quotient, 1)), quotient)
    plain = DIVIDE(x, y)
    quotient = SELECT(differs(quotient, 0), quotient, MULTIPLY(plain, full_like(plain, 0)))
    return SELECT(differs(y, 0), quotient, plain)


def integer_power(x: Node, exponent: int) -> Node:
    """By repeated squaring; a negative power is the reciprocal of the positive one."""
    if exponent < 0:
        return DIVIDE(full_like(x, 1), integer_power(x, -exponent))
    result: Node | None = None
    while exponent:
        if exponent & 1:
            result = x if result is None else MULTIPLY(result, x)
        exponent >>= 1
        if exponent:
            x = MULTIPLY(x, x)
    return result if result is not None else full_like(x, 1)
