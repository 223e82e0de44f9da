"""Instructions that compute one value from others: of floats, and what they share with integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import PtxError
from .exact import flush, fma, wide_fma
from .integers import CARRIES, Formula, Parts, carried, div, mul, saturated
from .integers import FORMULAS as OF_INTEGERS
from .values import is_float

Array = Any
DIRECTED = {"rz", "rm", "rp", "rs"}


def _add(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return saturated(type, a, b, 1) if "sat" in parts and not is_float(type) else a + b


def _sub(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return saturated(type, a, b, -1) if "sat" in parts and not is_float(type) else a - b


def _mul(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return a * b if is_float(type) else mul(parts, type, a, b)


def _mad(parts: Parts, type: str, a: Array, b: Array, c: Array) -> Array:
    if is_float(type):
        return _fma(parts, type, a, b, c)
    product = mul(parts, type, a, b)
    return product.astype(c.dtype) + c


def _fma(parts: Parts, type: str, a: Array, b: Array, c: Array) -> Array:
    if type in ("f32", "f64"):
        return fma(a, b, c)
    result = wide_fma(a, b, c)  # of halves, to be rounded once more
    return np.where(result < 0, 0.0, result) if "relu" in parts else result


def _div(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return a / b if is_float(type) else div(a, b)


def _min(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return _extreme(parts, type, a, b, np.minimum, np.fmin)


def _max(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return _extreme(parts, type, a, b, np.maximum, np.fmax)


def _extreme(parts: Parts, type: str, a: Array, b: Array, with_nan: Formula, without: Formula) -> Array:
    """-0 is less than +0; one NaN is left out unless the instruction says ``.NaN``; none is negative with ``.relu``."""
    if not is_float(type):
        found = with_nan(a, b)
        return np.maximum(found, 0) if "relu" in parts else found
    if "xorsign" in parts or "relu" in parts:
        raise PtxError("unknown_instruction", ".".join(parts))
    found = (with_nan if "NaN" in parts else without)(a, b)
    zeros = (a == 0) & (b == 0)
    sign = np.signbit(a) | np.signbit(b) if with_nan is np.minimum else np.signbit(a) & np.signbit(b)
    return np.where(zeros, np.where(sign, -0.0, 0.0).astype(a.dtype), found)


def _through_f64(rule: Formula) -> Formula:
    """Approximate instructions: the exact result rounded once, which is closer than the hardware's."""
    return lambda parts, type, x: rule(x.astype(np.float64)).astype(x.dtype)


def _testp(parts: Parts, type: str, a: Array) -> Array:
    small = np.abs(a) < np.finfo(a.dtype).tiny
    rules = {"finite": np.isfinite(a), "infinite": np.isinf(a), "number": ~np.isnan(a), "notanumber": np.isnan(a),
             "normal": np.isfinite(a) & ~small, "subnormal": small & (a != 0)}  # fmt: skip
    return rules[parts[1]]


FORMULAS: dict[str, Formula] = {
    **OF_INTEGERS,
    "add": _add, "sub": _sub, "mul": _mul, "mad": _mad, "fma": _fma, "div": _div, "min": _min, "max": _max,
    "addc": _add, "subc": _sub, "testp": _testp,
    "selp": lambda parts, type, a, b, p: np.where(p.reshape(p.shape + (1,) * (a.ndim - 1)), a, b),
    "slct": lambda parts, type, a, b, c: np.where(c >= 0, a, b),
    "copysign": lambda parts, type, a, b: np.copysign(b, a),
    "abs": lambda parts, type, a: np.abs(a), "neg": lambda parts, type, a: -a,
    "rcp": lambda parts, type, a: (1 / a.astype(np.float64)).astype(a.dtype),
    "sqrt": lambda parts, type, a: np.sqrt(a),
    "rsqrt": _through_f64(lambda x: 1 / np.sqrt(x)), "ex2": _through_f64(np.exp2), "lg2": _through_f64(np.log2),
    "sin": _through_f64(np.sin), "cos": _through_f64(np.cos), "tanh": _through_f64(np.tanh),
}  # fmt: skip


def compute(parts: Parts, type: str, operands: list[Array]) -> Array:
    """The result of an instruction of FORMULAS; PtxError for roundings other than to nearest."""
    if is_float(type) and DIRECTED.intersection(parts):
        raise PtxError("unknown_instruction", f"{'.'.join(parts)}: rounding is to nearest here")
    smallest = 2.0**-14 if type in ("f16", "f16x2") else 2.0**-126
    if "ftz" in parts:
        operands = [flush(x, smallest) if x.dtype == np.float32 else x for x in operands]
    return finish(parts, type, FORMULAS[parts[0]](parts, type, *operands), smallest)


def finish(parts: Parts, type: str, result: Array, smallest: float = 2.0**-126) -> Array:
    """``.sat`` and ``.ftz`` of a float result."""
    if "sat" in parts and is_float(type):
        result = np.where(np.isnan(result), 0, np.clip(result, 0, 1)).astype(result.dtype)
    if "ftz" in parts and result.dtype.kind == "f":
        return flush(result, smallest)
    return result


__all__ = ["CARRIES", "FORMULAS", "carried", "compute", "finish"]
