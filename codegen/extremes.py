"""The larger or smaller of two floats as instructions of x86-64, whose own take zeros and NaN by place."""

from __future__ import annotations

import math

from mlc.codegen.lines import Lines
from mlc.codegen.names import constant, number, typed, vector
from mlc.ir.kernel import VectorType
from mlc.ir.types import I32, I64


def extreme(out: Lines, op: str, t: VectorType, x: str, y: str) -> str:
    """``op`` is ``maximum`` or ``minimum`` of IEEE 754-2019: -0.0 is below 0.0, and NaN wins over every number."""
    if number(x) is None:
        x, y = y, x
    known = number(x)
    if known is None or math.isnan(known):
        return _both_ways(out, op, t, x, y)
    negative = math.copysign(1, known) < 0
    if known or negative == (op == "maximum"):  # y where it is a zero or NaN
        return _hardware(out, op, t, x, y)
    if op == "maximum":  # -0.0 + 0.0 is 0.0, and every other number stays
        return out.let(f"fadd {typed(t)} {_hardware(out, op, t, x, y)}, {x}")
    return _both_ways(out, op, t, x, y)


def _hardware(out: Lines, op: str, t: VectorType, x: str, y: str) -> str:
    """One instruction: ``y`` where both are zeros or one is NaN."""
    better = out.let(f"fcmp {'ogt' if op == 'maximum' else 'olt'} {typed(t)} {x}, {y}")
    return out.let(f"select {vector('i1', t.lanes)} {better}, {typed(t)} {x}, {typed(t)} {y}")


def _both_ways(out: Lines, op: str, t: VectorType, x: str, y: str) -> str:
    """The two orders differ where the instruction gives its second operand: any of their bits, and of two signs that of
    the result. All other bits of a number and a NaN together are those of a NaN."""
    whole = VectorType(I32 if t.dtype.bits == 32 else I64, t.lanes)
    bits, name = typed(whole), typed(t)
    one, two = (out.let(f"bitcast {name} {_hardware(out, op, t, *pair)} to {bits}") for pair in ((x, y), (y, x)))
    any_ = out.let(f"or {bits} {one}, {two}")
    if op == "maximum":  # the sign where both have it
        differ = out.let(f"xor {bits} {one}, {two}")
        sign = out.let(f"and {bits} {differ}, {constant(1 << (t.dtype.bits - 1), whole)}")
        any_ = out.let(f"xor {bits} {any_}, {sign}")
    return out.let(f"bitcast {bits} {any_} to {name}")
