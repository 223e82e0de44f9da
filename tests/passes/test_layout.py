"""Reshapes move behind elementwise ops, folds and broadcasts, or stay; constant weights are turned once."""

from __future__ import annotations

import pytest

from mlc.ir.graph import CONSTANT, DOT_GENERAL, RESHAPE
from mlc.ir.graph.parser import parse_graph
from mlc.passes import constant_layout
from mlc.passes.constant_layout import lay_out_constants
from mlc.passes.decompose import decompose
from mlc.passes.layout import sink_reshapes, whole_groups
from mlc.passes.simplify import simplify

from .check import check_golden, check_same_meaning, check_unchanged, dedent

DOT = "lhs_contracting = [1], rhs_contracting = [0], lhs_batch = [], rhs_batch = []"


def test_a_bias_and_a_residual_join_the_contraction() -> None:
    check_golden(
        sink_reshapes,
        f"""
        graph @f(%x: f32[6,5], %w: f32[5,4], %b: f32[4], %y: f32[2,3,4]) -> (f32[2,3,4]) {{
          %0 = dot_general %x, %w, {DOT} : f32[6,4]
          %1 = reshape %0 : f32[2,3,4]
          %2 = broadcast_in_dim %b, dimensions = [2] : f32[2,3,4]
          %3 = add %1, %2 : f32[2,3,4]
          %4 = add %3, %y : f32[2,3,4]
          return %4
        }}""",
        f"""
        graph @f(%x: f32[6,5], %w: f32[5,4], %b: f32[4], %y: f32[2,3,4]) -> (f32[2,3,4]) {{
          %0 = dot_general %x, %w, {DOT} : f32[6,4]
          %1 = broadcast_in_dim %b, dimensions = [1] : f32[6,4]
          %2 = add %0, %1 : f32[6,4]
          %3 = reshape %y : f32[6,4]
          %4 = add %2, %3 : f32[6,4]
          %5 = reshape %4 : f32[2,3,4]
          return %5
        }}""",
    )


def test_folds_and_what_is_broadcast_back_follow() -> None:
    check_golden(
        sink_reshapes,
        f"""
        graph @f(%x: f32[6,5], %w: f32[5,4]) -> (f32[2,3,4]) {{
          %0 = dot_general %x, %w, {DOT} : f32[6,4]
          %1 = reshape %0 : f32[2,3,4]
          %2 = constant -inf : f32[]
          %3 = reduce %1, init %2, maximum over [2] : f32[2,3]
          %4 = reshape %3 : f32[2,3,1]
          %5 = broadcast_in_dim %4, dimensions = [0, 1, 2] : f32[2,3,4]
          %6 = subtract %1, %5 : f32[2,3,4]
          return %6
        }}""",
        f"""
        graph @f(%x: f32[6,5], %w: f32[5,4]) -> (f32[2,3,4]) {{
          %0 = dot_general %x, %w, {DOT} : f32[6,4]
          %1 = constant -inf : f32[]
          %2 = reduce %0, init %1, maximum over [1] : f32[6]
          %3 = broadcast_in_dim %2, dimensions = [0] : f32[6,4]
          %4 = subtract %0, %3 : f32[6,4]
          %5 = reshape %4 : f32[2,3,4]
          return %5
        }}""",
    )


