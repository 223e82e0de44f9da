"""Arithmetic on f16 and bf16 to f32 and back; conversions to and from them to what machines have."""

from __future__ import annotations

from dataclasses import dataclass

from mlc.ir.kernel import Instruction, Kernel, Statement, Value, Writer, walk
from mlc.ir.kernel.ops import ELEMENTWISE
from mlc.ir.target import AnyTarget, GpuTarget
from mlc.ir.types import BF16, BOOL, F16, F32, F64, I32, U16, U32, DType
from mlc.passes.kernels.rewrite import rewrite

_NARROW = (F16, BF16)


def widen(kernel: Kernel, target: AnyTarget) -> Kernel:
    """After it, f16 and bf16 are moved, selected and converted to and from f32 only.

    bf16 is converted by integer operations, but on a GPU, which has instructions for it.
    """
    if not any(_is_narrow(s) for s in walk(kernel.body)):
        return kernel
    narrow = _Narrow(isinstance(target, GpuTarget))
    return rewrite(kernel, narrow.widen)


def _is_narrow(s: Statement) -> bool:
    """An instruction that makes or takes f16 or bf16."""
    if not isinstance(s, Instruction):
        return False
    values = (*s.operands, s.result) if isinstance(s.result, Value) else s.operands
    return any(v.dtype in _NARROW for v in values)


@dataclass(frozen=True)
class _Narrow:
    """Whether bf16 is converted by instructions of its own."""

    has_bf16: bool

    def widen(self, w: Writer, n: Instruction) -> Value | None:
        if n.op == "convert":
            return self.convert(w, n.operands[0], n.value.dtype)
        arithmetic = n.op in ELEMENTWISE or n.op in ("compare", "reduce")
        if not arithmetic or n.operands[0].dtype not in _NARROW:
            return None
        narrow = n.operands[0].dtype
        result = w.value(n.op, [self.to_f32(w, v) for v in n.operands], n.attribute)
        return result if result.dtype == BOOL else self.from_f32(w, result, narrow)

    def convert(self, w: Writer, x: Value, dtype: DType) -> Value | None:
        if x.dtype not in _NARROW and dtype not in _NARROW:
            return None
        if x.dtype in _NARROW:
            return self.narrowed(w, self.to_f32(w, x), dtype)
        return self.narrowed(w, _round_to_odd(w, x) if x.dtype == F64 else w.convert(x, F32), dtype)

    def narrowed(self, w: Writer, x: Value, dtype: DType) -> Value:
        return self.from_f32(w, x, dtype) if dtype in _NARROW else w.convert(x, dtype)

    def to_f32(self, w: Writer, x: Value) -> Value:
        if x.dtype == F16 or self.has_bf16:
            return w.convert(x, F32)
        wide = w.convert(w.bitcast(x, U16), U32)
        return w.bitcast(w.op("shift_left", wide, w.constant(16, U32, x.lanes)), F32)

    def from_f32(self, w: Writer, x: Value, dtype: DType) -> Value:
        """Round to nearest even; a NaN of bf16 keeps its high bits and stays a NaN."""
        if dtype == F16 or self.has_bf16:
            return w.convert(x, dtype)
        bits, sixteen = w.bitcast(x, U32), w.constant(16, U32, x.lanes)
        last = w.op("and", w.op("shift_right_logical", bits, sixteen), w.constant(1, U32, x.lanes))
        rounded = w.op("add", bits, w.op("add", last, w.constant(0x7FFF, U32, x.lanes)))
        quiet = w.op("or", bits, w.constant(0x400000, U32, x.lanes))
        chosen = w.select(w.compare("NE", x, x), quiet, rounded)
        return w.bitcast(w.convert(w.op("shift_right_logical", chosen, sixteen), U16), BF16)


def _round_to_odd(w: Writer, x: Value) -> Value:
    """f64 to an f32 whose last bit is set where bits were lost: rounding it again gives what rounding x once gives."""
    y = w.convert(x, F32)
    back = w.convert(y, F64)
    beyond = w.compare("GT", w.op("abs", back), w.op("abs", x))
    bits = w.bitcast(y, I32)
    one, zero = w.constant(1, I32, x.lanes), w.constant(0, I32, x.lanes)
    toward_zero = w.op("subtract", bits, w.select(beyond, one, zero))
    return w.bitcast(w.op("or", toward_zero, w.select(w.compare("NE", back, x), one, zero)), F32)
