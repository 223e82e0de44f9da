"""Interning: what is one node and what is two; locations beside nodes; graphs deeper than the stack."""

from __future__ import annotations

import struct
import sys
from typing import Any

import numpy as np
import pytest

from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Graph, Literal, Location, Node, Table, constant, evaluate_graph, parse_graph, verify_graph
from mlc.ir.graph.node import attribute_key
from mlc.ir.types import BOOL, DTYPES, F32, F64, I32, I64, TensorType

VECTOR = TensorType((3,), F32)
NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0001))[0]


def test_the_same_operation_is_the_same_node() -> None:
    table = Table()
    with table.active():
        x, y = table.parameter(VECTOR), table.parameter(VECTOR)
        assert x is not y
        assert g.ADD(x, y) is g.ADD(x, y)
        assert g.ADD(x, y) is not g.ADD(y, x)
        assert g.COMPARE(x, y, direction="LT") is not g.COMPARE(x, y, direction="GT")
        assert g.CONVERT(x, dtype=F64) is g.CONVERT(x, dtype=F64)
        assert g.reduce_add(x, (0,)) is g.reduce_add(x, (0,))
        assert len({constant(1.0, F32), constant(1.0, F32)}) == 1


DISTINCT: list[Any] = [
    (0.0, F32), (-0.0, F32), (1.0, F32), (1.0, F64), (1, I32), (1, I64), (True, BOOL), (False, BOOL), (0, I32),
    ([1.0], F32), (np.nan, F64), (NAN, F64), (np.zeros((0, 2)), F32), (np.zeros((2, 0)), F32),
]  # fmt: skip


def test_constants_differ_by_dtype_shape_and_bits() -> None:
    table = Table()
    with table.active():
        nodes = [constant(value, dtype) for value, dtype in DISTINCT]
        again = [constant(value, dtype) for value, dtype in DISTINCT]
    assert len(set(nodes)) == len(DISTINCT)
    assert all(a is b for a, b in zip(nodes, again, strict=True))
    assert len({Graph("c", (), (n,), table).fingerprint for n in nodes}) == len(DISTINCT)


def test_attribute_values_differ() -> None:
    values = [0, 0.0, -0.0, False, 1, 1.0, True, "1", None, (1,), (1.0,), (), NAN, float("nan"), F32, F64, dim("n")]
    assert len({attribute_key(v) for v in values}) == len(values)
    assert attribute_key(NAN) == attribute_key(NAN)
    for value in ([1], {1}, object(), np.float32(1)):
        with pytest.raises(TypeError, match="cannot be an attribute"):
            attribute_key(value)


def test_large_constants_are_one_node_when_they_share_a_buffer() -> None:
    table = Table()
    array = np.arange(1000, dtype=np.float32)
    with table.active():
        a, b, c = constant(array), constant(array), constant(array.copy())
    assert a is b and a is not c
    graphs = [Graph("c", (), (n,), table) for n in (a, b, c)]
    assert len({graph.fingerprint for graph in graphs}) == 1  # a program is known by the values, wherever they lie


def test_device_layout_and_remat_are_part_of_identity() -> None:
    table = Table()
    with table.active():
        x = table.parameter(VECTOR)
        nodes = [table.make(g.NEGATE, (x,), VECTOR, {}, **place) for place in (
            {}, {"device": "cpu:0"}, {"device": "cpu:1"}, {"remat": 1}, {"remat": 2}, {"layout": "row"},
            {"sharding": "x"},
        )]  # fmt: skip
    assert len(set(nodes)) == 7
    assert len({Graph("d", (x,), (n,), table).fingerprint for n in nodes}) == 7


def test_nodes_do_not_change() -> None:
    table = Table()
    with table.active():
        x = table.parameter(VECTOR)
    with pytest.raises(AttributeError, match="immutable"):
        x.uid = 3
    value = np.ones(3, np.float32)
    literal = Literal(value)
    with pytest.raises(ValueError, match="read-only"):
        literal.array[0] = 2


def test_fingerprints_ignore_tables_names_and_locations() -> None:
    def build(name: str, line: int, upper: int) -> Graph:
        table = Table()
        with table.active(), table.at((Location("m.py", line),)):
            if line > 1:
                table.parameter(VECTOR)  # other uids
            x = table.parameter(TensorType((dim("n", 1, upper),), F32), name)
            return Graph(name, (x,), (g.TANH(x),), table)

    assert build("a", 1, 8).fingerprint == build("b", 2, 8).fingerprint
    assert build("a", 1, 8).fingerprint != build("a", 1, 9).fingerprint


def test_locations_are_the_ordered_union() -> None:
    first, second = Location("m.py", 1, "x + y", "encoder"), Location("m.py", 2)
    table = Table()
    with table.active():
        x = table.parameter(VECTOR)
        with table.at((first,)):
            node = g.NEGATE(x)
        with table.at((second,)):
            assert g.NEGATE(x) is node
        with table.at((first,)):
            g.NEGATE(x)
    assert Graph("f", (x,), (node,), table).locations(node) == (first, second)
    assert str(first) == "m.py:1: x + y" and str(second) == "m.py:2"


def test_inline_keeps_the_callees_locations_before_the_calls() -> None:
    inner, outer = Location("inner.py", 1), Location("outer.py", 2)
    callee_table, table = Table(), Table()
    with callee_table.active(), callee_table.at((inner,)):
        p = callee_table.parameter(VECTOR)
        callee = Graph("callee", (p,), (g.NEGATE(p),), callee_table)
    with table.active(), table.at((outer,)):
        x = table.parameter(VECTOR)
        (result,) = g.inline(callee, (x,))
    assert table.locations[result] == (inner, outer)


def deep(count: int) -> Graph:
    table = Table()
    with table.active():
        x: Node = table.parameter(VECTOR)
        y = x
        for i in range(count):
            y = g.ADD(y, x) if i % 2 else g.NEGATE(y)
        return Graph("deep", (x,), (y,), table)


def test_fifty_thousand_nodes_in_a_chain_need_no_stack() -> None:
    count = 50_000
    assert count > 10 * sys.getrecursionlimit()
    graph = deep(count)
    assert len(graph.nodes) == count + 1
    verify_graph(graph)
    # y -> x - y after each pair: of x0 = 1, the pairs alternate between 0 and 1
    (result,) = evaluate_graph(graph, [np.ones(3, np.float32)])
    np.testing.assert_array_equal(result, np.full(3, 1.0 if (count // 2) % 2 == 0 else 0.0, np.float32))
    text = str(graph)
    again = parse_graph(text)
    assert again.fingerprint == graph.fingerprint and str(again) == text


def test_thousand_nested_calls_evaluate() -> None:
    """Calls of calls: the evaluator and the verifier keep their own stack."""
    graph = deep(2)
    for _ in range(1000):
        table = Table()
        with table.active():
            x = table.parameter(VECTOR)
            inner = Graph("g", (x,), (g.CALL(x, callee=graph),), table)
        inner.fingerprint  # noqa: B018 - known from the inside out, as a trace would
        graph = inner
    verify_graph(graph)
    np.testing.assert_array_equal(evaluate_graph(graph, [np.ones(3, np.float32)])[0], np.zeros(3))


def test_every_dtype_is_known() -> None:
    assert len(DTYPES) == 13
