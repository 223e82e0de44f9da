"""Runs of steps are replayed as CUDA graphs where their memory is the same, with the same results."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.ir.plan import Launch
from tests.mock_cuda import MockDriver

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)


def two_kernels(x: Any) -> Any:
    return mnp.sum(mnp.exp(x), axis=0) @ mnp.ones((4, 4))


def launches(function: Any, *args: Any) -> int:
    plan = mlc.jit(function, device="gpu:0").lower(*args).compile().program.plan
    return sum(isinstance(s, Launch) for s in plan.steps)


def test_a_call_is_captured_when_its_memory_comes_again(mock: MockDriver) -> None:
    f = mlc.jit(two_kernels, device="gpu:0")
    x, n = mlc.device_put(X, "gpu:0"), launches(two_kernels, X)
    assert n >= 2
    expected = np.exp(X.astype(np.float64)).sum(0) @ np.ones((4, 4))
    for call in range(5):
        result = f(x)
        np.testing.assert_allclose(np.asarray(result), expected, rtol=1e-5)
        assert mock.count("cuStreamBeginCapture_v2") == (call > 0)
        assert mock.count("cuGraphLaunch") == call
        assert mock.count("cuLaunchKernel") == n * min(call + 1, 2)
        del result  # its block is the next result's
    assert sum(mock.launched.values()) == 5 * n


def test_other_memory_is_no_replay(mock: MockDriver) -> None:
    f = mlc.jit(two_kernels, device="gpu:0")
    kept = [mlc.device_put(X * k, "gpu:0") for k in range(7)]
    for _ in range(2):
        for k, x in enumerate(kept):  # more than are remembered
            expected = np.exp((X * k).astype(np.float64)).sum(0) @ np.ones((4, 4))
            np.testing.assert_allclose(np.asarray(f(x)), expected, rtol=1e-4)
    assert mock.count("cuGraphLaunch") == 0


def test_other_sizes_are_no_replay(mock: MockDriver) -> None:
    f = mlc.jit(two_kernels, device="gpu:0").lower(mlc.ShapeDtype((mlc.dim("n", 1, 8), 4))).compile()
    x = mlc.device_put(X, "gpu:0")
    for n in (8, 3, 8, 3, 8, 3):
        part = x[:n]
        np.testing.assert_allclose(np.asarray(f(part))[0], np.exp(X[:n]).sum(), rtol=1e-5)
        del part
    assert mock.count("cuGraphLaunch") > 0


def test_a_training_loop_soon_replays(mock: MockDriver) -> None:
    """Parameters stay where they are; batches take each other's blocks."""

    def step(w: Any, x: Any) -> Any:
        g = mnp.sum(mnp.exp(x @ w), axis=0)
        return w - 0.01 * g[:4, None] * mnp.ones((4, 4))

    f = mlc.jit(step, donate_argnames="w", device="gpu:0")
    w = mlc.device_put(np.eye(4, dtype=np.float32), "gpu:0")
    for _ in range(6):
        w = f(w, X)
    assert mock.count("cuGraphLaunch") >= 4 and mock.count("cuStreamBeginCapture_v2") <= 2


def test_graphs_can_be_turned_off(mock: MockDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_CUDA_GRAPHS", "0")
    f, x = mlc.jit(two_kernels, device="gpu:0"), mlc.device_put(X, "gpu:0")
    for _ in range(3):
        f(x)
    assert mock.count("cuStreamBeginCapture_v2") == mock.count("cuGraphLaunch") == 0


def test_a_captured_body_of_a_loop_is_replayed_in_every_trip(mock: MockDriver) -> None:
    def f(x: Any) -> Any:
        return mlc.fori_loop(0, 6, lambda i, x: mnp.tanh(x @ mnp.ones((4, 4))) + mnp.sum(x, axis=0), x)

    there = mlc.jit(f, device="gpu:0")(X)
    np.testing.assert_allclose(np.asarray(there), np.asarray(mlc.jit(f)(X)), rtol=1e-5, atol=1e-5)
    assert mock.count("cuGraphLaunch") >= 4


def test_a_program_that_goes_takes_its_graphs_with_it(mock: MockDriver) -> None:
    gc.collect()  # those of other tests
    f, x = mlc.jit(two_kernels, device="gpu:0"), mlc.device_put(X, "gpu:0")
    for _ in range(3):
        f(x)
    destroyed, unloaded = mock.count("cuGraphExecDestroy"), mock.count("cuModuleUnload")
    del f
    gc.collect()
    assert mock.count("cuGraphExecDestroy") - destroyed == 1 == mock.count("cuModuleUnload") - unloaded
