"""pad: NumPy's modes, widths of every form, derivatives, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, MlcError, ShapeError

from .harness import run

MODES = ("edge", "reflect", "symmetric", "wrap")
WIDTHS: list[Any] = [0, 1, 7, (2, 0), (0, 5), ((1, 2),), ((0, 3), (4, 1))]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(3, 4), (1, 5), (2, 1)])
def test_modes_are_numpys(mode: str, shape: tuple[int, int]) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for width in WIDTHS:
        np.testing.assert_array_equal(run(lambda x, w=width: mnp.pad(x, w, mode), x), np.pad(x, width, mode))


def test_a_constant_in_every_form_of_width() -> None:
    x = np.arange(6, dtype=np.int8).reshape(2, 3)
    for width in WIDTHS:
        got = run(lambda x, w=width: mnp.pad(x, w, constant_values=9), x)
        np.testing.assert_array_equal(got, np.pad(x, width, constant_values=9))
    assert mnp.pad(mnp.asarray(2.0), 3).shape == ()


def test_compiled_and_differentiated() -> None:
    x = np.arange(1, 5, dtype=np.float32)
    weights = np.arange(1, 12, dtype=np.float32)
    for mode in MODES:
        value, gradient = mlc.jit(mlc.value_and_grad(lambda x, m=mode: mnp.sum(mnp.pad(x, (3, 4), m) * weights)))(x)
        places = np.pad(np.arange(4), (3, 4), mode)  # type: ignore[call-overload]
        np.testing.assert_allclose(value, (x[places] * weights).sum())
        np.testing.assert_allclose(gradient, np.bincount(places, weights))


@pytest.mark.parametrize(
    ("shape", "width", "mode", "kind", "text"),
    [
        ((2,), 1, "mean", ArgumentError, "mode is 'mean'; it is one of constant, edge"),
        ((2,), -1, "edge", ArgumentError, "is negative"),
        ((2,), -1, "constant", ArgumentError, "is negative"),
        ((2, 3), ((1, 1), (1, 1), (1, 1)), "edge", ShapeError, "a pair for each of 2 axes"),
        ((2,), 1.5, "constant", ShapeError, "it is a number, a pair"),
        ((0,), 1, "edge", ShapeError, r"axis 0 of operand f32\[0\] is empty"),
    ],
)
def test_what_is_refused(shape: tuple[int, ...], width: Any, mode: str, kind: type[MlcError], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        mlc.jit(lambda x: mnp.pad(x, width, mode))(np.zeros(shape, np.float32))
    assert caught.value.location is not None and "test_padding.py" in caught.value.location


def test_a_symbolic_axis_takes_constants_only() -> None:
    spec = mlc.ShapeDtype((mlc.dim("n", 1, 8), 2))
    x = np.ones((3, 2), np.float32)
    for width, mode, shape in ((((1, 1), (0, 0)), "constant", (5, 2)), (((0, 0), (1, 1)), "wrap", (3, 4))):
        f = mlc.jit(lambda x, w=width, m=mode: mnp.pad(x, w, m))
        assert f.lower(spec).compile()(x).shape == shape
    with pytest.raises(ShapeError, match=r"axis 0 of operand .* is symbolic and can only be padded with a constant"):
        mlc.jit(lambda x: mnp.pad(x, 1, "wrap")).lower(spec)
