"""sort: what it means, what comparators it takes, and its derivative."""

from __future__ import annotations

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.errors import UnsupportedError
from mlc.ir.graph import Graph, Node, Table, evaluate_graph, parse_graph, resources_of
from mlc.ir.types import F32, F64, I32, TensorType, scalar

from ..transforms.check import check


def sorted_by_order(x: np.ndarray, descending: bool) -> np.ndarray:
    """Insertion by the definition: NaN above all numbers, zeros equal, equal elements in order."""
    found: list[float] = []
    for v in x:
        before = [k for k, w in enumerate(found) if (above(w, v) if not descending else above(v, w))]
        found.insert(min(before, default=len(found)), v)
    return np.array(found)


def above(x: float, y: float) -> bool:
    return bool(np.isnan(x) and not np.isnan(y)) or x > y


@pytest.mark.parametrize("descending", [False, True])
def test_order(descending: bool) -> None:
    x = np.array([3.0, np.nan, -0.0, 7.0, 0.0, -np.inf, np.inf, 3.0, np.nan, -2.0, 0.0])
    table = Table()
    with table.active():
        p = table.parameter(TensorType((11,), F64))
        line = g.IOTA(shape=(11,), dtype=I32, dimension=0)
        graph = Graph("sort", [p], g.sort(p, line, descending=descending), table)
    values, order = evaluate_graph(graph, [x])
    want = sorted_by_order(x, descending)
    assert values.tobytes() == want.tobytes() and x[order].tobytes() == want.tobytes()
    assert sorted(order.tolist()) == list(range(11))
    text = str(graph)
    assert str(parse_graph(text, resources_of(graph))) == text


def comparator(formula: object) -> Graph:
    table = Table()
    with table.active():
        p = [table.parameter(scalar(t)) for t in (I32, I32, F32, F32)]
        return Graph("before", p, (formula(*p),), table)  # type: ignore[operator]


def test_comparators() -> None:
    def compare(i: int, k: int, direction: str) -> Graph:
        return comparator(lambda *p: g.COMPARE(p[i], p[k], direction=direction))

    assert g.order_of(compare(0, 1, "LT")) == (0, False)
    assert g.order_of(compare(3, 2, "LT")) == (1, True)
    assert g.order_of(compare(2, 3, "GT")) == (1, True)
    assert g.order_of(compare(1, 0, "GT")) == (0, False)
    for other in (compare(0, 1, "LE"), compare(0, 0, "LT"), comparator(lambda *p: g.NOT(g.IS_FINITE(p[2])))):
        with pytest.raises(UnsupportedError, match="is not a compare LT or GT of the two elements"):
            g.order_of(other)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_gradient(axis: int, descending: bool) -> None:
    """Of what is ordered and of what goes along with it."""
    rng = np.random.default_rng(1)
    x, y = rng.permuted(np.arange(12.0).reshape(4, 3), axis=axis), rng.standard_normal((4, 3))

    def formula(x: Node, y: Node) -> Node:
        first, second = g.sort(x, y, axis=axis, descending=descending)
        (alone,) = g.sort(x, axis=axis, descending=descending)
        return g.MULTIPLY(g.SINE(first), g.ADD(second, alone))

    check(formula, [x, y])
