"""Elementwise and lane operations as LLVM IR: the meaning of each operation of the kernel language in instructions."""

from __future__ import annotations

from collections.abc import Callable

from mlc.codegen.extremes import extreme
from mlc.codegen.lines import Lines
from mlc.codegen.names import constant, element, mangled, typed, vector
from mlc.errors import InternalError
from mlc.ir.kernel import VectorType
from mlc.ir.types import BF16, BOOL, F16, F32, F64, DType

_FLOAT_BINARY = {"add": "fadd", "subtract": "fsub", "multiply": "fmul", "divide": "fdiv"}
_INTEGER_BINARY = {"add": "add", "subtract": "sub", "multiply": "mul", "and": "and", "or": "or", "xor": "xor"}
_BOOL_BINARY = {
    "add": "or",
    "multiply": "and",
    "maximum": "or",
    "minimum": "and",
    "and": "and",
    "or": "or",
    "xor": "xor",
}
_FLOAT_UNARY = {"abs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "round_nearest_even": "roundeven"}
_HALVES = {F16: "half", BF16: "bfloat"}
_FLOAT_COMPARE = {"EQ": "oeq", "NE": "une", "LT": "olt", "LE": "ole", "GT": "ogt", "GE": "oge"}


def elementwise(out: Lines, op: str, t: VectorType, operands: list[str]) -> str:
    """``op`` over operands of type ``t``; InternalError for what the kernel passes should have expanded."""
    x = operands[0]
    if t.dtype in (F32, F64):
        return _float(out, op, t, operands)
    if t.dtype == BOOL:
        if op == "not":
            return out.let(f"xor {typed(t)} {x}, {constant(1, t)}")
        if op in _BOOL_BINARY:
            return out.let(f"{_BOOL_BINARY[op]} {typed(t)} {x}, {operands[1]}")
    elif t.dtype.is_integer:
        return _integer(out, op, t, operands)
    raise InternalError(f"codegen: {op} on {t} should have been expanded by a kernel pass")


def compare(out: Lines, direction: str, t: VectorType, x: str, y: str) -> str:
    if t.dtype in (F32, F64):
        return out.let(f"fcmp {_FLOAT_COMPARE[direction]} {typed(t)} {x}, {y}")
    if t.dtype.is_float:
        raise InternalError(f"codegen: compare on {t} should have been expanded by a kernel pass")
    predicate = direction.lower()
    if direction not in ("EQ", "NE"):
        predicate = ("s" if t.dtype.kind == "int" else "u") + predicate
    return out.let(f"icmp {predicate} {typed(t)} {x}, {y}")


def select(out: Lines, mask: str, t: VectorType, x: str, y: str) -> str:
    return out.let(f"select {vector('i1', t.lanes)} {mask}, {typed(t)} {x}, {typed(t)} {y}")


def convert(out: Lines, x: str, source: VectorType, target: VectorType) -> str:
    """Between element types; f16 meets f32 only, and so does bf16 where a target converts it at all."""
    s, d = source.dtype, target.dtype
    if F32 in (s, d) and (s in _HALVES or d in _HALVES):
        return _convert_half(out, x, source, target)
    if any(t.is_float and t not in (F32, F64) for t in (s, d)):
        raise InternalError(f"codegen: convert {source} to {target} should have been expanded by a kernel pass")
    if d == BOOL:
        return compare(out, "NE", source, x, constant(0, source))
    if s.is_float and d.is_integer:
        name = f"llvm.fpto{'s' if d.kind == 'int' else 'u'}i.sat.{mangled(target)}.{mangled(source)}"
        return out.call(typed(target), name, [(typed(source), x)])
    instruction = _conversion(s, d)
    return out.let(f"{instruction} {typed(source)} {x} to {typed(target)}") if instruction else x


def bitcast(out: Lines, x: str, source: VectorType, target: VectorType) -> str:
    if typed(source) == typed(target):
        return x
    return out.let(f"bitcast {typed(source)} {x} to {typed(target)}")


def splat(out: Lines, x: str, t: VectorType) -> str:
    if t.lanes == 1:
        return x
    first = out.let(f"insertelement {typed(t)} poison, {element(t.dtype)} {x}, i64 0")
    return out.let(f"shufflevector {typed(t)} {first}, {typed(t)} poison, <{t.lanes} x i32> zeroinitializer")


def iota(t: VectorType) -> str:
    from mlc.ir.bits import bits_of

    return constant(tuple(bits_of(lane, t.dtype) for lane in range(t.lanes)), t)


def shuffle(out: Lines, x: str, y: str, t: VectorType, lanes: tuple[int, ...]) -> str:
    if t.lanes == 1:
        x, y = (out.let(f"insertelement <1 x {element(t.dtype)}> poison, {typed(t)} {v}, i64 0") for v in (x, y))
    name = f"<{t.lanes} x {element(t.dtype)}>"
    if len(lanes) == 1:
        lane, operand = (lanes[0], x) if lanes[0] < t.lanes else (lanes[0] - t.lanes, y)
        return out.let(f"extractelement {name} {operand}, i64 {lane}")
    mask = ", ".join(f"i32 {i}" for i in lanes)
    return out.let(f"shufflevector {name} {x}, {name} {y}, <{len(lanes)} x i32> <{mask}>")


def extract(out: Lines, x: str, t: VectorType, lane: int) -> str:
    return x if t.lanes == 1 else out.let(f"extractelement {typed(t)} {x}, i64 {lane}")


def insert(out: Lines, x: str, t: VectorType, scalar: str, lane: int) -> str:
    return scalar if t.lanes == 1 else out.let(f"insertelement {typed(t)} {x}, {element(t.dtype)} {scalar}, i64 {lane}")


def reduce(out: Lines, op: str, x: str, t: VectorType) -> str:
    """The upper half onto the lower half, until one lane is left."""
    while t.lanes > 1:
        half = VectorType(t.dtype, t.lanes // 2)
        low = shuffle(out, x, x, t, tuple(range(half.lanes)))
        high = shuffle(out, x, x, t, tuple(range(half.lanes, t.lanes)))
        x, t = elementwise(out, op, half, [low, high]), half
    return x


def dot(out: Lines, op: str, x: str, y: str, total: str, operand: VectorType, result: VectorType) -> str:
    """The instructions of x86-64: ``vdpbf16ps``, ``vpdpbusd`` (u8 by i8), ``vpmaddwd`` and an addition."""
    bits, name, source = result.lanes * 32, typed(result), typed(operand)
    if op == "dot4":
        operands = [(name, total), (source, x), (source, y)]
        return out.call(name, f"llvm.x86.avx512.vpdpbusd.{bits}", operands)
    if operand.dtype == BF16:
        halves = vector("bfloat", operand.lanes)
        left, right = (out.let(f"bitcast {source} {v} to {halves}") for v in (x, y))
        operands = [(name, total), (halves, left), (halves, right)]
        return out.call(name, f"llvm.x86.avx512bf16.dpbf16ps.{bits}", operands)
    if operand.dtype.bits != 16 or operand.dtype.is_float:
        raise InternalError(f"codegen: {op} of {operand} should have been expanded by a kernel pass")
    products = out.call(name, _MULTIPLY_ADD[bits], [(source, x), (source, y)])
    return out.let(f"add {name} {total}, {products}")


def tail_mask(out: Lines, start: str, stop: str, lanes: int, *, hide: bool = False) -> str:
    """Compares 32-bit lane numbers with what is left, clamped so that it fits; ``hide`` its value from LLVM."""
    if lanes == 1:
        return out.let(f"icmp slt i64 {start}, {stop}")
    left = out.let(f"sub i64 {stop}, {start}")
    left = out.call("i64", "llvm.smin.i64", [("i64", left), ("i64", str(lanes))])
    left = out.call("i64", "llvm.smax.i64", [("i64", left), ("i64", "0")])
    t = VectorType(_I32, lanes)
    count = out.let(f"trunc i64 {left} to i32")
    if hide:
        count = out.let(f'call i32 asm "", "=r,0"(i32 {count})')
    limit = splat(out, count, t)
    return out.let(f"icmp slt {typed(t)} {iota(t)}, {limit}")


_MULTIPLY_ADD = {128: "llvm.x86.sse2.pmadd.wd", 256: "llvm.x86.avx2.pmadd.wd", 512: "llvm.x86.avx512.pmaddw.d.512"}
_I32 = DType("i32", "int", 32)


def _float(out: Lines, op: str, t: VectorType, operands: list[str]) -> str:
    x, name = operands[0], typed(t)
    if op in _FLOAT_BINARY:
        return out.let(f"{_FLOAT_BINARY[op]} {name} {x}, {operands[1]}")
    if op in _FLOAT_UNARY:
        return out.call(name, f"llvm.{_FLOAT_UNARY[op]}.{mangled(t)}", [(name, x)])
    if op == "fma":
        return out.call(name, f"llvm.fma.{mangled(t)}", [(name, v) for v in operands])
    if op == "negate":
        return out.let(f"fneg {name} {x}")
    if op in ("maximum", "minimum"):
        return extreme(out, op, t, x, operands[1])
    if op == "is_finite":
        size = out.call(name, f"llvm.fabs.{mangled(t)}", [(name, x)])
        infinity = 0x7FF << 52 if t.dtype == F64 else 0xFF << 23
        return compare(out, "LT", t, size, constant(infinity, t))
    if op == "sign":  # zeros and NaN are their own sign
        one = 0x3FF << 52 if t.dtype == F64 else 0x7F << 23
        zero, minus = constant(0, t), constant(one | 1 << (t.dtype.bits - 1), t)
        negative = select(out, compare(out, "LT", t, x, zero), t, minus, x)
        return select(out, compare(out, "GT", t, x, zero), t, constant(one, t), negative)
    raise InternalError(f"codegen: {op} on {t} should have been expanded by a kernel pass")


def _integer(out: Lines, op: str, t: VectorType, operands: list[str]) -> str:
    x, name, signed = operands[0], typed(t), t.dtype.kind == "int"
    if op in _INTEGER_BINARY:
        return out.let(f"{_INTEGER_BINARY[op]} {name} {x}, {operands[1]}")
    if op in ("maximum", "minimum"):
        intrinsic = f"llvm.{'s' if signed else 'u'}{op[:3]}.{mangled(t)}"
        return out.call(name, intrinsic, [(name, v) for v in operands])
    if op in ("divide", "remainder"):
        return _divide(out, op, t, x, operands[1])
    if op.startswith("shift"):
        return _shift(out, op, t, x, operands[1])
    simple: dict[str, Callable[[], str]] = {
        "negate": lambda: out.let(f"sub {name} {constant(0, t)}, {x}"),
        "not": lambda: out.let(f"xor {name} {x}, {constant(_ones(t.dtype), t)}"),
        "popcnt": lambda: out.call(name, f"llvm.ctpop.{mangled(t)}", [(name, x)]),
        "count_leading_zeros": lambda: out.call(name, f"llvm.ctlz.{mangled(t)}", [(name, x), ("i1", "false")]),
        "abs": lambda: _absolute(out, t, x),
        "sign": lambda: _integer_sign(out, t, x),
    }
    if op in simple:
        return simple[op]()
    raise InternalError(f"codegen: {op} on {t} should have been expanded by a kernel pass")


def _divide(out: Lines, op: str, t: VectorType, x: str, y: str) -> str:
    """By zero: quotient of all ones, remainder x. The smallest integer by -1 divides by 1 instead, as it wraps."""
    signed, zero = t.dtype.kind == "int", compare(out, "EQ", t, y, constant(0, t))
    trap = zero
    if signed:
        smallest = compare(out, "EQ", t, x, constant(1 << (t.dtype.bits - 1), t))
        minus_one = compare(out, "EQ", t, y, constant(_ones(t.dtype), t))
        bools = vector("i1", t.lanes)
        trap = out.let(f"or {bools} {zero}, {out.let(f'and {bools} {smallest}, {minus_one}')}")
    divisor = select(out, trap, t, constant(1, t), y)
    instruction = ("s" if signed else "u") + ("div" if op == "divide" else "rem")
    result = out.let(f"{instruction} {typed(t)} {x}, {divisor}")
    return select(out, zero, t, constant(_ones(t.dtype), t) if op == "divide" else x, result)


def _shift(out: Lines, op: str, t: VectorType, x: str, by: str) -> str:
    """By as many bits as there are, or more: zeros, or the sign for an arithmetic shift."""
    last = constant(t.dtype.bits - 1, t)
    if op == "shift_right_arithmetic":
        clamped = out.call(typed(t), f"llvm.umin.{mangled(t)}", [(typed(t), by), (typed(t), last)])
        return out.let(f"ashr {typed(t)} {x}, {clamped}")
    shifted = out.let(f"{'shl' if op == 'shift_left' else 'lshr'} {typed(t)} {x}, {by}")
    inside = out.let(f"icmp ule {typed(t)} {by}, {last}")
    return select(out, inside, t, shifted, constant(0, t))


def _absolute(out: Lines, t: VectorType, x: str) -> str:
    if t.dtype.kind == "uint":
        return x
    return out.call(typed(t), f"llvm.abs.{mangled(t)}", [(typed(t), x), ("i1", "false")])


def _integer_sign(out: Lines, t: VectorType, x: str) -> str:
    zero = constant(0, t)
    positive = select(out, compare(out, "GT", t, x, zero), t, constant(1, t), zero)
    if t.dtype.kind == "uint":
        return positive
    return select(out, compare(out, "LT", t, x, zero), t, constant(_ones(t.dtype), t), positive)


def _convert_half(out: Lines, x: str, source: VectorType, target: VectorType) -> str:
    """Halves travel as their bits."""
    narrow = source.dtype if source.dtype in _HALVES else target.dtype
    half, wide = vector(_HALVES[narrow], source.lanes), vector("float", source.lanes)
    bits = vector("i16", source.lanes)
    if source.dtype == narrow:
        return out.let(f"fpext {half} {out.let(f'bitcast {bits} {x} to {half}')} to {wide}")
    return out.let(f"bitcast {half} {out.let(f'fptrunc {wide} {x} to {half}')} to {bits}")


def _conversion(s: DType, d: DType) -> str | None:
    if s.is_float:
        return None if s == d else ("fpext" if d.bits > s.bits else "fptrunc")
    if d.is_float:
        return "sitofp" if s.kind == "int" else "uitofp"
    if s.bits == d.bits:
        return None
    if d.bits < s.bits:
        return "trunc"
    return "sext" if s.kind == "int" else "zext"


def _ones(dtype: DType) -> int:
    return (1 << dtype.bits) - 1


__all__ = [
    "bitcast", "compare", "convert", "dot", "elementwise", "extract", "insert", "iota", "reduce", "select",
    "shuffle", "splat", "tail_mask",
]  # fmt: skip
