"""Dot products of neighbours to the instructions that a target has, and elsewhere to multiplications and additions."""

from __future__ import annotations

from mlc.ir.kernel import Instruction, Kernel, Value, Writer
from mlc.ir.target import AnyTarget, Target
from mlc.ir.types import BF16, F32, I8, I16, U8, U32, DType
from mlc.passes.kernels.rewrite import has_op, rewrite

_REGISTERS = (128, 256, 512)


def expand_dots(kernel: Kernel, target: AnyTarget) -> Kernel:
    """After it, dot2 is of i16 (every x86-64 has that) or of bf16, and dot4 of u8 by i8, where the target has those."""
    if not has_op(kernel, ("dot2", "dot4")):
        return kernel
    return rewrite(kernel, lambda w, n: _expand(w, n, target))


def _expand(w: Writer, n: Instruction, target: AnyTarget) -> Value | None:
    if n.op not in ("dot2", "dot4"):
        return None
    x, y, total = n.operands
    fits = isinstance(target, Target) and total.lanes * 32 in _REGISTERS and total.lanes * 32 <= target.vector_bits
    if n.op == "dot4":
        return _dot4(w, x, y, total, fits and "+avx512vnni" in target.features, fits)
    return _dot2(w, x, y, total, fits, "+avx512bf16" in target.features)


def _dot2(w: Writer, x: Value, y: Value, total: Value, fits: bool, has_bf16: bool) -> Value | None:
    if fits and (x.dtype == I16 or (x.dtype == BF16 and has_bf16)):
        return None
    for k in (1, 0):  # the order of the instruction
        left, right = (_element(w, v, k, total.dtype) for v in (x, y))
        if total.dtype == F32:
            total = w.op("fma", left, right, total)
        else:
            total = w.op("add", total, w.op("multiply", left, right))
    return total


def _dot4(w: Writer, x: Value, y: Value, total: Value, has_vnni: bool, fits: bool) -> Value | None:
    if has_vnni:
        if x.dtype == y.dtype == I8:  # (x + 128) * y - 128 * y
            shifted = w.bitcast(_flip(w, x), U8)
            excess = w.dot4(w.constant(128, U8, x.lanes), y, _zero(w, total))
            return w.op("subtract", w.dot4(shifted, y, total), excess)
        if x.dtype == y.dtype:  # x * (y - 128) - x * -128
            shifted = w.bitcast(_flip(w, y), I8)
            excess = w.dot4(x, w.constant(-128, I8, x.lanes), _zero(w, total))
            return w.op("subtract", w.dot4(x, shifted, total), excess)
        return None if x.dtype == U8 else w.dot4(y, x, total)
    for k in (0, 1):
        left, right = (w.convert(_every(w, v, 2, k), I16) for v in (x, y))
        product = _dot2(w, left, right, total, fits, False)
        total = w.dot2(left, right, total) if product is None else product
    return total


def _element(w: Writer, v: Value, k: int, dtype: DType) -> Value:
    """Elements k of all pairs, converted; a bf16 is the high half of an f32, or the low half shifted there."""
    if v.dtype != BF16:
        return w.convert(_every(w, v, 2, k), dtype)
    words = w.bitcast(v, U32)
    if k == 1:
        bits = w.op("and", words, w.constant(0xFFFF0000, U32, words.lanes))
    else:
        bits = w.op("shift_left", words, w.constant(16, U32, words.lanes))
    return w.bitcast(bits, F32)


def _every(w: Writer, v: Value, step: int, first: int) -> Value:
    return w.shuffle(v, v, range(first, v.lanes, step))


def _flip(w: Writer, v: Value) -> Value:
    """The highest bit of every byte the other way round: 128 more, or less, in the type of the other sign."""
    return w.op("xor", v, w.constant(128 if v.dtype == U8 else -128, v.dtype, v.lanes))


def _zero(w: Writer, like: Value) -> Value:
    dtype: DType = like.dtype
    return w.constant(0, dtype, like.lanes)