STAY = {
    "a value that only this op reads": """
        graph @f(%x: f32[6,4], %y: f32[2,3,4]) -> (f32[2,3,4]) {
          %0 = exponential %x : f32[6,4]
          %1 = reshape %0 : f32[2,3,4]
          %2 = sine %y : f32[2,3,4]
          %3 = add %1, %2 : f32[2,3,4]
          return %3
        }""",
    "a broadcast along a part of a joined axis": """
        graph @f(%x: f32[6,4], %y: f32[3,4]) -> (f32[2,3,4]) {
          %0 = exponential %x : f32[6,4]
          %1 = reshape %0 : f32[2,3,4]
          %2 = broadcast_in_dim %y, dimensions = [1, 2] : f32[2,3,4]
          %3 = add %1, %2 : f32[2,3,4]
          return %3
        }""",
    "a fold over a part of a joined axis": """
        graph @f(%x: f32[6,4]) -> (f32[2,4]) {
          %0 = exponential %x : f32[6,4]
          %1 = reshape %0 : f32[2,3,4]
          %2 = constant 0.0 : f32[]
          %3 = reduce %1, init %2, add over [1] : f32[2,4]
          return %3
        }""",
    "a reshaped argument": """
        graph @f(%x: f32[6,4]) -> (f32[2,3,4]) {
          %0 = reshape %x : f32[2,3,4]
          %1 = exponential %0 : f32[2,3,4]
          return %1
        }""",
    "nothing to compute": """
        graph @f(%x: f32[6,0]) -> (f32[2,3,0]) {
          %0 = exponential %x : f32[6,0]
          %1 = reshape %0 : f32[2,3,0]
          %2 = sine %1 : f32[2,3,0]
          return %2
        }""",
}


@pytest.mark.parametrize("text", STAY.values(), ids=STAY.keys())
def test_where_reshapes_stay(text: str) -> None:
    check_unchanged(sink_reshapes, text)


@pytest.mark.parametrize("batch", ["batch", "3"])
def test_an_encoder_layer_keeps_no_reshape_around_its_products(batch: str) -> None:
    """Of [batch, 4, 6], a layer: product, bias, residual, normalisation; what is left is one view of the result."""
    where = " where batch in 1..8" if batch == "batch" else ""
    full, rows = f"f32[{batch},4,6]", f"f32[{batch},4]"
    graph = parse_graph(dedent(f"""
        graph @f(%x: {full}, %w: f32[6,6], %b: f32[6]) -> ({full}){where} {{
          %0 = dot_general %x, %w, lhs_contracting = [2], rhs_contracting = [0], lhs_batch = [], rhs_batch = [] : {full}
          %1 = broadcast_in_dim %b, dimensions = [2] : {full}
          %2 = add %0, %1 : {full}
          %3 = add %2, %x : {full}
          %4 = constant 0.0 : f32[]
          %5 = reduce %3, init %4, add over [2] : {rows}
          %6 = broadcast_in_dim %5, dimensions = [0, 1] : {full}
          %7 = subtract %3, %6 : {full}
          %8 = dot_general %7, %w, lhs_contracting = [2], rhs_contracting = [0], lhs_batch = [], rhs_batch = [] : {full}
          return %8
        }}"""))  # fmt: skip
    after = simplify(sink_reshapes(decompose(graph)))
    check_same_meaning(graph, after, rtol=1e-4)
    assert [n.op for n in after.nodes if n.op in (RESHAPE, DOT_GENERAL)] == [RESHAPE, DOT_GENERAL, DOT_GENERAL, RESHAPE]
    assert after.results[0].op is RESHAPE


def test_groups_of_axes() -> None:
    assert whole_groups((6, 1, 4), (2, 3, 4, 1)) == [([0], [0, 1]), ([2], [2])]
    assert whole_groups((6, 4), (3, 8)) == [([0, 1], [0, 1])]
    assert whole_groups((1,), (1, 1)) == []


SHARED = """
    graph @f(%x: f32[49,3]) -> (f32[49,2], f32[1,3]) {
      %0 = constant [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] : f32[2,3]
      %1 = dot_general %x, %0, lhs_contracting = [1], rhs_contracting = [1], lhs_batch = [], rhs_batch = [] : f32[49,2]
      %2 = slice %0, start = [1, 0], limit = [2, 3], strides = [1, 1] : f32[1,3]
      return %1, %2
    }"""


def test_a_large_constant_is_not_held_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As embeddings that are the last layer's weights, too."""
    graph = parse_graph(dedent(SHARED))
    small = lay_out_constants(graph)
    check_same_meaning(graph, small)
    assert sum(n.op is CONSTANT for n in small.nodes) == 2
    monkeypatch.setattr(constant_layout, "MOST_TWICE", 23)
    check_unchanged(lay_out_constants, SHARED)
    only = graph.with_results(graph.results[:1])
    assert [n["rhs_contracting"] for n in lay_out_constants(only).nodes if n.op is DOT_GENERAL] == [(0,)]
