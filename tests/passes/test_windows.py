"""Pooling and its gradients compiled, compared with their meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc.compiler import Options, compile_graph
from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Graph, Node, Op, Table
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.types import BF16, BOOL, F16, F32, F64, I8, I64, U8, DType, TensorType
from tests.codegen.native import TARGETS

from ..graph.support import Array
from ..graph.test_windows import CASES, DILATED, neutral


def run(results: list[Node], table: Table, parameters: list[Node], arrays: list[Array], name: str) -> None:
    graph = Graph("main", parameters, results, table)
    for target in TARGETS:
        got = [np.asarray(a) for a in compile_graph(graph, Options(target, verify=True))(arrays)]
        assert_close(graph, arrays, got, name)


def numbers(shape: tuple[int, ...], dtype: DType, seed: int = 0) -> Array:
    """With ties and, among floats, NaNs and infinities."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3 if dtype.is_float else 0, 4, shape).astype(np.float64)
    if dtype.is_float:
        x = np.where(rng.random(shape) < 0.05, np.nan, x)
        x = np.where(rng.random(shape) < 0.05, -np.inf, x)
    return x.astype(dtype.numpy)


@pytest.mark.parametrize("op", [g.ADD, g.MAXIMUM, g.MINIMUM, g.MULTIPLY], ids=lambda op: op.name)
@pytest.mark.parametrize("name", [*CASES, *DILATED])
def test_reduce_window(name: str, op: Op) -> None:
    shape, window, attributes = (CASES | DILATED)[name]
    table = Table()
    with table.active():
        x = table.parameter(TensorType(shape, F32))
        init = g.constant(np.float32(0.5), F32)
        one = (1,) * len(shape)
        a = {"base_dilations": one, "window_dilations": one, **neutral(window, attributes)}
        results = [
            g.reduce_window(op, x, window, **attributes),
            g.REDUCE_WINDOW(x, init, **a, body=g.body_of(op, F32)),
        ]
    run(results, table, [x], [numbers(shape, F32)], name)


@pytest.mark.parametrize("direction", ["GE", "LE"])
@pytest.mark.parametrize("name", CASES)
def test_selection(name: str, direction: str) -> None:
    shape, window, attributes = CASES[name]
    a: dict[str, Any] = neutral(window, attributes)
    table = Table()
    with table.active():
        x, y = table.parameter(TensorType(shape, F32)), table.parameter(TensorType(shape, F32))
        gathered = g.select_and_gather(y, x, direction, **a)
        source = table.parameter(gathered.tensor)
        select = g.select_of(direction, F32)
        scattered = g.SELECT_AND_SCATTER(x, source, g.constant(np.float32(0.5), F32), **a, select=select,
                                         scatter=g.body_of(g.ADD, F32))  # fmt: skip
    arrays = [numbers(shape, F32), numbers(shape, F32, 1), np.random.default_rng(2).normal(size=gathered.shape)]
    run([gathered, scattered], table, [x, y, source], [a.astype(np.float32) for a in arrays], name)


@pytest.mark.parametrize("dtype", [I8, U8, I64, F16, BF16, F64, BOOL], ids=str)
@pytest.mark.parametrize("name", ["overlapping", "NCHW", "long"])
def test_element_types(name: str, dtype: DType) -> None:
    shape, window, attributes = CASES[name]
    table = Table()
    with table.active():
        x = table.parameter(TensorType(shape, dtype))
        results = [g.reduce_window(op, x, window, **attributes) for op in (g.ADD, g.MAXIMUM)]
        if dtype != BOOL:
            gathered = g.select_and_gather(x, x, "GE", **neutral(window, attributes))
            assert gathered.op.transpose is not None
            back = gathered.op.transpose(results[0], gathered, (True, False))[0]
            assert back is not None
            results += [gathered, back]
    run(results, table, [x], [numbers(shape, U8).astype(dtype.numpy)], name)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_symbolic_batch(batch: int) -> None:
    n = dim("n", 1, 8)
    table = Table()
    with table.active():
        x = table.parameter(TensorType((n, 5, 6, 3), F32))
        pooled = g.reduce_window(g.MAXIMUM, x, (1, 3, 2, 1), window_strides=(1, 2, 2, 1),
                                 padding=((0, 0), (1, 1), (0, 0), (0, 0)))  # fmt: skip
        mean = g.reduce_window(g.ADD, x, (1, 5, 6, 1))
        a = neutral((1, 3, 2, 1), {"window_strides": (1, 2, 2, 1), "padding": ((0, 0), (1, 1), (0, 0), (0, 0))})
        zero = g.constant(np.float32(0), F32)
        back = g.SELECT_AND_SCATTER(x, pooled, zero, **a, select=g.select_of("GE", F32), scatter=g.body_of(g.ADD, F32))
    run([pooled, mean, back], table, [x], [numbers((batch, 5, 6, 3), F32)], f"batch {batch}")
