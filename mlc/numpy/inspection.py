"""Element types and the namespace as data: their limits, kinds and conversions, devices and capabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlc.errors import ArgumentError, DTypeError
from mlc.ir.types import BOOL, DTYPES, F32, I64, DType, scalar
from mlc.tracing.lift import describe
from mlc.tracing.spec import element_type

from .promotion import common

_KINDS = {
    "bool": ("bool",), "signed integer": ("int",), "unsigned integer": ("uint",), "integral": ("int", "uint"),
    "real floating": ("float",), "complex floating": (), "numeric": ("int", "uint", "float"),
}  # fmt: skip
_DIGITS = {"f16": 10, "bf16": 7, "f32": 23, "f64": 52}  # bits of a float behind its leading one


@dataclass(frozen=True, slots=True)
class finfo:
    """The limits of a float type, given as one or as an array of one: DTypeError for another.

    ``eps`` is the distance from 1 to the next number, ``smallest_normal`` the least with all digits.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.finfo(mnp.float32).eps, mnp.finfo("bf16").max
        (1.1920928955078125e-07, 3.3895313892515355e+38)
    """

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType

    def __init__(self, type: object, /) -> None:
        dtype = _type_of(type)
        if not dtype.is_float:
            raise DTypeError(f"finfo: {dtype} is no float type", hint="iinfo has the limits of integers")
        digits = _DIGITS[dtype.name]
        exponent = 2 ** (dtype.bits - digits - 2) - 1  # the greatest; the least of a normal number is 1 - that
        most = (2 - 2.0**-digits) * 2.0**exponent
        values = dtype.bits, 2.0**-digits, most, -most, 2.0 ** (1 - exponent), dtype
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class iinfo:
    """The limits of an integer type, given as one or as an array of one: DTypeError for another.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.iinfo("i8").min, mnp.iinfo("i8").max
        (-128, 127)
    """

    bits: int
    max: int
    min: int
    dtype: DType

    def __init__(self, type: object, /) -> None:
        dtype = _type_of(type)
        if not dtype.is_integer:
            raise DTypeError(f"iinfo: {dtype} is no integer type", hint="finfo has the limits of floats")
        least, most = dtype.limits
        for name, value in zip(self.__slots__, (dtype.bits, most, least, dtype), strict=True):
            object.__setattr__(self, name, value)


def isdtype(dtype: object, kind: object) -> bool:
    """Whether ``dtype`` is ``kind``: a type, one of "bool", "signed integer", "unsigned integer", "integral",
    "real floating", "complex floating" and "numeric", or a tuple of such, one of which it is.

    Raises ArgumentError for another word.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.isdtype(mnp.float32, ("integral", "real floating"))
        True
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    known = element_type(dtype)
    if isinstance(kind, str) and kind in _KINDS:
        return known.kind in _KINDS[kind]
    if isinstance(kind, str) and kind not in DTYPES:
        raise ArgumentError(f"isdtype: {kind!r} is none of {', '.join(_KINDS)} and no element type")
    return known == element_type(kind)


def can_cast(from_: object, to: object, /) -> bool:
    """Whether every value of the type or array ``from_`` is one of the type ``to``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.can_cast("u8", "i16"), mnp.can_cast("i32", "f32")
        (True, False)
    """
    source, target = _type_of(from_), element_type(to)
    if source in (target, BOOL):
        return True
    if source.is_float:
        wider = target.is_float and _DIGITS[source.name] <= _DIGITS[target.name]
        return wider and (target.bits - _DIGITS[target.name] >= source.bits - _DIGITS[source.name])
    if target.is_integer:
        return target.limits[0] <= source.limits[0] and source.limits[1] <= target.limits[1]
    exact = target.is_float and source.bits - (source.kind == "int") <= _DIGITS[target.name] + 1
    return exact and finfo(target).max > source.limits[1]


def result_type(*arrays_and_dtypes: object) -> DType:
    """The type that operands of these types, arrays and Python numbers meet in. Raises DTypeError where there is none.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.result_type("u8", mnp.zeros(2, "i8"), 3)
        i16
    """
    if not arrays_and_dtypes:
        raise ArgumentError("result_type: takes at least one type or array")
    described = []
    for x in arrays_and_dtypes:
        if isinstance(x, bool | int | float) or hasattr(x, "shape"):
            described.append(describe(x, "result_type: operand"))
        else:
            described.append((scalar(element_type(x)), False))
    return common("result_type", described)[0]


def _type_of(x: object) -> DType:
    """An element type, or that of an array."""
    return describe(x, "operand")[0].dtype if hasattr(x, "shape") and hasattr(x, "dtype") else element_type(x)


class NamespaceInfo:
    """What ``__array_namespace_info__()`` gives: capabilities, devices and element types of mlc.numpy."""

    __slots__ = ()

    def capabilities(self) -> dict[str, Any]:
        """Masks and shapes that data decide are there outside of compiled functions."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": None}

    def default_device(self) -> str:
        return self.devices()[0]

    def devices(self) -> list[str]:
        """Where arrays lie: the host."""
        return ["cpu:0"]

    def default_dtypes(self, *, device: object = None) -> dict[str, DType]:
        return {"real floating": F32, "integral": I64, "indexing": I64}

    def dtypes(self, *, device: object = None, kind: object = None) -> Mapping[str, DType]:
        """Element types by their names in the array API, those of ``kind`` (see ``isdtype``)."""
        found = {t.numpy.name: t for t in DTYPES.values()}
        return {name: t for name, t in found.items() if kind is None or isdtype(t, kind)}


def __array_namespace_info__() -> NamespaceInfo:
    """What programs written to the array API may ask of mlc.numpy.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.__array_namespace_info__().default_dtypes()["indexing"]
        i64
    """
    return NamespaceInfo()
