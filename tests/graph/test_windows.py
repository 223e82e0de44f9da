"""reduce_window, select_and_scatter and select_and_gather against loops written out, their types and derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.errors import MlcError, ShapeError
from mlc.ir.dims import dim
from mlc.ir.graph import Node, Op, Table, parse_graph
from mlc.ir.types import BF16, BOOL, F32, F64, I8, I32, U8, DType, TensorType

from ..transforms.check import check
from .support import Array, apply, graph_of

# shape, window, attributes other than neutral
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "pool": ((2, 4, 6, 3), (1, 2, 2, 1), {"window_strides": (1, 2, 2, 1)}),
    "NCHW": ((2, 3, 4, 6), (1, 1, 2, 2), {"window_strides": (1, 1, 2, 2)}),
    "overlapping": ((1, 5, 7, 2), (1, 3, 3, 1),
                    {"window_strides": (1, 2, 2, 1), "padding": ((0, 0), (1, 1), (1, 0), (0, 0))}),
    "every element": ((1, 4, 5, 2), (1, 3, 2, 1), {"padding": ((0, 0), (1, 1), (0, 1), (0, 0))}),
    "with gaps": ((7, 2), (2, 1), {"window_strides": (3, 1)}),
    "cut": ((8, 3), (2, 2), {"padding": ((-1, 2), (1, -2)), "window_strides": (2, 1)}),
    "one axis": ((9,), (4,), {"window_strides": (3,), "padding": ((2, 3),)}),
    "all of it": ((3, 4), (3, 4), {}),
    "only padding": ((2, 2), (2, 1), {"padding": ((3, 4), (0, 1)), "window_strides": (2, 1)}),
    "no axis": ((), (), {}),
    "no window": ((2, 3), (3, 1), {}),
    "empty": ((0, 4), (1, 2), {"window_strides": (1, 2)}),
    "long": ((40, 2), (23, 1), {"padding": ((22, 0), (0, 0))}),
}  # fmt: skip
DILATED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "dilated window": ((9, 2), (3, 2), {"window_dilations": (3, 1), "padding": ((1, 0), (0, 1))}),
    "dilated base": ((4, 3), (3, 2), {"base_dilations": (3, 2), "padding": ((0, 1), (1, 1)), "window_strides": (2, 1)}),
}


def neutral(window: tuple[int, ...], attributes: dict[str, Any]) -> dict[str, Any]:
    one = (1,) * len(window)
    return {"window_dimensions": window, "window_strides": one, "padding": ((0, 0),) * len(window), **attributes}


def positions(
    shape: tuple[int, ...], a: dict[str, Any]
) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...] | None]]]:
    """Each window's position in the result and the elements in it, None for padding, in row-major order."""
    rank, window = len(shape), a["window_dimensions"]
    base, dilation = a.get("base_dilations", (1,) * rank), a.get("window_dilations", (1,) * rank)
    counts = []
    for i, n in enumerate(shape):
        padded = (max(n - 1, 0) * base[i] + (n > 0)) + sum(a["padding"][i])
        wide = (window[i] - 1) * dilation[i] + 1
        counts.append(0 if padded == 0 or wide > padded else (padded - wide) // a["window_strides"][i] + 1)
    for position in product(*map(range, counts)):
        found: list[tuple[int, ...] | None] = []
        for tap in product(*map(range, window)):
            at = [position[i] * a["window_strides"][i] + tap[i] * dilation[i] - a["padding"][i][0] for i in range(rank)]
            inside = all(p % k == 0 and 0 <= p // k < n for p, k, n in zip(at, base, shape, strict=True))
            found.append(tuple(p // k for p, k in zip(at, base, strict=True)) if inside else None)
        yield position, found


def numbers(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Few different ones, so that there are ties."""
    return np.asarray(np.random.default_rng(seed).integers(-3, 4, shape))


PYTHON = {"add": lambda x, y: x + y, "multiply": lambda x, y: x * y, "maximum": max, "minimum": min}


@pytest.mark.parametrize("init", [None, 2])
@pytest.mark.parametrize("op", [g.ADD, g.MAXIMUM, g.MINIMUM, g.MULTIPLY], ids=lambda op: op.name)
@pytest.mark.parametrize("name", [*CASES, *DILATED])
def test_folds_written_out(name: str, op: Op, init: int | None) -> None:
    shape, window, attributes = (CASES | DILATED)[name]
    a = {"base_dilations": (1,) * len(window), "window_dilations": (1,) * len(window), **neutral(window, attributes)}
    x = numbers(shape).astype(np.float32)
    start = g.identity_of(op, F32) if init is None else np.float32(init)
    got = apply(g.REDUCE_WINDOW, x, np.asarray(start), **a, body=g.body_of(op, F32))
    count = 0
    for position, elements in positions(shape, a):
        want = start.item()
        for e in elements:
            want = PYTHON[op.name](want, start.item() if e is None else x[e].item())
        assert got[position] == np.float32(want), position
        count += 1
    assert count == got.size


@pytest.mark.parametrize("dtype", [I8, U8, BF16, F64, BOOL], ids=str)
def test_element_types(dtype: DType) -> None:
    x = (numbers((6,)) * 40).astype(dtype.numpy)
    op = g.MAXIMUM
    node = {"window_dimensions": (3,), "window_strides": (1,), "base_dilations": (1,), "window_dilations": (1,),
            "padding": ((1, 0),), "body": g.body_of(op, dtype)}  # fmt: skip
    got = apply(g.REDUCE_WINDOW, x, g.identity_of(op, dtype), **node)
    assert got.dtype == dtype.numpy and got.tolist() == [max(x[max(i - 1, 0) : i + 2]) for i in range(5)]


def test_nan_is_the_maximum() -> None:
    x = np.array([1, np.nan, 0, 2, 3], np.float32)
    node = {"window_dimensions": (2,), "window_strides": (1,), "base_dilations": (1,), "window_dilations": (1,),
            "padding": ((0, 0),)}  # fmt: skip
    for op in (g.MAXIMUM, g.MINIMUM):
        got = apply(g.REDUCE_WINDOW, x, g.identity_of(op, F32), **node, body=g.body_of(op, F32))
        assert np.isnan(got).tolist() == [True, True, False, False]


@pytest.mark.parametrize("direction", ["GE", "LE"])
@pytest.mark.parametrize("name", CASES)
def test_selects_the_first_extreme(name: str, direction: str) -> None:
    shape, window, attributes = CASES[name]
    a = neutral(window, attributes)
    x, y = numbers(shape).astype(np.float32), numbers(shape, 1).astype(np.float32)
    select = g.select_of(direction, F32)
    gathered = apply(g.SELECT_AND_GATHER, y, x, **a, select=select)
    source = numbers(gathered.shape, 2).astype(np.float32)
    scattered = apply(g.SELECT_AND_SCATTER, x, source, np.float32(0.5), **a, select=select,
                      scatter=g.body_of(g.ADD, F32))  # fmt: skip
    want = np.full(shape, 0.5)
    for position, elements in positions(shape, a):
        inside = [e for e in elements if e is not None]
        values = [x[e] for e in inside]
        chosen = inside[values.index((max if direction == "GE" else min)(values))] if inside else None
        assert gathered[position] == (0 if chosen is None else y[chosen]), position
        if chosen is not None:
            want[chosen] += source[position]
    np.testing.assert_array_equal(scattered, want)


@pytest.mark.parametrize("name", [*CASES, *DILATED])
def test_derivatives(name: str) -> None:
    shape, window, attributes = (CASES | DILATED)[name]
    x = np.random.default_rng(3).permutation(np.prod(shape, dtype=int)).reshape(shape) * 0.37
    for op in (g.ADD, g.MULTIPLY, g.MAXIMUM, g.MINIMUM):
        if name != "only padding" or op in (g.ADD, g.MULTIPLY):  # an infinity has no slope
            check(lambda x, op=op: g.reduce_window(op, x, window, **attributes), [x], order=2 if x.size < 50 else 1)


def test_derivative_of_a_product_with_zeros() -> None:
    x = np.array([0.0, 2.0, 0.0, 0.0, -3.0, 0.5, 4.0])
    check(lambda x: g.reduce_window(g.MULTIPLY, x, (3,)), [x], order=2)


@pytest.mark.parametrize("name", [*CASES, *DILATED])
def test_derivatives_of_the_initial_value(name: str) -> None:
    """It starts every fold and is the padding too."""
    shape, window, attributes = (CASES | DILATED)[name]
    a = neutral(window, {"base_dilations": (1,) * len(shape), "window_dilations": (1,) * len(shape), **attributes})
    x = np.random.default_rng(3).permutation(np.prod(shape, dtype=int)).reshape(shape) * 0.11
    init = np.float64(np.median(x)) + 0.05 if x.size else np.float64(0.5)
    for op in (g.ADD, g.MULTIPLY, g.MAXIMUM, g.MINIMUM):
        check(lambda x, init, op=op: g.REDUCE_WINDOW(x, init, **a, body=g.body_of(op, F64)), [x, init])


def test_derivatives_of_a_scatter() -> None:
    x, source = np.random.default_rng(3).normal(size=(4, 6)), np.random.default_rng(4).normal(size=(3, 3))
    a = neutral((2, 2), {"window_strides": (1, 2)})
    select, scatter = g.select_of("GE", F64), g.body_of(g.ADD, F64)
    check(
        lambda source, init: g.SELECT_AND_SCATTER(g.constant(x), source, init, **a, select=select, scatter=scatter),
        [source, np.float64(0.25)],
    )


def test_second_derivative_goes_through_what_is_selected() -> None:
    x = np.random.default_rng(3).normal(size=(4, 6))

    def formula(x: Node) -> Node:
        pooled = g.reduce_window(g.MAXIMUM, x, (2, 3), window_strides=(1, 2))
        return g.MULTIPLY(pooled, g.MULTIPLY(pooled, pooled))

    check(formula, [x], order=2)


def test_where_an_initial_value_wins_the_operand_has_no_slope() -> None:
    x = np.array([[-1.0, -2.0], [3.0, 0.5]])

    def formula(x: Node) -> Node:
        zero = g.constant(np.float64(0), F64)
        a = neutral((1, 2), {"base_dilations": (1, 1), "window_dilations": (1, 1)})
        return g.REDUCE_WINDOW(x, zero, **a, body=g.body_of(g.MAXIMUM, F64))

    check(formula, [x])


def test_text_reads_back() -> None:
    x, pooled = TensorType((2, 8, 8, 3), F32), TensorType((2, 4, 4, 3), F32)
    a = neutral((1, 2, 2, 1), {"window_strides": (1, 2, 2, 1)})
    one = (1,) * 4
    graphs = [
        graph_of(g.REDUCE_WINDOW, [x, TensorType((), F32)], **a, base_dilations=one, window_dilations=one,
                 body=g.body_of(g.MAXIMUM, F32)),
        graph_of(g.SELECT_AND_SCATTER, [x, pooled, TensorType((), F32)], **a, select=g.select_of("GE", F32),
                 scatter=g.body_of(g.ADD, F32)),
        graph_of(g.SELECT_AND_GATHER, [x, x], **a, select=g.select_of("LE", F32)),
    ]  # fmt: skip
    for graph in graphs:
        g.verify_graph(graph)
        again = parse_graph(str(graph))
        assert again.fingerprint == graph.fingerprint and str(again) == str(graph)


def test_a_symbolic_axis_that_the_window_leaves_alone() -> None:
    n = dim("n", 1, 9)
    table = Table()
    with table.active():
        x = table.parameter(TensorType((n, 8), F32))
        assert g.reduce_window(g.MAXIMUM, x, (1, 2), window_strides=(1, 2)).shape == (n, 4)
        assert g.reduce_window(g.MAXIMUM, x, (2, 1), padding=((1, 0), (0, 0))).shape == (n, 8)
        with pytest.raises(ShapeError, match="cannot be counted"):
            g.reduce_window(g.MAXIMUM, x, (1, 1), window_strides=(2, 1))


X = TensorType((4, 6), F32)


@pytest.mark.parametrize(
    ("window", "attributes", "words"),
    [
        ((2,), {}, r"window_dimensions \[2\] must be 2 positive numbers"),
        ((2, 0), {}, r"window_dimensions \[2, 0\] must be 2 positive"),
        ((2, 2), {"window_strides": (0, 1)}, r"window_strides \[0, 1\] must be"),
        ((2, 2), {"base_dilations": (1, -1)}, r"base_dilations \[1, -1\] must be"),
        ((2, 2), {"padding": ((0, 0),)}, r"padding \[\[0, 0\]\] must be 2 pairs"),
        ((2, 2), {"padding": ((0, -5), (0, 0))}, r"leaves -1 elements along axis 0 of f32\[4,6\]"),
    ],
)
def test_errors(window: tuple[int, ...], attributes: dict[str, Any], words: str) -> None:
    table = Table()
    with table.active(), pytest.raises(MlcError, match=words):
        g.reduce_window(g.ADD, table.parameter(X), window, **attributes)


def test_errors_of_select_and_scatter() -> None:
    a = neutral((2, 2), {"window_strides": (2, 2)})
    bodies = {"select": g.select_of("GE", F32), "scatter": g.body_of(g.ADD, F32)}
    for source, init, changed, words in (
        (TensorType((2, 2), F32), TensorType((), F32), {}, r"need f32\[2,3\] and a scalar"),
        (TensorType((2, 3), I32), TensorType((), I32), {"scatter": g.body_of(g.ADD, I32)}, "must have one type"),
        (TensorType((2, 3), F32), TensorType((), F32), {"select": g.select_of("GE", I32)}, r"must take two f32\[\]"),
        (TensorType((2, 3), F32), TensorType((), F32), {"scatter": g.body_of(g.ADD, I32)}, r"must take two f32\[\]"),
    ):
        with pytest.raises(MlcError, match=words):
            graph_of(g.SELECT_AND_SCATTER, [X, source, init], **a, **{**bodies, **changed})
    with pytest.raises(MlcError, match="not a single comparison"):
        apply(g.SELECT_AND_GATHER, np.ones((2, 2)), np.ones((2, 2)), **neutral((1, 1), {}),
              select=g.select_of("LT", F64))  # fmt: skip
