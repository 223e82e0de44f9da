"""The operations of the kernel language: one row each with its operands and the type of its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.errors import VerifyError
from mlc.ir.types import BF16, BOOL, F16, F32, I8, I16, I32, U8

from .data import Attribute, VectorType
from .machine import MACHINE_OPS


@dataclass(frozen=True, slots=True)
class Op:
    """An elementwise operation: number of operands, the kinds of element it accepts, whether its result is bool."""

    name: str
    operands: int
    kinds: str  # letters of f (float), i (int and uint), b (bool)
    result_is_bool: bool = False


_ROWS = [
    Op("add", 2, "fib"), Op("subtract", 2, "fi"), Op("multiply", 2, "fib"), Op("divide", 2, "fi"),
    Op("remainder", 2, "fi"), Op("maximum", 2, "fib"), Op("minimum", 2, "fib"),
    Op("negate", 1, "fi"), Op("abs", 1, "fi"), Op("sign", 1, "fi"),
    Op("and", 2, "ib"), Op("or", 2, "ib"), Op("xor", 2, "ib"), Op("not", 1, "ib"), Op("popcnt", 1, "i"),
    Op("count_leading_zeros", 1, "i"), Op("atan2", 2, "f"),
    Op("shift_left", 2, "i"), Op("shift_right_logical", 2, "i"), Op("shift_right_arithmetic", 2, "i"),
    Op("fma", 3, "f"), Op("power", 2, "f"), Op("is_finite", 1, "f", True),
    *(Op(name, 1, "f") for name in (
        "sqrt", "rsqrt", "floor", "ceil", "round_nearest_even", "exponential", "exponential_minus_one", "log",
        "log_plus_one", "tanh", "logistic", "sine", "cosine", "tan", "erf", "cbrt")),
]  # fmt: skip
ELEMENTWISE: dict[str, Op] = {row.name: row for row in _ROWS}
TRANSCENDENTAL = frozenset((
    "exponential", "exponential_minus_one", "log", "log_plus_one", "tanh", "logistic", "rsqrt",
    "sine", "cosine", "tan", "erf", "power", "atan2", "cbrt",
))  # fmt: skip
DIRECTIONS = ("EQ", "NE", "LT", "LE", "GT", "GE")
REDUCTIONS = ("add", "multiply", "maximum", "minimum", "and", "or")
INDEX_OPS = ("floordiv", "mod", "min", "max")
SOURCES = ("constant", "iota", "tail_mask", "index_value")  # no value operands; the type is chosen by the writer
_OPERANDS = {
    "compare": 2, "select": 3, "convert": 1, "bitcast": 1, "reduce": 1,
    "dot2": 3, "dot4": 3, "splat": 1, "shuffle": 2, "extract": 1, "insert": 2,
}  # fmt: skip
ACCESSES = ("load", "store", "gather", "scatter")
OPS = frozenset((*ELEMENTWISE, *INDEX_OPS, *SOURCES, *_OPERANDS, *ACCESSES, *MACHINE_OPS, "index_of"))


def result_type(op: str, types: Sequence[VectorType], attribute: Attribute, asked: VectorType | None) -> VectorType:
    """The type of the result of a value operation, or VerifyError naming the constraint that its operands break.

    ``asked`` is the type the writer chose, for operations whose operands do not decide it.
    """
    if op in ELEMENTWISE:
        return _elementwise(ELEMENTWISE[op], types)
    if op in SOURCES:
        return _source(op, asked)
    _need(op in _OPERANDS, op, "no such operation")
    _need(len(types) == _OPERANDS[op], op, f"takes {_OPERANDS[op]} operands, given {len(types)}")
    first = types[0]
    if op == "compare":
        _need(attribute in DIRECTIONS, op, f"direction {attribute} is none of {' '.join(DIRECTIONS)}")
        _need(types[0] == types[1], op, f"operand types differ: {types[0]}, {types[1]}")
        return VectorType(BOOL, first.lanes)
    if op == "select":
        _need(types[1] == types[2], op, f"the two branches differ: {types[1]}, {types[2]}")
        _need(first == VectorType(BOOL, types[1].lanes), op, f"mask {first} does not fit {types[1]}")
        return types[1]
    if op == "reduce":
        _need(attribute in REDUCTIONS, op, f"{attribute} is none of {' '.join(REDUCTIONS)}")
        _need(first.lanes & (first.lanes - 1) == 0, op, f"{first.lanes} lanes are no power of two")
        _elementwise(ELEMENTWISE[str(attribute)], (first, first))
        return VectorType(first.dtype)
    if op in ("dot2", "dot4"):
        return _dot(op, types)
    if op in ("shuffle", "extract", "insert"):
        return _lanes(op, types, attribute)
    if asked is None:
        raise VerifyError(f"{op}: the result type is not decided by the operands")
    if op == "splat":
        _need(first == VectorType(asked.dtype), op, f"operand {first} is no scalar of {asked.dtype}")
        return asked
    if op == "bitcast":
        _need(BOOL not in (first.dtype, asked.dtype), op, "bool has no bit pattern")
        widths = first.dtype.bits * first.lanes, asked.dtype.bits * asked.lanes
        _need(widths[0] == widths[1], op, f"widths differ: {first}, {asked}")
        return asked
    _need(first.lanes == asked.lanes, op, f"lanes differ: {first}, {asked}")  # convert
    return asked


def _need(condition: bool, op: str, message: str) -> None:
    if not condition:
        raise VerifyError(f"{op}: {message}")


def _elementwise(op: Op, types: Sequence[VectorType]) -> VectorType:
    _need(len(types) == op.operands, op.name, f"takes {op.operands} operands, given {len(types)}")
    _need(len(set(types)) == 1, op.name, f"operand types differ: {', '.join(map(str, types))}")
    kind = {"float": "f", "int": "i", "uint": "i", "bool": "b"}[types[0].dtype.kind]
    _need(kind in op.kinds, op.name, f"is not defined on {types[0].dtype}")
    return VectorType(BOOL, types[0].lanes) if op.result_is_bool else types[0]


def _dot(op: str, types: Sequence[VectorType]) -> VectorType:
    """Neighbours of x and y, multiplied and added up to each lane of the third operand."""
    x, y, total = types
    width = int(op[-1])
    kinds = ((BF16, F32), (F16, F32), (I16, I32)) if op == "dot2" else ((I8, I32), (U8, I32))
    _need((x.dtype, total.dtype) in kinds, op, f"is not defined on {x} into {total}")
    fits = y.dtype == x.dtype if op == "dot2" else y.dtype in (I8, U8)
    _need(fits and y.lanes == x.lanes, op, f"operand types differ: {x}, {y}")
    _need(x.lanes == width * total.lanes, op, f"{x} is not {width} times as long as {total}")
    return total


def _source(op: str, asked: VectorType | None) -> VectorType:
    if asked is None:
        raise VerifyError(f"{op}: needs a result type")
    _need(asked.lanes >= 1, op, f"{asked.lanes} lanes")
    if op == "tail_mask":
        _need(asked.dtype == BOOL, op, f"result is {asked}, not bool")
    if op == "index_value":
        _need(asked.dtype.is_integer and asked.lanes == 1, op, f"result {asked} is no integer scalar")
    if op == "iota":
        _need(asked.dtype != BOOL, op, "is not defined on bool")
    return asked


def _lanes(op: str, types: Sequence[VectorType], attribute: Attribute) -> VectorType:
    first = types[0]
    if op == "shuffle":
        _need(types[0] == types[1], op, f"operand types differ: {types[0]}, {types[1]}")
        _need(isinstance(attribute, tuple) and len(attribute) > 0, op, "needs a list of lanes")
        assert isinstance(attribute, tuple)
        _need(all(0 <= i < 2 * first.lanes for i in attribute), op, f"a lane lies outside 0..{2 * first.lanes - 1}")
        return VectorType(first.dtype, len(attribute))
    _need(isinstance(attribute, int) and 0 <= attribute < first.lanes, op, f"lane {attribute} outside {first}")
    if op == "insert":
        _need(types[1] == VectorType(first.dtype), op, f"{types[1]} is no scalar of {first.dtype}")
        return first
    return VectorType(first.dtype)
