"""The evaluator: arguments, sizes, calls, tuples, and what it says of arrays that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc.errors import ArgumentError, VerifyError
from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Graph, Table, evaluate_graph
from mlc.ir.types import BF16, F32, U32, TensorType

B = dim("batch", 1, 8)


def mean() -> Graph:
    """Rows minus their mean over a symbolic batch; the batch appears twice and in a product."""
    table = Table()
    with table.active():
        x = table.parameter(TensorType((B, 3), F32), "x")
        y = table.parameter(TensorType((B * 3,), F32), "y")
        total = g.reduce_add(x, (0,))
        count = g.broadcast_in_dim(g.CONVERT(g.size_value(B), dtype=F32), (3,), ())
        centred = g.SUBTRACT(x, g.broadcast_in_dim(g.DIVIDE(total, count), (B, 3), (1,)))
        return Graph("center", (x, y), (g.ADD(g.reshape(centred, (B * 3,)), y), g.size_value(B * B + 1)), table)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_sizes_come_from_the_arrays(batch: int) -> None:
    x = np.arange(batch * 3, dtype=np.float32).reshape(batch, 3) ** 2
    y = np.ones(batch * 3, np.float32)
    out, size = evaluate_graph(mean(), [x, y])
    np.testing.assert_allclose(out, (x - x.astype(float).mean(0)).reshape(-1) + 1, rtol=1e-6)
    assert size == batch**2 + 1 and size.dtype == np.int64


X, Y = np.zeros((2, 3), np.float32), np.zeros(6, np.float32)
WRONG: list[tuple[list[Any], str]] = [
    ([X], "center: takes 2 arrays, was given 1"),
    ([X.astype(np.float64), Y], r"argument 0 \(x\) is f64\[2,3\]; the parameter is f32\[batch,3\]"),
    ([X[0], Y], r"argument 0 \(x\) is f32\[3\]; the parameter is f32\[batch,3\]"),
    ([X.astype(str), Y], r"argument 0 \(x\) is <U32\[2,3\]; the parameter is"),
    ([X.astype(complex), Y], r"argument 0 \(x\) is complex128\[2,3\]; the parameter is"),
    ([X[:, :2], Y], r"argument 0 \(x\) is f32\[2,2\]; axis 1 of f32\[batch,3\] has 3"),
    ([X, Y[:5]], r"argument 1 \(y\) is f32\[5\]; axis 0 of f32\[3\*batch\] has 3\*batch = 6"),
    ([np.zeros((9, 3), np.float32), Y], "size batch is 9, outside 1..8"),
    ([np.zeros((0, 3), np.float32), Y], "size batch is 0, outside 1..8"),
]


@pytest.mark.parametrize("arrays, words", WRONG, ids=[w[:30] for _, w in WRONG])
def test_arrays_that_do_not_fit(arrays: list[Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        evaluate_graph(mean(), arrays)


def test_sizes_given_and_missing() -> None:
    table = Table()
    with table.active():
        x = table.parameter(TensorType((B * 2,), F32), "x")
        graph = Graph("f", (x,), (g.size_value(B),), table)
    four = np.zeros(4, np.float32)
    assert evaluate_graph(graph, [four], {"batch": 2})[0] == 2
    with pytest.raises(ArgumentError, match="no parameter has the size batch as a dimension; pass sizes"):
        evaluate_graph(graph, [four])
    with pytest.raises(ArgumentError, match=r"has 2\*batch = 6"):
        evaluate_graph(graph, [four], {"batch": 3})


def test_calls_composites_fusions_and_tuples() -> None:
    table, inner = Table(), Table()
    kind = TensorType((B,), F32)
    with inner.active():
        p, q = inner.parameter(kind), inner.parameter(kind)
        size = g.broadcast_in_dim(g.CONVERT(g.size_value(B), dtype=F32), (B,), ())
        body = Graph("body", (p, q), (g.ADD(p, q), g.MULTIPLY(p, size), p), inner)
    with table.active():
        x, y = table.parameter(kind), table.parameter(kind)
        a = g.results_of(g.CALL(x, y, callee=body))
        b = g.results_of(g.COMPOSITE(a[0], a[1], name="c", decomposition=body, options=()))
        c = g.results_of(g.FUSION(b[0], b[2], kind="loop", body=body))
        graph = Graph("main", (x, y), (*c, x, c[0]), table)
    u, v = np.array([1, 2], np.float32), np.array([10, 20], np.float32)
    a0, a1 = u + v, u * 2
    b0 = a0 + a1
    want = [b0 + a0, b0 * 2, b0, u, b0 + a0]
    for got, expected in zip(evaluate_graph(graph, [u, v]), want, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_bf16_and_python_scalars() -> None:
    table = Table()
    with table.active():
        x, n = table.parameter(TensorType((2,), BF16)), table.parameter(TensorType((), U32))
        graph = Graph("f", (x, n), (g.ADD(x, x), n), table)
    x_value = np.array([1, 3]).astype(BF16.numpy)
    out, n_value = evaluate_graph(graph, [x_value, np.uint32(4)])
    assert out.dtype == BF16.numpy and out.astype(float).tolist() == [2, 6] and n_value.shape == ()


def test_a_row_that_breaks_its_type_is_named() -> None:
    table = Table()
    with table.active():
        x = table.parameter(TensorType((2,), F32))
        node = table.make(g.NEGATE, (x,), TensorType((3,), F32), {})
    with pytest.raises(VerifyError, match=r"negate: its row evaluates to f32\[2\], its type is f32\[3\]"):
        evaluate_graph(Graph("f", (x,), (node,), table), [np.zeros(2, np.float32)])


def test_results_may_be_parameters_or_nothing() -> None:
    table = Table()
    with table.active():
        x = table.parameter(TensorType((2,), F32))
    value = np.ones(2, np.float32)
    assert evaluate_graph(Graph("f", (x,), (), table), [value]) == []
    np.testing.assert_array_equal(evaluate_graph(Graph("f", (x,), (x, x), table), [value])[1], value)
