"""Updates of few rows: the same bits as the update of the whole array, without a walk over it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlc.compiler import Options, compile_graph
from mlc.ir import graph as g
from mlc.ir.graph import Graph, Node, Table, evaluate_graph, verify_graph
from mlc.ir.types import F32, I32, I64, U8, DType, TensorType
from mlc.passes.sparse import update_rows
from tests.codegen.native import TARGETS

ROWS, WIDTH = 40, 3
P, U = TensorType((ROWS, WIDTH), F32), TensorType((6, WIDTH), F32)
INDICES = [3, 39, 3, 0, 3, 39]
Update = Callable[[Node, Node], Node]


def scattered(p: TensorType, indices: Node, updates: Node, op: g.Op | None = g.ADD, zero: float = 0.0) -> Node:
    windows = g.Windows(p, indices.tensor, (1, *p.shape[1:]), tuple(range(1, p.rank)), (0,), (), (), (0,), 1)
    return g.scatter_windows(g.fill(zero, p), indices, updates, windows, op)


def graph_of(update: Update, index: DType = I32, op: g.Op | None = g.ADD, zero: float = 0.0) -> Graph:
    table = Table()
    with table.active():
        p, i, u = table.parameter(P), table.parameter(TensorType((6,), index)), table.parameter(U)
        return Graph("step", (p, i, u), (update(p, scattered(P, i, u, op, zero)),), table)


def times(k: float, x: Node) -> Node:
    return g.MULTIPLY(x, g.fill(k, x.tensor))


def minus(p: Node, s: Node) -> Node:
    return g.SUBTRACT(p, times(0.1, s))


UPDATES: dict[str, Update] = {
    "p - s": g.SUBTRACT,
    "p - k s": minus,
    "p + -k s": lambda p, s: g.ADD(p, g.MULTIPLY(g.fill(-0.1, s.tensor), s)),
    "-s k + p": lambda p, s: g.ADD(times(0.1, g.NEGATE(s)), p),
    "p - k l s": lambda p, s: g.SUBTRACT(p, times(0.5, times(0.3, s))),
}
KEPT: dict[str, Update] = {
    "-0.0 + 0.0 is 0.0": lambda p, s: g.ADD(p, times(0.1, s)),
    "-0.0 - -0.0 is 0.0": lambda p, s: g.SUBTRACT(p, g.NEGATE(s)),
    "inf 0.0 is no number": lambda p, s: g.SUBTRACT(p, times(np.inf, s)),
    "zeros of p - q": lambda p, s: g.SUBTRACT(p, g.MULTIPLY(s, p)),
    "s - p": lambda p, s: g.SUBTRACT(s, p),
}


def arrays(index: DType = I32, indices: list[int] | None = None) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    p, u = (rng.standard_normal([int(n) for n in t.shape]).astype(np.float32) for t in (P, U))
    p[1], p[3, 0] = -0.0, np.nan
    return [p, np.array(INDICES if indices is None else indices, index.numpy), u]


def walks(graph: Graph) -> int:
    """Nodes that compute on all elements of the array."""
    return sum(n.op.elementwise and n.shape == P.shape for n in graph.nodes)


@pytest.mark.parametrize("name", UPDATES)
def test_few_rows(name: str) -> None:
    before = graph_of(UPDATES[name])
    after = update_rows(before)
    verify_graph(after)
    assert walks(before) and not walks(after)
    (want,), (got,) = evaluate_graph(before, arrays()), evaluate_graph(after, arrays())
    assert got.tobytes() == want.tobytes()
    for target in TARGETS:
        found = np.asarray(compile_graph(before, Options(target, verify=True))(arrays())[0])
        np.testing.assert_allclose(found, want, rtol=1e-6)
        assert np.array_equal(np.signbit(found), np.signbit(want))


@pytest.mark.parametrize("index", [I32, I64, U8], ids=str)
def test_indices_outside_change_nothing(index: DType) -> None:
    outside = [200, 39, 40, 39, 0, 255] if index == U8 else [-1, 39, 40, 39, -200, 1 << 30]
    if index == I64:
        outside[0] = (1 << 32) + 5
    before = graph_of(minus, index)
    given = arrays(index, outside)
    (want,), (got,) = evaluate_graph(before, given), evaluate_graph(update_rows(before), given)
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("name", KEPT)
def test_what_changes_other_rows_stays(name: str) -> None:
    before = graph_of(KEPT[name])
    assert update_rows(before) is before


def test_other_scatters_stay() -> None:
    for before in (graph_of(minus, op=None), graph_of(minus, zero=1.0), graph_of(minus, zero=-0.0)):
        assert update_rows(before) is before


def test_many_rows_stay() -> None:
    table = Table()
    with table.active():
        short = TensorType((23, WIDTH), F32)
        p, i, u = table.parameter(short), table.parameter(TensorType((6,), I32)), table.parameter(U)
        before = Graph("step", (p, i, u), (minus(p, scattered(short, i, u)),), table)
    assert update_rows(before) is before


def test_several_lookups_and_vectors() -> None:
    """Sums of scatters, and scatters into scatters, of windows that have two axes of indices."""
    table, line = Table(), TensorType((60,), F32)
    with table.active():
        p = table.parameter(line)
        i, k = (table.parameter(TensorType(s, I32)) for s in ((4,), (2, 3)))
        u, v = (table.parameter(TensorType(s, F32)) for s in ((4,), (2, 3)))
        windows = g.Windows(line, k.tensor, (1,), (), (0,), (), (), (0,), 2)
        first = scattered(line, i, u)
        both = g.ADD(first, g.scatter_windows(first, k, v, windows, g.ADD))
        before = Graph("step", (p, i, k, u, v), (minus(p, both),), table)
    after = update_rows(before)
    assert not any(n.op.elementwise and n.shape == line.shape for n in after.nodes)
    rng = np.random.default_rng(1)
    given = [rng.standard_normal(60), rng.integers(0, 9, 4), rng.integers(0, 9, (2, 3)), rng.standard_normal(4),
             rng.standard_normal((2, 3))]  # fmt: skip
    given = [a.astype(x.dtype.numpy) for a, x in zip(given, before.parameters, strict=True)]
    for one, other in zip(evaluate_graph(before, given), evaluate_graph(after, given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
