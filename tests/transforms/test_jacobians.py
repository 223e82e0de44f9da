"""jacfwd, jacrev and hessian against derivatives by hand, in the trees that JAX gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import DifferentiationError, UnsupportedError

X = np.linspace(-1.0, 1.5, 6).reshape(2, 3)


@pytest.mark.parametrize("jacobian", [mlc.jacfwd, mlc.jacrev])
def test_every_derivative_of_every_result(jacobian: Any) -> None:
    def program(p: Any, k: Any) -> Any:
        return {"sin": mnp.sin(p["x"]) * p["s"], "sum": mnp.sum(p["x"]) * k}

    found = jacobian(program)({"x": X, "s": np.float64(2.0)}, 3.0)
    assert set(found) == {"sin", "sum"} and set(found["sin"]) == {"x", "s"}
    want = np.einsum("ij,ik,jl->ijkl", 2 * np.cos(X), np.eye(2), np.eye(3))
    np.testing.assert_allclose(found["sin"]["x"], want, rtol=1e-12)
    np.testing.assert_allclose(found["sin"]["s"], np.sin(X), rtol=1e-12)
    np.testing.assert_allclose(found["sum"]["x"], np.full((2, 3), 3.0))
    assert float(found["sum"]["s"]) == 0


@pytest.mark.parametrize("jacobian", [mlc.jacfwd, mlc.jacrev])
def test_several_arguments(jacobian: Any) -> None:
    of_y, of_x = jacobian(lambda x, y: x * y, argnums=(1, 0))(np.float64(3.0), np.arange(2.0))
    np.testing.assert_array_equal(of_y, 3 * np.eye(2))
    np.testing.assert_array_equal(of_x, [0.0, 1.0])


def test_second_derivatives() -> None:
    a = np.arange(9.0).reshape(3, 3)
    x = np.array([0.3, -0.2, 0.9])
    found = mlc.hessian(lambda x: x @ a @ x + mnp.sum(mnp.exp(x)))(x)
    np.testing.assert_allclose(found, a + a.T + np.diag(np.exp(x)), rtol=1e-12)
    tree = mlc.jit(mlc.hessian(lambda p: p["u"] * mnp.sum(p["v"] ** 2)))({"u": np.float64(2.0), "v": x})
    np.testing.assert_allclose(tree["u"]["v"], 2 * x)
    np.testing.assert_allclose(tree["v"]["v"], 4 * np.eye(3))


def test_what_is_the_same_for_every_direction_is_computed_once() -> None:
    lowered = mlc.jit(mlc.jacrev(lambda x: mnp.tanh(x) * 2)).lower(X)
    (loop,) = (n for n in lowered.compile().function.optimized.nodes if n.op.name == "while")
    assert "tanh" not in str(loop["body"])


def test_errors() -> None:
    with pytest.raises(DifferentiationError, match="no derivative"):
        mlc.jacfwd(lambda x: x)(np.arange(3))
    with pytest.raises(UnsupportedError, match="symbolic size"):
        mlc.jit(mlc.jacfwd(lambda x: x * x)).lower(mlc.ShapeDtype((mlc.dim("n", 1, 4),)))
