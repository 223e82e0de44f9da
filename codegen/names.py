"""How types and constants of the kernel language are spelled in LLVM IR."""

from __future__ import annotations

import re
import struct

from mlc.ir.kernel import VectorType
from mlc.ir.types import BOOL, F32, F64, DType


def element(dtype: DType) -> str:
    """The register type of an element; f16 and bf16 travel as their 16 bits."""
    return {"f32": "float", "f64": "double", "bool": "i1"}.get(dtype.name, f"i{dtype.bits}")


def memory_element(dtype: DType) -> str:
    """The type of an element in memory: a bool takes a byte."""
    return "i8" if dtype == BOOL else element(dtype)


def vector(name: str, lanes: int) -> str:
    return name if lanes == 1 else f"<{lanes} x {name}>"


def typed(t: VectorType) -> str:
    return vector(element(t.dtype), t.lanes)


def mangled(t: VectorType) -> str:
    """The suffix of an overloaded intrinsic: ``v16f32``, ``i64``."""
    kind = "f" if t.dtype in (F32, F64) else "i"
    return f"{kind}{t.dtype.bits}" if t.lanes == 1 else f"v{t.lanes}{kind}{t.dtype.bits}"


def constant(bits: int | tuple[int, ...], t: VectorType) -> str:
    """A constant operand; one pattern stands for all lanes."""
    if isinstance(bits, tuple):
        if t.lanes == 1:
            return literal(bits[0], t.dtype)
        return f"<{', '.join(f'{element(t.dtype)} {literal(b, t.dtype)}' for b in bits)}>"
    if t.lanes == 1:
        return literal(bits, t.dtype)
    return f"splat ({element(t.dtype)} {literal(bits, t.dtype)})"


def literal(bits: int, dtype: DType) -> str:
    """One element. LLVM writes a float as the hexadecimal double of the same value."""
    if dtype == F64:
        return f"0x{bits:016X}"
    if dtype == F32:
        return f"0x{_double_bits(bits):016X}"
    if dtype == BOOL:
        return "true" if bits else "false"
    return str(bits - (1 << dtype.bits) if bits >> (dtype.bits - 1) else bits)


def number(operand: str) -> float | None:
    """The float that ``constant`` spelled, in all lanes; None for other operands."""
    found = re.fullmatch(r"(?:splat \(\w+ )?0x([0-9A-F]{16})\)?", operand)
    return struct.unpack(">d", bytes.fromhex(found[1]))[0] if found else None


def _double_bits(bits: int) -> int:
    sign, exponent, mantissa = bits >> 31, bits >> 23 & 0xFF, bits & 0x7FFFFF
    if exponent == 0xFF:  # infinities, and NaNs with their payload
        return sign << 63 | 0x7FF << 52 | mantissa << 29
    number: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return int(struct.unpack("<Q", struct.pack("<d", number))[0])
