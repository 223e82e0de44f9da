"""``cvt``: between integers (wrapped, or ``.sat``), floats, and from one to the other with a rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arithmetic import finish
from .errors import PtxError
from .exact import flush, toward_zero
from .integers import Parts
from .values import NUMBERS, bits_of, is_float

Array = Any
INTEGRAL: dict[str, Any] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def convert(parts: Parts, to: str, source: str, x: Array) -> Array:
    """``x`` of type ``source`` as numbers for type ``to``, which ``encode`` rounds to nearest if they are none yet."""
    if {"rm", "rp", "rs"} & set(parts) or ("rz" in parts and not (is_float(to) and is_float(source))):
        raise PtxError("unknown_instruction", f"{'.'.join(parts)}: no such rounding here")
    if "ftz" in parts and source == "f32":
        x = flush(x)
    if is_float(source):
        return _of_floats(parts, to, source, x) if is_float(to) else _to_integer(_integral(parts)(x), to, source)
    if is_float(to):
        found = x.astype(NUMBERS.get(to, np.dtype(np.float64)))
        return finish(parts, to, found)
    return _saturated(x, to) if "sat" in parts else x.astype(NUMBERS[to])


def _integral(parts: Parts) -> Any:
    for name, rule in INTEGRAL.items():
        if name in parts:
            return rule
    raise PtxError("syntax", f"{'.'.join(parts)} has no rounding to an integer")


def _of_floats(parts: Parts, to: str, source: str, x: Array) -> Array:
    x = next((rule(x) for name, rule in INTEGRAL.items() if name in parts), x)
    if "rz" in parts and (to == "tf32" or bits_of(to) < bits_of(source)):
        x = toward_zero(x, to)
    elif to == "tf32" and "rna" not in parts:
        raise PtxError("unknown_instruction", ".".join(parts))
    x = np.where(x <= 0, x.dtype.type(0), x) if "relu" in parts else x
    return (
        finish(parts, to, x.astype(np.float32)) if to == "f32" else finish(tuple(p for p in parts if p != "ftz"), to, x)
    )


def _to_integer(x: Array, to: str, source: str) -> Array:
    """Saturates. NaN is 0, but the smallest number (or 2^63 unsigned) where f64 or 64 bits are involved."""
    limits, dtype = np.iinfo(NUMBERS[to]), NUMBERS[to]
    x = x.astype(np.float64)
    low, high = x <= float(limits.min), x >= float(limits.max)
    found = np.where(low | high | np.isnan(x), 0, x).astype(dtype)
    found = np.where(low, dtype.type(limits.min), np.where(high, dtype.type(limits.max), found))
    odd = source == "f64" or dtype.itemsize == 8
    return np.where(np.isnan(x), dtype.type(limits.min or limits.max // 2 + 1) if odd else dtype.type(0), found)


def _saturated(x: Array, to: str) -> Array:
    limits, of_x = np.iinfo(NUMBERS[to]), np.iinfo(x.dtype)
    return np.clip(x, max(limits.min, of_x.min), min(limits.max, of_x.max)).astype(NUMBERS[to])
