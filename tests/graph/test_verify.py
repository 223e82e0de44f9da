"""The verifier on graphs broken in one place each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc.errors import VerifyError
from mlc.ir import graph as g
from mlc.ir.dims import Dim, dim
from mlc.ir.graph import Graph, Location, Node, Table, verify, verify_graph
from mlc.ir.types import F32, F64, I64, TensorType, TupleType

VECTOR = TensorType((3,), F32)


def broken(change: Any) -> str:
    """What the verifier says of the graph that `change(table, x)` returns results of."""
    table = Table()
    with table.active(), table.at((Location("m.py", 7, "y = f(x)"),)):
        x = table.parameter(VECTOR, "x")
        results = change(table, x)
    with pytest.raises(VerifyError) as caught:
        verify_graph(Graph("main", (x,), results, table))
    return str(caught.value)


def make(table: Table, op: g.Op, *operands: Node, type: Any = VECTOR, **attributes: Any) -> tuple[Node]:
    return (table.make(op, operands, type, attributes),)


CASES: list[tuple[Any, str]] = [
    (
        lambda t, x: make(t, g.NEGATE, x, type=TensorType((4,), F32)),
        "its row gives the type f32[3]\n  %1 = negate %0 : f32[4]",
    ),
    (
        lambda t, x: make(t, g.NEGATE, x, type=TensorType((3,), F64)),
        "its row gives the type f32[3]\n  %1 = negate %0 : f64[3]",
    ),
    (lambda t, x: make(t, g.NEGATE, x, x), "takes 1 operands, was given 2"),
    (lambda t, x: make(t, g.NEGATE, x, more=1), "attributes are none; unknown more\n  %1 = negate %0, more = 1"),
    (lambda t, x: make(t, g.SLICE, x, start=(0,)), "missing limit, strides"),
    (lambda t, x: make(t, g.CONSTANT), "missing value"),
    (lambda t, x: make(t, g.CONSTANT, value=3), "attribute value is a constant, not 3"),
    (lambda t, x: make(t, g.REVERSE, x, dimensions=0), "attribute dimensions is a list of integers, not 0"),
    (lambda t, x: make(t, g.REVERSE, x, dimensions=(True,)), "attribute dimensions is a list of integers"),
    (lambda t, x: make(t, g.REVERSE, x, dimensions=(1,)), "reverse: dimensions [1] are not distinct axes of rank 1"),
    (lambda t, x: make(t, g.COMPARE, x, x, direction="XX"), "direction 'XX' is none of"),
    (lambda t, x: make(t, g.REDUCE, x, x, dimensions=(0,), body=3), "attribute body is a graph, not 3"),
    (
        lambda t, x: make(t, g.NEGATE, t.parameter(VECTOR)),
        "graphs are closed: every parameter is one of the graph's\n  %1 = parameter",
    ),
    (lambda t, x: (t.make(g.NEGATE, (x,), VECTOR, {}, device=3),), "a device is a string"),
    (lambda t, x: (t.make(g.NEGATE, (x,), VECTOR, {}, remat=-1),), "a remat id is a number"),
    (lambda t, x: (g.size_value(dim("n")),), "sizes are dimensions of parameters: n in 1..2147483648 is not"),
    (lambda t, x: (g.broadcast_in_dim(x, (1,) * 33 + (3,), (33,)),), "rank 34 is over 32"),
    (lambda t, x: (g.broadcast_in_dim(x, (2**62, 3), (1,)),), "is over 2**63 bytes"),
    (lambda t, x: (g.broadcast_in_dim(x, (dim("n", 0) - 1, 3), (1,)),), "can be negative"),
    (
        lambda t, x: make(t, g.CALL, x, callee=Graph("f", (x,), (x, x), t), type=TupleType((VECTOR, VECTOR))),
        "not tuples",
    ),
]


@pytest.mark.parametrize("change, words", CASES, ids=[f"{i}: {words[:30]}" for i, (_, words) in enumerate(CASES)])
def test_broken(change: Any, words: str) -> None:
    message = broken(change)
    assert words in message, message
    assert message.startswith("m.py:7: y = f(x)\nmain: ")


def test_nodes_of_another_table() -> None:
    table, other = Table(), Table()
    with other.active():
        other.parameter(VECTOR)
        node = g.NEGATE(other.parameter(VECTOR))
    with pytest.raises(VerifyError, match="every node is of the graph's table"):
        verify_graph(Graph("main", node.operands, (node,), table))


def test_order_of_operands() -> None:
    table, other = Table(), Table()
    with table.active():
        early = table.parameter(VECTOR)
    with other.active():
        for _ in range(5):
            late = other.parameter(VECTOR)
    with table.active():
        node = g.NEGATE(late)
    with pytest.raises(VerifyError, match="operands come before their users"):
        verify_graph(Graph("main", (early, late), (node,), table), ())


def test_nested_graphs_are_verified() -> None:
    inner, table = Table(), Table()
    with inner.active():
        p = inner.parameter(VECTOR)
        body = Graph("inner", (p,), make(inner, g.NEGATE, p, more=2), inner)
    with table.active():
        x = table.parameter(VECTOR)
        graph = Graph("main", (x,), (g.CALL(x, callee=body),), table)
    with pytest.raises(VerifyError, match="inner: negate: attributes are none; unknown more"):
        verify_graph(graph)


def test_sizes_have_one_pair_of_bounds() -> None:
    table = Table()
    with table.active():
        x = table.parameter(TensorType((dim("n", 1, 8),), F32))
        y = table.parameter(TensorType((dim("n", 1, 9),), F32))
        graph = Graph("main", (x, y), (g.NEGATE(x), g.NEGATE(y)), table)
    with pytest.raises(VerifyError, match=r"n in 1\.\.8 is not|n in 1\.\.9 is not"):
        verify_graph(graph)


def test_sizes_of_the_outer_graph_hold_inside() -> None:
    n = dim("n", 1, 8)
    assert isinstance(n, Dim)
    table = Table()
    with table.active():
        body = Graph("size", (), (g.size_value(n),), table)
        x = table.parameter(TensorType((n,), F32))
        verify_graph(Graph("main", (x,), (g.CALL(callee=body),), table))
    verify_graph(body, n.symbols)
    with pytest.raises(VerifyError, match="sizes are dimensions of parameters"):
        verify_graph(body)


def test_parameters() -> None:
    table = Table()
    with table.active():
        x = table.parameter(VECTOR)
        node = g.NEGATE(x)
    with pytest.raises(VerifyError, match="parameters are distinct"):
        verify_graph(Graph("main", (x, x), (node,), table))
    with pytest.raises(VerifyError, match="parameters are parameter nodes"):
        verify_graph(Graph("main", (node,), (node,), table))


def test_good_graphs_pass() -> None:
    table = Table()
    n = dim("n", 0, 8)
    with table.active():
        x = table.parameter(TensorType((n, 4), F32), "x")
        total = g.reduce_add(x, (0, 1))
        count = g.CONVERT(g.size_value(n * 4), dtype=F32)
        mean = g.DIVIDE(total, count)
        graph = Graph("mean", (x,), (mean, g.size_value(n)), table)
    verify_graph(graph)
    assert graph.results[1].type == TensorType((), I64)
    assert g.evaluate_graph(graph, [np.full((2, 4), 3, np.float32)])[0] == 3


def test_proven_nodes_are_looked_at_once_but_their_place_always(monkeypatch: pytest.MonkeyPatch) -> None:
    table, looked = Table(), list[str]()
    with table.active():
        x = table.parameter(VECTOR, "x")
        y = g.NEGATE(x)
    monkeypatch.setattr(verify, "check_attributes", lambda op, attributes: looked.append(op.name))
    proven: set[Node] = set()
    for _ in range(2):
        verify_graph(Graph("main", (x,), (y,), table), proven=proven)
    assert sorted(looked) == ["negate", "parameter"] and proven == {x, y}
    with pytest.raises(VerifyError, match="every parameter is one of the graph's"):
        verify_graph(Graph("main", (), (y,), table), proven=proven)
    (wrong,) = make(table, g.NEGATE, y, type=TensorType((4,), F32))
    with pytest.raises(VerifyError, match="its row gives the type"):
        verify_graph(Graph("main", (x,), (wrong,), table), proven=proven)
