"""One row applied to arrays, and the arrays that are hard for each element type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.ir.graph import Graph, Node, Op, Table, evaluate_graph
from mlc.ir.types import DTYPES, DType, TensorType, TupleType, type_of_array

Array = npt.NDArray[Any]
FLOATS = [t for t in DTYPES.values() if t.is_float]
INTEGERS = [t for t in DTYPES.values() if t.is_integer]
BY_KIND = {kind: [t for t in DTYPES.values() if t.kind == kind] for kind in ("float", "int", "uint", "bool")}


def graph_of(op: Op, types: Sequence[TensorType], **attributes: Any) -> Graph:
    """A graph of one row."""
    table = Table()
    with table.active():
        parameters = [table.parameter(t, f"p{i}") for i, t in enumerate(types)]
        return Graph("row", parameters, elements(op(*parameters, **attributes)), table)


def elements(node: Node) -> tuple[Node, ...]:
    from mlc.ir.graph import results_of

    return results_of(node) if isinstance(node.type, TupleType) else (node,)


def apply(op: Op, *arrays: Array, **attributes: Any) -> Array:
    """The first result of one row on arrays."""
    return evaluate_graph(graph_of(op, [type_of_array(a) for a in arrays], **attributes), arrays)[0]


def special(dtype: DType) -> Array:
    """The values where formulas go wrong: zeros, ones, halves, extremes, infinities, NaN, widths."""
    if dtype.kind == "bool":
        return np.array([False, True])
    if dtype.is_integer:
        low = 0 if dtype.kind == "uint" else -(2 ** (dtype.bits - 1))
        high = low + 2**dtype.bits - 1
        few = [0, 1, 2, 3, 7, dtype.bits - 1, dtype.bits, dtype.bits + 1, 100, high, high - 1]
        few += [-1, -2, -3, -7, -100, low, low + 1] if dtype.kind == "int" else []
        return np.array(few, dtype.numpy)
    most = {"f16": 15, "bf16": 127, "f32": 127, "f64": 1023}[dtype.name]
    tiny, top = 2.0 ** (1 - most), 2.0**most
    numbers = [0.0, -0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 7.0, 10.0, -0.25, -0.5, -1.0, -1.5, -2.5, -3.5, -9.0]
    hard = [np.inf, -np.inf, np.nan, tiny, tiny / 4, 1.875 * top, -1.875 * top]
    return np.array(numbers + hard).astype(dtype.numpy)


def pairs(dtype: DType) -> tuple[Array, Array]:
    """Every special value with every other."""
    x, y = np.meshgrid(special(dtype), special(dtype))
    return x.astype(dtype.numpy), y.astype(dtype.numpy)


def bits(array: Array) -> Array:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def assert_same(got: Array, want: Array) -> None:
    """Equal dtype, shape and values; NaNs are equal to each other, zeros to zeros of the same sign."""
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, got.shape, want.dtype, want.shape)
    if got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want)
        return
    got, want = got.astype(np.float64), want.astype(np.float64)
    np.testing.assert_array_equal(got, want)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(want)[number])
