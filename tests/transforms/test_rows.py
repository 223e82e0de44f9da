"""The derivative of every differentiable op row against central finite differences in f64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.ir.graph import Node
from mlc.ir.types import BOOL, F32, F64, I32

from .check import Array, Formula, check

SHAPES = [(), (0,), (1,), (5,), (2, 3), (3, 0, 2), (2, 1, 3)]
random = np.random.default_rng(7)
FIRST = random.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    random.bit_generator.state = FIRST


def normal(*shape: int) -> Array:
    return np.asarray(random.normal(size=shape))


def positive(*shape: int) -> Array:
    return np.asarray(random.uniform(0.4, 2.5, size=shape))


def away_from_zero(*shape: int) -> Array:
    x = random.uniform(0.3, 2.0, size=shape)
    return np.asarray(x * np.where(random.uniform(size=shape) < 0.5, -1, 1))


UNARY: dict[str, tuple[Formula, Callable[..., Array]]] = {
    "negate": (g.NEGATE, normal),
    "abs": (g.ABS, away_from_zero),
    "exponential": (g.EXPONENTIAL, normal),
    "exponential_minus_one": (g.EXPONENTIAL_MINUS_ONE, normal),
    "log": (g.LOG, positive),
    "log_plus_one": (g.LOG_PLUS_ONE, positive),
    "tanh": (g.TANH, normal),
    "logistic": (g.LOGISTIC, normal),
    "sqrt": (g.SQRT, positive),
    "rsqrt": (g.RSQRT, positive),
    "sine": (g.SINE, normal),
    "cosine": (g.COSINE, normal),
    "tan": (g.TAN, lambda *s: np.asarray(random.uniform(-1, 1, size=s))),
    "erf": (g.ERF, normal),
    "optimization_barrier": (g.OPTIMIZATION_BARRIER, normal),
    "copy": (g.COPY, normal),
    "sign": (g.SIGN, away_from_zero),
    "floor": (lambda x: g.FLOOR(g.MULTIPLY(x, g.full_like(x, 0.3))), away_from_zero),
    "ceil": (g.CEIL, lambda *s: np.floor(normal(*s)) + 0.4),
    "round_nearest_even": (g.ROUND_NEAREST_EVEN, lambda *s: np.floor(normal(*s)) + 0.2),
    "convert": (lambda x: g.CONVERT(x, dtype=F64), normal),
    "is_finite": (lambda x: g.SELECT(g.IS_FINITE(x), x, g.full_like(x, 0.0)), normal),
    "to integer": (
        lambda x: g.MULTIPLY(x, g.CONVERT(g.CONVERT(x, dtype=I32), dtype=F64)), lambda *s: np.floor(normal(*s)) + 0.4),
}  # fmt: skip
BINARY: dict[str, tuple[Formula, Callable[..., Array], Callable[..., Array]]] = {
    "add": (g.ADD, normal, normal),
    "subtract": (g.SUBTRACT, normal, normal),
    "multiply": (g.MULTIPLY, normal, normal),
    "divide": (g.DIVIDE, normal, away_from_zero),
    "remainder": (g.REMAINDER, lambda *s: np.floor(normal(*s)) * 2 + 0.7, lambda *s: np.full(s, -1.7)),
    "maximum": (g.MAXIMUM, normal, normal),
    "minimum": (g.MINIMUM, normal, normal),
    "power": (g.POWER, positive, normal),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str, shape: tuple[int, ...]) -> None:
    formula, values = UNARY[name]
    check(formula, [values(*shape)])


@pytest.mark.parametrize("name", UNARY)
def test_unary_second_order(name: str) -> None:
    formula, values = UNARY[name]
    check(formula, [values(2, 3)], order=2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str, shape: tuple[int, ...]) -> None:
    formula, left, right = BINARY[name]
    check(formula, [left(*shape), right(*shape)])


@pytest.mark.parametrize("name", BINARY)
def test_binary_second_order(name: str) -> None:
    formula, left, right = BINARY[name]
    check(formula, [left(2, 3), right(2, 3)], order=2)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
def test_the_same_operand_twice(name: str) -> None:
    formula, _, values = BINARY[name]
    check(lambda x: formula(x, x), [values(4)], order=2)


def test_equal_operands_of_maximum_share_the_tangent() -> None:
    x = np.array([1.0, 2.0])
    from .check import gradient, run, weighted_sum

    for row in (g.MAXIMUM, g.MINIMUM):
        left, right = run(gradient(lambda a, b, row=row: weighted_sum(row(a, b))), [x, x.copy()])
        np.testing.assert_array_equal(left, right)
        np.testing.assert_allclose(left + right, np.cos(np.arange(2) * 1.7 + 0.3))


def test_select_and_clamp() -> None:
    mask = np.array([[True, False, True], [False, False, True]])
    check(g.SELECT, [mask, normal(2, 3), normal(2, 3)], order=2)
    check(g.SELECT, [np.zeros((0, 2), bool), normal(0, 2), normal(0, 2)])
    low, high = np.full((7,), -0.5), np.full((7,), 0.5)
    x = np.array([-1.0, -0.6, -0.4, 0.0, 0.3, 0.6, 2.0])
    check(lambda v: g.CLAMP(g.constant(low), g.MULTIPLY(v, v), g.constant(high)), [x], order=2)


def test_power_with_constant_exponents() -> None:
    for exponent in (0.0, 1.0, 2.0, 3.0, -1.0, 0.5):
        check(lambda x, e=exponent: g.POWER(x, g.full_like(x, e)), [positive(3)], order=2)
    for exponent in (0.0, 1.0, 2.0):
        at_zero = np.array([0.0, -1.5])
        check(lambda x, e=exponent: g.POWER(x, g.full_like(x, e)), [at_zero])


DOTS = {
    "vector vector": ((5,), (5,), (0,), (0,), (), ()),
    "matrix matrix": ((2, 3), (3, 4), (1,), (0,), (), ()),
    "transposed": ((3, 2), (4, 3), (0,), (1,), (), ()),
    "batch": ((2, 3, 4), (2, 4, 5), (2,), (1,), (0,), (0,)),
    "odd batch": ((3, 2, 4, 5), (5, 4, 6, 2), (2, 3), (1, 0), (1,), (3,)),
    "crossed contraction": ((2, 3, 4), (4, 3, 2), (2, 1), (0, 1), (), ()),
    "outer": ((2,), (3,), (), (), (), ()),
    "scalars": ((), (), (), (), (), ()),
    "empty": ((2, 0), (0, 3), (1,), (0,), (), ()),
    "one": ((1, 1), (1, 7), (1,), (0,), (), ()),
}


@pytest.mark.parametrize("name", DOTS)
def test_dot_general(name: str) -> None:
    left, right, lc, rc, lb, rb = DOTS[name]
    check(lambda x, y: g.dot_general(x, y, lc, rc, lb, rb), [normal(*left), normal(*right)], order=2)


def test_dot_with_itself() -> None:
    check(lambda x: g.dot_general(x, x, (1,), (0,)), [normal(3, 3)], order=2)


@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("row", [g.ADD, g.MULTIPLY, g.MAXIMUM, g.MINIMUM], ids=lambda r: r.name)
def test_reduce(row: g.Op, axes: tuple[int, ...]) -> None:
    check(lambda x: g.reduce_with(row, x, axes), [normal(2, 3, 2)], order=2)


@pytest.mark.parametrize("row", [g.ADD, g.MULTIPLY, g.MAXIMUM, g.MINIMUM], ids=lambda r: r.name)
def test_reduce_empty_and_scalars(row: g.Op) -> None:
    check(lambda x: g.reduce_with(row, x, (1,)), [normal(0, 3)])
    check(lambda x: g.reduce_with(row, x, ()), [normal()])
    if row in (g.ADD, g.MULTIPLY):
        check(lambda x: g.reduce_with(row, x, (1,)), [normal(2, 0)])


@pytest.mark.parametrize("zeros", [0, 1, 2], ids=str)
def test_product_with_zeros(zeros: int) -> None:
    x = away_from_zero(2, 4)
    x[0, :zeros] = 0
    check(lambda v: g.reduce_with(g.MULTIPLY, v, (1,)), [x])


@pytest.mark.parametrize("zeros", [0, 1, 2, 3], ids=str)
def test_second_derivatives_of_a_product_with_zeros(zeros: int) -> None:
    """The gradient is checked against its differences; a product of five takes halves of unequal length."""
    from .check import gradient

    x = away_from_zero(2, 5)
    x[0, :zeros] = 0
    slope = gradient(lambda v: g.reduce_with(g.MULTIPLY, v, (1,)))
    check(lambda v: slope(v)[0], [x])


def test_ties_of_a_maximum_share_the_tangent_by_count() -> None:
    from .check import gradient, run

    (found,) = run(gradient(lambda x: g.reduce_with(g.MAXIMUM, x, (0,))), [np.array([2.0, 1.0, 2.0])])
    np.testing.assert_array_equal(found, [0.5, 0.0, 0.5])


SHAPING: dict[str, tuple[Formula, tuple[int, ...]]] = {
    "broadcast scalar": (lambda x: g.broadcast_in_dim(x, (2, 3), ()), ()),
    "broadcast row": (lambda x: g.broadcast_in_dim(x, (2, 3), (1,)), (3,)),
    "broadcast column": (lambda x: g.broadcast_in_dim(x, (2, 3), (0, 1)), (2, 1)),
    "broadcast one to one": (lambda x: g.BROADCAST_IN_DIM(x, shape=(1, 4, 1), dimensions=(0, 2)), (1, 1)),
    "broadcast to none": (lambda x: g.broadcast_in_dim(x, (0, 3), (1,)), (3,)),
    "reshape": (lambda x: g.reshape(x, (3, 2)), (2, 3)),
    "reshape scalar": (lambda x: g.reshape(x, (1, 1)), ()),
    "reshape empty": (lambda x: g.reshape(x, (3, 0)), (0, 2)),
    "transpose": (lambda x: g.TRANSPOSE(x, permutation=(2, 0, 1)), (2, 3, 4)),
    "transpose scalar": (lambda x: g.TRANSPOSE(x, permutation=()), ()),
    "slice": (lambda x: g.SLICE(x, start=(1, 0), limit=(4, 3), strides=(2, 1)), (5, 3)),
    "slice stride beyond": (lambda x: g.SLICE(x, start=(1,), limit=(7,), strides=(3,)), (8,)),
    "slice nothing": (lambda x: g.SLICE(x, start=(2,), limit=(2,), strides=(1,)), (5,)),
    "reverse": (lambda x: g.REVERSE(x, dimensions=(0, 2)), (2, 3, 2)),
    "reverse nothing": (lambda x: g.REVERSE(x, dimensions=()), (3,)),
    "concatenate": (lambda x: g.CONCATENATE(x, g.full_like(x, 2.0), g.NEGATE(x), dimension=1), (2, 3)),
    "concatenate one": (lambda x: g.CONCATENATE(x, dimension=0), (3,)),
    "concatenate itself": (lambda x: g.CONCATENATE(x, x, dimension=0), (2, 2)),
    "pad": (lambda x: g.PAD(x, g.constant(1.5, F64), low=(1, 0), high=(2, 0), interior=(0, 2)), (2, 3)),
    "pad negative": (lambda x: g.PAD(x, g.constant(0.0, F64), low=(-1, 2), high=(1, -2), interior=(1, 0)), (3, 4)),
    "pad empty": (lambda x: g.PAD(x, g.constant(0.0, F64), low=(1,), high=(1,), interior=(2,)), (0,)),
}


@pytest.mark.parametrize("name", SHAPING)
def test_shaping(name: str) -> None:
    formula, shape = SHAPING[name]
    check(lambda x: g.EXPONENTIAL(formula(x)), [normal(*shape)], order=2)


def test_padding_value_has_a_gradient() -> None:
    for low, high in (((1,), (2,)), ((-1,), (3,))):
        check(lambda x, v, a=low, b=high: g.PAD(x, v, low=a, high=b, interior=(1,)), [normal(3), normal()], order=2)


def test_concatenate_of_several() -> None:
    check(lambda x, y, z: g.CONCATENATE(x, y, z, dimension=0), [normal(2, 2), normal(0, 2), normal(3, 2)])


def test_gradients_in_other_precisions_convert_back() -> None:
    def formula(x: Node) -> Node:
        return g.CONVERT(g.MULTIPLY(g.CONVERT(x, dtype=F32), g.CONVERT(x, dtype=F32)), dtype=F64)

    check(formula, [normal(4)], step=1e-2, rtol=1e-4)


def test_every_row_is_checked_or_has_no_derivative() -> None:
    """A new row with a tangent rule needs a test here."""
    checked = set(UNARY) | set(BINARY) | {
        "select", "clamp", "dot_general", "reduce", "broadcast_in_dim", "reshape", "transpose", "slice", "reverse",
        "concatenate", "pad", "get_tuple_element", "optimization_barrier",
        "gather", "scatter", "dynamic_slice", "dynamic_update_slice",  # tests/graph/test_indexing.py
        "atan2", "cbrt",  # tests/rows
        "sort",  # tests/graph/test_sorting.py
        "convolution",  # tests/graph/test_convolution.py
        "reduce_window", "select_and_scatter", "select_and_gather",  # tests/graph/test_windows.py
        "all_reduce", "all_gather", "reduce_scatter", "collective_broadcast", "sharded_call",  # tests/distributed
    }  # fmt: skip
    silent = {
        name for name, row in g.OPS.items()
        if row.jvp is None or (isinstance(row.jvp, tuple) and all(rule is None for rule in row.jvp))
    }  # fmt: skip
    assert set(g.OPS) - checked - silent == set()
    assert BOOL.is_float is False
