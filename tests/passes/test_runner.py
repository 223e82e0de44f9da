"""The runner: every graph that a pass leaves is verified, also where another was verified before it."""

from __future__ import annotations

import pytest

from mlc.errors import InternalError
from mlc.ir.graph import ADD, NEGATE, Graph
from mlc.ir.graph.parser import parse_graph
from mlc.ir.types import F32, TensorType
from mlc.passes.runner import Pass, run_passes

TEXT = """graph @f(%x: f32[3]) -> (f32[3]) {
  %y = negate %x : f32[3]
  return %y
}"""


def twice(graph: Graph) -> Graph:
    with graph.table.active():
        return graph.with_results([ADD(r, r) for r in graph.results])


def of_wrong_type(graph: Graph) -> Graph:
    return graph.with_results([graph.table.make(NEGATE, graph.results, TensorType((4,), F32), {})])


def test_a_pass_that_breaks_the_graph_is_named_with_the_graph_before_it() -> None:
    pipeline = [Pass("twice", twice), Pass("same", lambda g: g), Pass("wrong", of_wrong_type), Pass("last", twice)]
    with pytest.raises(InternalError, match="pass wrong left a graph that does not verify") as caught:
        run_passes(parse_graph(TEXT), pipeline, verify=True)
    assert caught.value.stage == "wrong"


def test_passes_that_keep_the_graph_right_give_it() -> None:
    result, timings = run_passes(parse_graph(TEXT), [Pass("twice", twice), Pass("again", twice)], verify=True)
    assert [t.name for t in timings] == ["twice", "again"] and len(result.nodes) == 4
