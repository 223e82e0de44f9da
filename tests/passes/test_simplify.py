"""simplify: identities that change, near misses that must not, and the numbers before and after."""

from __future__ import annotations

import pytest

from mlc.passes.simplify import simplify

from .check import check_golden, check_unchanged

SCALARS = "%c = constant {value} : f32[]\n          %y = broadcast_in_dim %c, dimensions = [] : f32[4]"


def unary(line: str, value: str = "1.0") -> str:
    return f"""
        graph @f(%x: f32[4]) -> (f32[4]) {{
          {SCALARS.format(value=value)}
          %r = {line} : f32[4]
          return %r
        }}"""


IDENTITY = """
    graph @f(%x: f32[4]) -> (f32[4]) {
      return %x
    }"""


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("multiply %x, %y", "1.0"), ("multiply %y, %x", "1.0"), ("divide %x, %y", "1.0"), ("subtract %x, %y", "0.0"),
        ("add %x, %y", "-0.0"), ("power %x, %y", "1.0"), ("maximum %x, %x", "1.0"),
    ],
)  # fmt: skip
def test_identities_vanish(line: str, value: str) -> None:
    check_golden(simplify, unary(line, value), IDENTITY)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("add %x, %y", "0.0"),  # -0.0 + 0.0 is 0.0
        ("subtract %x, %y", "-0.0"), ("multiply %x, %y", "0.0"), ("divide %x, %y", "3.0"), ("power %x, %y", "0.5"),
    ],
)  # fmt: skip
def test_what_would_change_a_bit_stays(line: str, value: str) -> None:
    check_unchanged(simplify, unary(line, value))


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_a_number_comes_first_in_an_extreme(op: str) -> None:
    """So that the kernel's one instruction, which gives the second operand where one is NaN, needs no test for it."""
    check_golden(simplify, unary(f"{op} %x, %y"), unary(f"{op} %y, %x"))
    check_unchanged(simplify, unary(f"{op} %y, %x"))


def test_division_by_a_power_of_two_is_a_product() -> None:
    check_golden(
        simplify,
        unary("divide %x, %y", "4.0"),
        """
        graph @f(%x: f32[4]) -> (f32[4]) {
          %1 = constant 0.25 : f32[]
          %2 = broadcast_in_dim %1, dimensions = [] : f32[4]
          %3 = multiply %x, %2 : f32[4]
          return %3
        }""",
    )


def test_scalars_are_computed_before_they_are_broadcast() -> None:
    check_golden(
        simplify,
        """
        graph @f(%x: f32[], %y: f32[]) -> (f32[3,5]) {
          %a = broadcast_in_dim %x, dimensions = [] : f32[3,5]
          %b = broadcast_in_dim %y, dimensions = [] : f32[3,5]
          %c = add %a, %b : f32[3,5]
          return %c
        }""",
        """
        graph @f(%x: f32[], %y: f32[]) -> (f32[3,5]) {
          %2 = add %x, %y : f32[]
          %3 = broadcast_in_dim %2, dimensions = [] : f32[3,5]
          return %3
        }""",
    )


def test_transposes_go_into_the_contraction() -> None:
    check_golden(
        simplify,
        """
        graph @f(%x: f32[3,4], %w: f32[5,4]) -> (f32[5,3]) {
          %a = transpose %w, permutation = [1, 0] : f32[4,5]
          %b = dot_general %x, %a, lhs_contracting = [1], rhs_contracting = [0], lhs_batch = [], rhs_batch = [] : f32[3,5]
          %c = transpose %b, permutation = [1, 0] : f32[5,3]
          return %c
        }""",
        """
        graph @f(%x: f32[3,4], %w: f32[5,4]) -> (f32[5,3]) {
          %2 = dot_general %w, %x, lhs_contracting = [1], rhs_contracting = [1], lhs_batch = [], rhs_batch = [] : f32[5,3]
          return %2
        }""",
    )


def test_a_transpose_that_reorders_free_axes_stays() -> None:
    check_unchanged(
        simplify,
        """
        graph @f(%x: f32[3,4,2], %w: f32[2,5]) -> (f32[4,3,5]) {
          %a = transpose %x, permutation = [1, 0, 2] : f32[4,3,2]
          %b = dot_general %a, %w, lhs_contracting = [2], rhs_contracting = [0], lhs_batch = [], rhs_batch = [] : f32[4,3,5]
          return %b
        }""",
    )


def test_sizes_are_known_from_types() -> None:
    check_golden(
        simplify,
        """
        graph @f(%x: f32[n,7]) -> (i64[], i64[]) where n in 1..9 {
          %a = get_dimension_size %x, dimension = 0 : i64[]
          %b = get_dimension_size %x, dimension = 1 : i64[]
          return %a, %b
        }""",
        """
        graph @f(%x: f32[n,7]) -> (i64[], i64[]) where n in 1..9 {
          %1 = size value = n : i64[]
          %2 = constant 7 : i64[]
          return %1, %2
        }""",
    )


def test_a_reshape_that_only_adds_axes_is_put_behind_what_is_computed_of_it() -> None:
    check_golden(
        simplify,
        """
        graph @f(%x: f32[4], %y: f32[4]) -> (f32[4,1]) {
          %c = constant 3.0 : f32[]
          %b = broadcast_in_dim %c, dimensions = [] : f32[4,1]
          %r = reshape %x : f32[4,1]
          %s = reshape %y : f32[4,1]
          %m = multiply %r, %b : f32[4,1]
          %a = add %m, %s : f32[4,1]
          return %a
        }""",
        """
        graph @f(%x: f32[4], %y: f32[4]) -> (f32[4,1]) {
          %2 = constant 3.0 : f32[]
          %3 = broadcast_in_dim %2, dimensions = [] : f32[4]
          %4 = multiply %x, %3 : f32[4]
          %5 = add %4, %y : f32[4]
          %6 = reshape %5 : f32[4,1]
          return %6
        }""",
    )
    check_unchanged(
        simplify,
        """
        graph @f(%x: f32[4], %y: f32[4,1]) -> (f32[4,1]) {
          %r = reshape %x : f32[4,1]
          %a = add %r, %y : f32[4,1]
          return %a
        }""",
    )
