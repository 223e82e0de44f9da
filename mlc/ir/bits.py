"""Constants as bit patterns: numbers to bits, and bits to text that gives the same bits back."""

from __future__ import annotations

import math

import numpy as np

from mlc.errors import VerifyError
from mlc.ir.types import BOOL, F64, DType


def bits_of(value: float | int | bool | np.generic, dtype: DType) -> int:
    """The bit pattern (unsigned) of ``value`` in ``dtype``; floats round to nearest, integers must fit.

    >>> from mlc.ir.types import F32
    >>> hex(bits_of(1.0, F32))
    '0x3f800000'
    """
    if dtype == BOOL:
        return int(bool(value))
    if dtype.is_integer:
        low, high = integer_range(dtype)
        if not low <= int(value) <= high or int(value) != value:
            raise VerifyError(f"constant: {value} does not fit {dtype}")
        return int(value) & ((1 << dtype.bits) - 1)
    with np.errstate(over="ignore"):
        array = np.array([value], dtype=np.float64 if isinstance(value, (int, float)) else None).astype(dtype.numpy)
    return int(array.view(f"u{dtype.itemsize}")[0])


def number_of(bits: int, dtype: DType) -> float | int | bool:
    """The number that a bit pattern stands for."""
    if dtype == BOOL:
        return bool(bits)
    if dtype.is_integer:
        return bits - (1 << dtype.bits) if dtype.kind == "int" and bits >> (dtype.bits - 1) else bits
    return float(np.array([bits], dtype=f"u{dtype.itemsize}").view(dtype.numpy)[0])


def print_bits(bits: int, dtype: DType) -> str:
    """Shortest decimal text for finite numbers; infinities and NaNs keep their bits as ``inf``, ``-inf``, ``0x...``."""
    number = number_of(bits, dtype)
    if not dtype.is_float:
        return str(number).lower()
    if math.isnan(number):
        return f"{bits:#x}"
    return repr(number) if dtype == F64 or math.isinf(number) else _shortest(bits, dtype)


def parse_bits(text: str, dtype: DType) -> int:
    """Inverse of ``print_bits``; ValueError for text that is no constant of ``dtype``."""
    if text in ("true", "false"):
        if dtype != BOOL:
            raise ValueError(f"{text} is no {dtype}")
        return int(text == "true")
    if text.startswith("0x"):
        bits = int(text, 16)
        if bits >> dtype.bits:
            raise ValueError(f"{text} has more than {dtype.bits} bits")
        return bits
    if dtype == BOOL:
        raise ValueError(f"{text} is no bool")
    return bits_of(float(text) if dtype.is_float else int(text), dtype)


def integer_range(dtype: DType) -> tuple[int, int]:
    """Inclusive range of an integer dtype."""
    if dtype.kind == "uint":
        return 0, (1 << dtype.bits) - 1
    return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1


def _shortest(bits: int, dtype: DType) -> str:
    """The shortest decimal that rounds back to the bits; f16 and bf16 are printed exactly as f32."""
    return repr(float(np.format_float_scientific(np.float32(number_of(bits, dtype)), unique=True)))
