"""mlc.numpy has the functions, constants and types of the Python array API 2024.12; what it lacks is listed here."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import mlc.numpy as mnp
from mlc.errors import ArgumentError, DTypeError
from mlc.ir.graph.elementwise import saturating_cast
from mlc.ir.types import DTYPES

NAMES = [
    "e",
    "inf",
    "nan",
    "newaxis",
    "pi",
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
    "astype",
    "can_cast",
    "finfo",
    "iinfo",
    "isdtype",
    "result_type",
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_invert",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "clip",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "divide",
    "equal",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "nextafter",
    "not_equal",
    "positive",
    "pow",
    "real",
    "reciprocal",
    "remainder",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "square",
    "sqrt",
    "subtract",
    "tan",
    "tanh",
    "trunc",
    "take",
    "take_along_axis",
    "__array_namespace_info__",
    "__array_api_version__",
    "matmul",
    "matrix_transpose",
    "tensordot",
    "vecdot",
    "broadcast_arrays",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flip",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "tile",
    "unstack",
    "argmax",
    "argmin",
    "count_nonzero",
    "nonzero",
    "searchsorted",
    "where",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "argsort",
    "sort",
    "cumulative_prod",
    "cumulative_sum",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
    "all",
    "any",
    "diff",
]
ABSENT = dict.fromkeys(("complex64", "complex128", "conj", "imag", "real"), "mlc has no complex numbers")


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_or_listed_as_absent(name: str) -> None:
    assert (name in mnp.__all__ and hasattr(mnp, name)) != (name in ABSENT)
    function = getattr(mnp, name, None)
    if inspect.isfunction(function):
        assert function.__doc__ and ">>> " in function.__doc__


def test_limits_are_numpys() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        got, want = mnp.finfo(np.dtype(dtype).name), np.finfo(dtype)
        assert (got.bits, got.eps, got.max, got.min) == (want.bits, float(want.eps), float(want.max), float(want.min))
        assert got.smallest_normal == float(want.smallest_normal)
    for name in ("int8", "uint16", "int64", "uint64"):
        got_int, want_int = mnp.iinfo(mnp.zeros(1, name)), np.iinfo(name)
        assert (got_int.bits, got_int.min, got_int.max) == (want_int.bits, want_int.min, want_int.max)
    with pytest.raises(DTypeError, match=r"finfo: i32 is no float type"):
        mnp.finfo("i32")
    with pytest.raises(DTypeError, match=r"iinfo: f32 is no integer type"):
        mnp.iinfo(mnp.float32)


def test_kinds() -> None:
    assert mnp.isdtype("u8", "integral") and mnp.isdtype("u8", "numeric") and mnp.isdtype("u8", ("bool", "u8"))
    assert not mnp.isdtype("bf16", "integral") and mnp.isdtype("bf16", "real floating")
    assert not mnp.isdtype("bool", "numeric") and not mnp.isdtype("f32", "complex floating")
    with pytest.raises(ArgumentError, match=r"isdtype: 'floats' is none of bool, signed integer"):
        mnp.isdtype("f32", "floats")


def test_can_cast_says_whether_all_values_survive() -> None:
    """Of the extremes and 1 + eps of each type: converted, they are what they were."""
    names = ["bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f16", "bf16", "f32", "f64"]
    for source in names:
        host = mnp.zeros(1, source).dtype.numpy
        if mnp.isdtype(source, "real floating"):
            f = mnp.finfo(source)
            values = np.array([f.max, 1 + f.eps, f.smallest_normal], host)
        elif source == "bool":
            values = np.array([False, True])
        else:
            values = np.array([mnp.iinfo(source).min, mnp.iinfo(source).max, mnp.iinfo(source).max // 2], host)
        for target in names:
            if mnp.isdtype(source, "integral") and target == "bool":
                assert not mnp.can_cast(source, target)
                continue
            there = saturating_cast(values, DTYPES[target]).astype(np.longdouble)
            assert mnp.can_cast(source, target) == bool(np.all(there == values.astype(np.longdouble))), (source, target)


def test_result_type() -> None:
    assert mnp.result_type("u8", "i8") == mnp.int16 and mnp.result_type(mnp.zeros(2, "f16"), 1.5) == mnp.float16
    assert mnp.result_type(1, 2.0) == mnp.float32 and mnp.result_type(mnp.int32, True) == mnp.int32
    with pytest.raises(DTypeError, match=r"result_type: u64 and i8 have no common element type"):
        mnp.result_type("u64", "i8")


def test_namespace_info() -> None:
    info = mnp.zeros(1).__array_namespace__().__array_namespace_info__()
    assert info.default_device() in info.devices() and info.capabilities()["data-dependent shapes"]
    assert set(info.dtypes(kind="unsigned integer")) == {"uint8", "uint16", "uint32", "uint64"}
    assert info.dtypes()["float32"] == mnp.float32 and info.default_dtypes()["real floating"] == mnp.float32
