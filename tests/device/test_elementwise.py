"""Programs on gpu:0, through the C driver code and the mock of libcuda, equal the CPU's."""

from __future__ import annotations

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from tests.mock_cuda import MockDriver


def layer(x: mlc.Array, b: mlc.Array) -> mlc.Array:
    return mnp.tanh(x * 2 + b) - b


@pytest.mark.parametrize("n", [0, 1, 3, 64, 1000])
def test_elements(gpu: MockDriver | None, n: int) -> None:
    rng = np.random.default_rng(n)
    x, b = rng.standard_normal((n, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    found = mlc.jit(layer, device="gpu:0")(x, b)
    assert found.device == "gpu:0"
    np.testing.assert_allclose(np.asarray(found), np.asarray(mlc.jit(layer)(x, b)), rtol=1e-6, atol=1e-6)
    assert gpu is None or sum(gpu.launched.values()) == (n > 0)


def test_numbers_that_nobody_computes(gpu: MockDriver | None) -> None:
    """Results that are constants are made on the device, too."""

    def f(x: mlc.Array) -> tuple[mlc.Array, ...]:
        return mnp.asarray(2.5), mnp.full((3,), x.shape[0]), mnp.asarray([1.0, 7.0])

    found = mlc.jit(f, device="gpu:0")(np.zeros((5, 2), np.float32))
    assert [(np.asarray(x).tolist(), x.device) for x in found] == [
        (2.5, "gpu:0"), ([5, 5, 5], "gpu:0"), ([1.0, 7.0], "gpu:0")
    ]  # fmt: skip
