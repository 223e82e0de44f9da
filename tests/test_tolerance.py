"""The tolerance table on programs of one row, where the error that is allowed is known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc.ir import graph as g
from mlc.ir.graph import Graph, Node, Table
from mlc.ir.graph.tolerance import FORMATS, Expected, expected
from mlc.ir.types import BF16, F16, F32, F64, I32, DType, TensorType


def bounds(build: Any, *arrays: Any, dtype: DType = F32) -> Expected:
    table = Table()
    values = [np.asarray(a, dtype.numpy) for a in arrays]
    with table.active():
        parameters = [table.parameter(TensorType(v.shape, dtype)) for v in values]
        result: Node = build(*parameters)
        return expected(Graph("one", parameters, (result,), table), values)[0]


@pytest.mark.parametrize("dtype", [F16, BF16, F32], ids=str)
def test_exact_results_have_no_slack(dtype: DType) -> None:
    assert bounds(g.ADD, [1.0, 2.5], [2.0, -2.5], dtype=dtype).bound.tolist() == [0, 0]
    assert bounds(g.MULTIPLY, [3.0], [0.5], dtype=dtype).bound.tolist() == [0]
    assert bounds(g.DIVIDE, [3.0], [4.0], dtype=dtype).bound.tolist() == [0]
    assert bounds(g.NEGATE, [0.1], dtype=dtype).bound.tolist() == [0]


@pytest.mark.parametrize("dtype", [F16, BF16, F32, F64], ids=str)
def test_one_rounding_is_half_a_unit(dtype: DType) -> None:
    unit = FORMATS[dtype.name][0]
    found = bounds(g.DIVIDE, [1.0], [3.0], dtype=dtype)
    assert 0 < found.bound[0] <= 2.1 * unit / 3
    assert not found.outside(np.array([1 / 3], dtype.numpy)).any()
    assert found.outside(np.nextafter(np.array([1 / 3], dtype.numpy), np.array([4], dtype.numpy)) * 2).all()


def test_cancellation_grows_the_error() -> None:
    """(x + y) - x loses what x + y was rounded by: the bound is of the size of x, not of the result."""
    found = bounds(lambda x, y: g.SUBTRACT(g.ADD(x, y), x), [1e6], [0.3])
    assert found.want[0] == pytest.approx(0.3, rel=1e-6) and 1e-3 < found.bound[0] < 0.2


def test_a_compare_of_uncertain_numbers_is_open() -> None:
    def build(x: Node, y: Node) -> Node:
        return g.COMPARE(g.MULTIPLY(x, x), y, direction="LT")

    square = float(np.float32(0.1)) ** 2
    found = bounds(build, [0.1, 0.1], [square, 0.5])
    assert np.isinf(found.bound[0]) and found.bound[1] == 0 and found.want[1]


def test_a_select_on_an_open_compare_allows_both_branches() -> None:
    def build(x: Node, y: Node) -> Node:
        return g.SELECT(g.COMPARE(g.MULTIPLY(x, x), y, direction="LT"), x, y)

    found = bounds(build, [0.1], [float(np.float32(0.1)) ** 2])
    assert 0.08 < found.bound[0] < 0.1


def test_sums_grow_with_their_length() -> None:
    x = np.random.default_rng(0).uniform(0, 1, 1000)
    found = bounds(lambda x: g.reduce_add(x, (0,)), x)
    unit = FORMATS["f32"][0]
    assert 10 * unit * x.sum() < found.bound < 1100 * unit * x.sum()
    backwards = np.float32(0)
    for v in x.astype(np.float32)[::-1]:
        backwards += v
    assert not found.outside(np.asarray(backwards)).any()


def test_division_by_what_may_be_zero_is_open() -> None:
    def build(x: Node, y: Node) -> Node:
        return g.DIVIDE(x, g.SUBTRACT(g.ADD(x, y), x))

    assert np.isinf(bounds(build, [1e8], [0.25]).bound[0])
    assert np.isfinite(bounds(g.DIVIDE, [1.0], [0.0]).bound[0])


def test_infinities_and_nans_are_exact() -> None:
    found = bounds(g.ADD, [np.inf, np.inf, np.nan], [1.0, -np.inf, 1.0])
    assert found.bound.tolist() == [0, 0, 0]
    assert found.outside(np.array([np.inf, 1.0, np.nan], np.float32)).tolist() == [False, True, False]


def test_a_weight_that_is_no_number_may_or_may_not_meet_the_padding() -> None:
    def build(x: Node, w: Node) -> Node:
        return g.CONVOLUTION(
            x, w, window_strides=(1,), padding=((1, 0),), lhs_dilation=(1,), rhs_dilation=(1,),
            window_reversal=(False,), dimension_numbers="b0f_0io->b0f", feature_group_count=1, batch_group_count=1,
        )  # fmt: skip

    found = bounds(build, np.ones((1, 2, 1)), np.reshape([np.inf, 1], (2, 1, 1)))
    assert found.bound.ravel().tolist() == [np.inf, 0] and found.want[0, 1, 0] == np.inf


def test_overflow() -> None:
    assert bounds(g.MULTIPLY, [3e38], [2.0]).want[0] == np.inf
    assert np.isinf(bounds(g.MULTIPLY, [60000.0], [2.0], dtype=F16).bound[0])  # may be kept in f32


def test_integers_are_exact_and_open_behind_open_floats() -> None:
    assert bounds(g.MULTIPLY, [3, 2**31 - 1], [5, 2], dtype=I32).outside(np.array([15, -1], np.int32)).tolist() == [
        False,
        True,
    ]

    def build(x: Node, y: Node) -> Node:
        return g.ADD(g.CONVERT(g.ADD(x, y), dtype=I32), g.CONVERT(x, dtype=I32))

    found = bounds(build, [2.0, 2.0], [-(2.0**-26), -0.5])  # 2 - 2^-26 is below 2, and rounds to it
    assert np.isinf(found.bound[0]) and found.bound[1] == 0 and found.want[1] == 3


def test_wrong_dtype_or_shape_is_an_error() -> None:
    found = bounds(g.NEGATE, [1.0])
    with pytest.raises(AssertionError, match=r"got float64\[1\], want f32\[1\]"):
        found.check(np.array([-1.0]), "x")
    with pytest.raises(AssertionError, match=r"x: 1 of 1 elements are out of bounds; at \[0\] got"):
        found.check(np.array([-2.0], np.float32), "x")
