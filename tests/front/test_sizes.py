"""Symbolic sizes as users write them: in arithmetic, in comparisons, and as results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, ShapeError, UnsupportedError
from mlc.ir.graph import evaluate_graph

BATCH = mlc.dim("batch", 1, 64)
SPEC = mlc.ShapeDtype((BATCH, 3), "f32")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum() / x.shape[0],
        lambda x: x * x.shape[0],
        lambda x: x.shape[0] * x,
        lambda x: x + (2 * x.shape[0] - 1),
        lambda x: x.sum() / x.size,
        lambda x: x - x.shape[0] // 1,
        lambda x: x.shape[0] / x,
    ],
)
def test_a_size_is_a_number_beside_arrays(function: Callable[[Any], Any]) -> None:
    compiled = mlc.jit(function).lower(SPEC).compile()
    for n in (1, 7, 64):
        x = np.random.default_rng(n).uniform(1, 2, (n, 3)).astype(np.float32)
        got = compiled(x)
        assert got.dtype == mnp.float32
        np.testing.assert_allclose(np.asarray(got), function(x.astype(np.float64)), rtol=1e-5)


def test_a_size_can_be_returned() -> None:
    compiled = mlc.jit(lambda x: (x.shape[0], mnp.asarray(x.shape[0]) / 2)).lower(SPEC).compile()
    size, half = compiled(np.ones((5, 3), np.float32))
    assert (int(size), size.dtype, float(half)) == (5, mnp.int64, 2.5)


def test_comparisons_that_the_bounds_decide_hold_or_not() -> None:
    assert BATCH > 0 and BATCH >= 1 and BATCH <= 64 and BATCH < 65
    assert not (BATCH < 1 or BATCH > 64 or BATCH + 1 < BATCH)
    with pytest.raises(UnsupportedError, match="batch is in 1 to 64; whether it is > 5 is known at the call only"):
        assert BATCH > 5


@pytest.mark.parametrize("compute", [lambda n: 0.5 * n, lambda n: n / 2, lambda n: 1 / n, lambda n: n // 2])
def test_arithmetic_that_gives_no_size_is_refused(compute: Callable[[Any], Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"the size batch is symbolic"):
        compute(BATCH)
    assert (BATCH * 4) // 2 == BATCH * 2


def test_a_size_alone_is_no_argument() -> None:
    with pytest.raises(ArgumentError, match="argument n is the symbolic size batch"):
        mlc.jit(lambda x, n: x * n).lower(SPEC, BATCH)
    with pytest.raises(ArgumentError, match="is the symbolic size batch"):
        mnp.add(1.0, BATCH)


@pytest.mark.parametrize("function", [mnp.zeros, mnp.ones, lambda shape: mnp.full(shape, 2.0), mlc.ShapeDtype])
def test_more_bytes_than_can_be_counted_are_refused_at_the_line_that_asks(function: Callable[[Any], object]) -> None:
    with pytest.raises(ShapeError, match=r"f32\[1099511627776,1099511627776\] takes 2\*\*63 bytes or more"):
        function((2**40, 2**40))


ROWS = mlc.ShapeDtype((mlc.dim("rows", 3, 40), 3), "f32")
SLICED = {
    "without the first": lambda x: x[1:],
    "without the last": lambda x: x[:-1],
    "inside": lambda x: x[1:-1],
    "the first": lambda x: x[:2],
    "all that may be left out": lambda x: x[3:],
    "differences": lambda x: x[2:] - x[:-2],
    "a slice of a slice": lambda x: x[1:][:2],
    "added to": lambda x: x.at[:-1].add(x[1:]),
    "set": lambda x: x[1:].at[:, 1].set(5.0),
    "with other items": lambda x: x[1:, None, ::2],
    "padded": lambda x: mnp.pad(x[1:], ((1, 0), (0, 0))),
    "of padding": lambda x: mnp.pad(x, ((2, 1), (0, 0)))[3:-1],
    "reversed": lambda x: mnp.flip(x[1:], axis=0),
    "multiplied": lambda x: x[1:].T @ x[:-1],
    "folded": lambda x: mnp.max(x[1:] - x[:-1], axis=0),
}


@pytest.mark.parametrize("name", SLICED)
def test_slices_of_a_symbolic_axis_and_their_derivatives(name: str) -> None:
    """Compiled once and evaluated, as compiled for the size."""
    f = SLICED[name]
    for function in (f, mlc.grad(lambda x: mnp.sum(f(x) ** 2))):
        lowered = mlc.jit(function).lower(ROWS)
        compiled = lowered.compile()
        for n in (3, 4, 17):
            x = np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32)
            want = np.asarray(mlc.jit(function)(x))
            for got in (np.asarray(compiled(x)), evaluate_graph(lowered.graph, [x])[0]):
                assert got.shape == want.shape
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", [np.s_[4:], np.s_[:4], np.s_[-2:], np.s_[::2], np.s_[2:-2]], ids=str)
def test_slices_that_a_small_size_would_cut_short_are_refused(key: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"axis 0 of operand f32.rows,3. is symbolic, at least 3: no formula"):
        mlc.jit(lambda x: x[key]).lower(ROWS)
