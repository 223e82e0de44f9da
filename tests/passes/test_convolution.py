"""Convolutions of every kind compiled, compared with their meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc.compiler import Options, compile_graph
from mlc.ir import graph as g
from mlc.ir.dims import Dim, dim
from mlc.ir.graph import Graph, Table
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.types import BF16, F16, F32, F64, I8, I32, U64, DType, TensorType, dtype_of
from tests.codegen.native import TARGETS
from tests.graph.test_convolution import CASES, NHWC, full

from ..graph.support import Array


def graph_of(x: TensorType, w: TensorType, labels: str, attributes: dict[str, Any], *, grads: bool = False) -> Graph:
    """The convolution of two parameters, or both of its gradients for a cotangent."""
    table = Table()
    with table.active():
        p, q = table.parameter(x), table.parameter(w)
        node = g.convolution(p, q, labels, **attributes)
        if not grads:
            return Graph("main", (p, q), (node,), table)
        ct = table.parameter(node.type)
        assert node.op.transpose is not None
        left, right = node.op.transpose(ct, node, (True, False))[0], node.op.transpose(ct, node, (False, True))[1]
        assert left is not None and right is not None
        return Graph("main", (p, q, ct), (left, right), table)


def run(graph: Graph, arrays: list[Array], name: str = "convolution") -> None:
    for target in TARGETS:
        got = [np.asarray(a) for a in compile_graph(graph, Options(target, verify=True))(arrays)]
        assert_close(graph, arrays, got, name)


def normal(shape: tuple[int, ...], dtype: DType = F32, seed: int = 0) -> Array:
    numbers = np.random.default_rng(seed).normal(size=shape)
    return (numbers * 4 if dtype.is_integer else numbers).astype(dtype.numpy)


@pytest.mark.parametrize("name", CASES)
def test_every_attribute(name: str) -> None:
    shape, window, labels, attributes = CASES[name]
    graph = graph_of(TensorType(shape, F32), TensorType(window, F32), labels, attributes)
    run(graph, [normal(shape), normal(window, seed=1)])


@pytest.mark.parametrize("name", ["NCHW", "strided", "everything", "batch groups turned", "depthwise", "one axis"])
def test_gradients(name: str) -> None:
    shape, window, labels, attributes = CASES[name]
    graph = graph_of(TensorType(shape, F64), TensorType(window, F64), labels, attributes, grads=True)
    run(graph, [normal(tuple(p.shape), F64, i) for i, p in enumerate(graph.parameters)])  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [I8, I32, U64, F16, BF16, F64], ids=str)
def test_element_types(dtype: DType) -> None:
    shape, window, labels, attributes = CASES["groups"]
    graph = graph_of(TensorType(shape, dtype), TensorType(window, dtype), labels, attributes)
    run(graph, [normal(shape, dtype), normal(window, dtype, 1)])


def test_padding_multiplies_by_zero_only() -> None:
    """Not by what happens to lie beside the image: numbers stay numbers beside infinities of other images."""
    x = np.full((2, 3, 3, 1), np.inf, np.float32)
    x[1] = 1
    w = np.ones((3, 3, 1, 1), np.float32)
    attributes = full(NHWC, {"padding": ((1, 1), (1, 1))})
    labels = attributes.pop("dimension_numbers")
    graph = graph_of(TensorType(x.shape, dtype_of(x.dtype)), TensorType(w.shape, F32), labels, attributes)
    (got,) = compile_graph(graph, Options(TARGETS[0]))([x, w])
    assert np.isposinf(np.asarray(got)[0]).all()
    np.testing.assert_array_equal(np.asarray(got)[1, :, :, 0], [[4, 6, 4], [6, 9, 6], [4, 6, 4]])


@pytest.mark.parametrize("batch", [1, 2, 5, 9])
@pytest.mark.parametrize("grads", [False, True], ids=["forward", "gradients"])
def test_symbolic_batch(batch: int, grads: bool) -> None:
    n = dim("batch", 1, 9)
    attributes = {"padding": ((1, 1), (0, 1)), "window_strides": (2, 1)}
    graph = graph_of(TensorType((n, 5, 6, 3), F32), TensorType((3, 2, 3, 4), F32), NHWC, attributes, grads=grads)
    run(graph, [normal(_sizes(p.tensor, batch), F32, i) for i, p in enumerate(graph.parameters)])


@pytest.mark.parametrize("width", [3, 4, 17])
@pytest.mark.parametrize("grads", [False, True], ids=["forward", "gradients"])
def test_symbolic_width(width: int, grads: bool) -> None:
    n = dim("width", 3, 17)
    attributes = {"padding": ((1, 1), (0, 1))}
    graph = graph_of(TensorType((2, 5, n, 3), F32), TensorType((3, 2, 3, 4), F32), NHWC, attributes, grads=grads)
    run(graph, [normal(_sizes(p.tensor, width), F32, i) for i, p in enumerate(graph.parameters)])


def _sizes(t: TensorType, value: int) -> tuple[int, ...]:
    return tuple(n.evaluate({s.name: value for s in n.symbols}) if isinstance(n, Dim) else n for n in t.shape)
