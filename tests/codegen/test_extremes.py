"""maximum and minimum: IEEE 754-2019's of zeros and NaN, by the evaluators, folded, and in every form of the code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import nn
from mlc.codegen.extremes import extreme
from mlc.codegen.lines import Lines
from mlc.codegen.names import constant
from mlc.compiler import Options, compile_graph
from mlc.ir import extremes
from mlc.ir.bits import bits_of
from mlc.ir.graph import CLAMP, Graph, Node, Table
from mlc.ir.graph.evaluate import evaluate_graph
from mlc.ir.kernel import VectorType
from mlc.ir.kernel.numeric import elementwise
from mlc.ir.target import Target
from mlc.ir.types import DTYPES, scalar
from mlc.tracing import trace

from .native import TARGETS, Array

TYPES = ("f16", "bf16", "f32", "f64")
NUMBERS = (0.0, -0.0, 1.0, -1.5, np.nan, -np.nan, np.inf, -np.inf, 6e-5, -6e-5)
CONSTANTS = (0.0, -0.0, 2.0, np.inf, np.nan)


def pairs(name: str) -> tuple[Array, Array]:
    numbers = np.array(NUMBERS).astype(DTYPES[name].numpy)
    x, y = np.meshgrid(numbers, numbers)
    return np.ascontiguousarray(x.ravel()), np.ascontiguousarray(y.ravel())


def larger(x: float, y: float) -> float:
    """The definition, for two numbers."""
    if x != x or y != y:
        return np.nan
    if x == y:
        return y if np.signbit(x) else x
    return x if x > y else y


def wanted(op: str, x: Array, y: Array) -> Array:
    wide = zip(x.astype(np.float64).ravel(), y.astype(np.float64).ravel(), strict=True)
    found = [larger(a, b) if op == "maximum" else -larger(-a, -b) for a, b in wide]
    return np.array(found).reshape(x.shape)


def check(got: Array, want: Array) -> None:
    got = np.asarray(got).astype(np.float64)
    np.testing.assert_array_equal(got, want)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(want)[number])


@pytest.mark.parametrize("op", ["maximum", "minimum"])
@pytest.mark.parametrize("name", TYPES)
def test_evaluators(op: str, name: str) -> None:
    x, y = pairs(name)
    want = wanted(op, x, y)
    function = getattr(extremes, op)
    check(function(x, y), want)
    check(elementwise(op, DTYPES[name], [x, y]), want)
    check(function.reduce(np.stack([x, y, x]), axis=0), want)
    check(function.accumulate(np.stack([x, y]), axis=0)[1], want)
    total = x.copy()
    function.at(total, np.arange(len(x)), y)
    check(total, want)


def test_other_types_are_numpys_own() -> None:
    x, y = np.array([3, -1, 0], np.int8), np.array([2, 5, 0], np.int8)
    assert extremes.maximum(x, y).tolist() == [3, 5, 0] and extremes.minimum(x, y).dtype == np.int8


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("name", TYPES)
def test_compiled(name: str, target: Target) -> None:
    """Of two arrays (an odd number of elements: lanes and single ones), and with a constant on each side."""
    x, y = pairs(name)
    x, y = x[:99], y[:99]
    formulas: list[Callable[[object, object], object]] = []
    wants = []
    for op in ("maximum", "minimum"):
        function = getattr(mnp, op)
        formulas.append(function)
        wants.append(wanted(op, x, y))
        for c in CONSTANTS:
            formulas += [lambda x, y, f=function, c=c: f(x, c), lambda x, y, f=function, c=c: f(c, x)]
            wants += [wanted(op, x, np.full_like(x, c))] * 2
    traced = trace(lambda x, y: [f(x, y) for f in formulas], (x, y), {})
    for got, want in zip(compile_graph(traced.graph, Options(target))([x, y]), wants, strict=True):
        check(got, want)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_folds_find_the_zero_that_counts_wherever_it_is(target: Target) -> None:
    """Every reduction, window and combination of zeros with one that differs from all others, at every place."""
    n = 37
    plus = np.where(np.eye(n, dtype=bool), 0.0, -0.0).astype(np.float32)

    def f(x: mlc.Array) -> list[object]:
        y = -x
        return [
            mnp.max(x, axis=1), mnp.max(x, axis=0), mnp.max(x), mnp.min(y, axis=1), mnp.min(y, axis=0), mnp.min(y),
            nn.max_pool(x.reshape(1, n, n, 1), (1, n), (1, n))[0, :, 0, 0], mnp.max(nn.relu(y), axis=1),
            mnp.full((n,), -0.0, "f32").at[np.zeros((n, n), np.int32)].max(x)[:1],
        ]  # fmt: skip

    traced = trace(f, (plus,), {})
    compiled = compile_graph(traced.graph, Options(target))([plus])
    for results in (compiled, evaluate_graph(traced.graph, [plus])):
        signs = [np.unique(np.signbit(np.asarray(r))).tolist() for r in results]
        assert signs == [[False], [False], [False], [True], [True], [True], [False], [False], [False]]


def test_folding_gives_the_same() -> None:
    zeros = np.array([0.0, -0.0, 0.0, -0.0], np.float32)
    turned = np.array([0.0, 0.0, -0.0, -0.0], np.float32)
    traced = trace(lambda: [mnp.maximum(zeros, turned), mnp.minimum(zeros, turned), mnp.max(turned[1:3])], (), {})
    most, least, whole = (np.signbit(np.asarray(a)) for a in compile_graph(traced.graph)([]))
    assert most.tolist() == [False, False, False, True]
    assert least.tolist() == [False, True, True, True]
    assert not whole


def test_clamp_has_the_zero_of_its_ends() -> None:
    table = Table()
    with table.active():
        low, x, high = (table.parameter(scalar(DTYPES["f32"])) for _ in range(3))
        nodes: list[Node] = [CLAMP(low, x, high)]
    graph = Graph("clamp", [low, x, high], nodes, table)
    for numbers, negative in (((0.0, -0.0, 1.0), False), ((-0.0, 0.0, 1.0), False), ((-1.0, 0.0, -0.0), True)):
        arrays = [np.float32(v) for v in numbers]
        assert np.signbit(np.asarray(compile_graph(graph)(arrays)[0])) == negative
        assert np.signbit(np.asarray(evaluate_graph(graph, [np.asarray(a) for a in arrays])[0])) == negative


def test_a_known_operand_costs_no_more_than_two_instructions() -> None:
    """A relu is everywhere: the zero it compares with decides which order of the instruction is right."""
    t = VectorType(DTYPES["f32"], 8)
    for op, number, most in (("maximum", 0.0, 3), ("maximum", 1.0, 2), ("minimum", 0.0, 2), ("minimum", 6.0, 2)):
        for order in (1, -1):
            out = Lines()
            operands = ("%x", constant(bits_of(number, t.dtype), t))[::order]
            extreme(out, op, t, *operands)
            assert len(out.scopes[0].lines) == most, (op, number, out.scopes[0].lines)
