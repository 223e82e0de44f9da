"""fuse: reductions of rows and what is computed on the same rows are one region, and nothing else is."""

from __future__ import annotations

import pytest

from mlc.ir.graph import FUSION

from .test_fuse import fused

SOFTMAX = """
    graph @f(%x: f32[{rows}6,9]) -> (f32[{rows}6,9]) {{
      %z = constant 0.0 : f32[]
      %i = constant -inf : f32[]
      %m = reduce %x, init %i, maximum over [{axis}] : f32[{kept}]
      %b = broadcast_in_dim %m, dimensions = [{dims}] : f32[{rows}6,9]
      %d = subtract %x, %b : f32[{rows}6,9]
      %e = exponential %d : f32[{rows}6,9]
      %s = reduce %e, init %z, add over [{axis}] : f32[{kept}]
      %c = broadcast_in_dim %s, dimensions = [{dims}] : f32[{rows}6,9]
      %y = divide %e, %c : f32[{rows}6,9]
      return %y
    }}"""


def kinds(text: str) -> list[tuple[str, int]]:
    return [(kind, count) for kind, _, count in fused(text)[1]]


def test_a_softmax_is_one_region() -> None:
    assert kinds(SOFTMAX.format(rows="", axis="1", kept="6", dims="0")) == [("row", 1)]
    assert kinds(SOFTMAX.format(rows="4,", axis="2", kept="4,6", dims="0, 1")) == [("row", 1)]
    assert kinds(SOFTMAX.format(rows="4,", axis="1, 2", kept="4", dims="0")) == [("row", 1)]


def test_a_softmax_of_columns_is_not() -> None:
    found = kinds(SOFTMAX.format(rows="", axis="0", kept="9", dims="1"))
    assert "row" not in dict(found) and len(found) == 4


def test_rows_longer_than_a_cache_are_not() -> None:
    text = SOFTMAX.format(rows="", axis="1", kept="2", dims="0").replace("6,9", "2,65537")
    assert "row" not in dict(kinds(text))


def test_a_plain_reduction_stays_one() -> None:
    text = """
        graph @f(%x: f32[6,9]) -> (f32[6]) {
          %z = constant 0.0 : f32[]
          %s = reduce %x, init %z, add over [1] : f32[6]
          %t = tanh %s : f32[6]
          return %t
        }"""
    assert kinds(text) == [("reduce", 1)]


BETWEEN = """
    graph @f(%x: f32[6,6]) -> (f32[6,6]) {{
      %z = constant 0.0 : f32[]
      %s = reduce %x, init %z, add over [1] : f32[6]
      %b = broadcast_in_dim %s, dimensions = [{dims}] : f32[6,6]
      %y = subtract %x, %b : f32[6,6]
      {after}
      return %r
    }}"""


@pytest.mark.parametrize(
    ("dims", "after", "expected"),
    [
        ("0", "%r = negate %y : f32[6,6]", ["row"]),
        ("1", "%r = negate %y : f32[6,6]", ["reduce", "loop"]),  # row i reads the sums of all rows
        ("0", "%r = transpose %y, permutation = [1, 0] : f32[6,6]", ["reduce", "loop"]),  # and here the elements
        ("0", "%r = reverse %y, dimensions = [1] : f32[6,6]", ["reduce", "loop"]),
    ],
)
def test_only_what_belongs_to_a_row_is_read(dims: str, after: str, expected: list[str]) -> None:
    assert [kind for kind, _ in kinds(BETWEEN.format(dims=dims, after=after))] == expected


def test_a_sum_is_stored_for_its_other_readers_by_the_same_region() -> None:
    """The residual is computed and normalised by one kernel, which stores both."""
    result, regions = fused(
        """
        graph @f(%x: f32[6,9], %y: f32[6,9]) -> (f32[6,9], f32[6,9]) {
          %z = constant 0.0 : f32[]
          %h = add %x, %y : f32[6,9]
          %s = reduce %h, init %z, add over [1] : f32[6]
          %b = broadcast_in_dim %s, dimensions = [0] : f32[6,9]
          %r = subtract %h, %b : f32[6,9]
          return %h, %r
        }"""
    )
    assert [(kind, count) for kind, _, count in regions] == [("row", 2)]
    assert sum(n.op is FUSION for n in result.nodes) == 1


def test_a_row_that_needs_what_is_computed_of_it_elsewhere_stays_apart() -> None:
    """The second row region reads a contraction of the first: one region would wait for itself."""
    _, regions = fused(
        """
        graph @f(%x: f32[6,9], %w: f32[9,9]) -> (f32[6,9]) {
          %z = constant 0.0 : f32[]
          %s = reduce %x, init %z, add over [1] : f32[6]
          %b = broadcast_in_dim %s, dimensions = [0] : f32[6,9]
          %y = subtract %x, %b : f32[6,9]
          %d = dot_general %y, %w, lhs_contracting = [1], rhs_contracting = [0], lhs_batch = [], rhs_batch = [] : f32[6,9]
          %t = reduce %d, init %z, add over [1] : f32[6]
          %c = broadcast_in_dim %t, dimensions = [0] : f32[6,9]
          %r = multiply %y, %c : f32[6,9]
          return %r
        }"""
    )
    assert [kind for kind, _, _ in regions] == ["row", "contraction", "row"]


def test_one_row_leaves_producers_to_those_that_read_them_too() -> None:
    """A loss sums over the rows what the rows' own region also computes: the mask stays with the rows."""
    _, regions = fused(
        """
        graph @f(%x: f32[6,9], %l: i32[6]) -> (f32[], f32[6,9]) {
          %z = constant 0.0 : f32[]
          %k = constant 0 : i32[]
          %o = broadcast_in_dim %k, dimensions = [] : i32[6]
          %p = compare %l, %o, direction = "GE" : bool[6]
          %q = constant 9 : i32[]
          %u = broadcast_in_dim %q, dimensions = [] : i32[6]
          %v = compare %l, %u, direction = "LT" : bool[6]
          %m = and %p, %v : bool[6]
          %s = reduce %x, init %z, add over [1] : f32[6]
          %e = exponential %s : f32[6]
          %n = broadcast_in_dim %z, dimensions = [] : f32[6]
          %a = select %m, %e, %n : f32[6]
          %t = reduce %a, init %z, add over [0] : f32[]
          %b = broadcast_in_dim %a, dimensions = [0] : f32[6,9]
          %r = multiply %x, %b : f32[6,9]
          return %t, %r
        }"""
    )
    assert [(kind, count) for kind, _, count in regions] == [("row", 2), ("reduce", 1)]
