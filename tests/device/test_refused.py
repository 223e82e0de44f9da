"""What no schedule of a GPU takes runs on the CPU, says so, and all the rest stays on the GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import UnsupportedError
from mlc.ir.plan import Launch, walk_steps
from mlc.passes.schedule import gpu as schedules
from tests.mock_cuda import MockDriver

X = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)


@pytest.fixture
def without_reductions(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs that cannot reduce."""
    good = schedules.schedule_of

    def refuse(kind: str) -> Any:
        if kind in ("reduce", "row"):
            raise UnsupportedError(f"a fusion of kind {kind} has no schedule for GPUs")
        return good(kind)

    monkeypatch.setattr(schedules, "schedule_of", refuse)


def devices_of(compiled: Any) -> list[int]:
    return [s.device for s in walk_steps(compiled.program.plan.steps) if isinstance(s, Launch)]


def test_one_operation_goes_to_the_cpu(mock: MockDriver, without_reductions: None) -> None:
    def f(x: Any) -> Any:
        y = mnp.exp(x) @ mnp.ones((5, 5))
        return mnp.tanh(mnp.sum(y, axis=0)) @ mnp.ones((5, 5)), y

    with pytest.warns(mlc.Notice, match="reduce runs on the CPU: a fusion of kind reduce has no schedule"):
        compiled = mlc.jit(f, device="gpu:0").lower(X).compile()
    devices = devices_of(compiled)
    assert devices.count(0) == 1 and devices.count(1) >= 2
    found = compiled(X)
    for a, b in zip(found, mlc.jit(f)(X), strict=True):
        assert a.device == "gpu:0"
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5)


def test_a_loop_that_holds_one_goes_as_a_whole(mock: MockDriver, without_reductions: None) -> None:
    def f(x: Any) -> Any:
        x = mlc.fori_loop(0, 3, lambda i, x: mnp.tanh(x - mnp.sum(x, axis=0)), x)
        return x * 2

    with pytest.warns(mlc.Notice, match="reduce runs on the CPU"):
        compiled = mlc.jit(f, device="gpu:0").lower(X).compile()
    assert 1 in devices_of(compiled) and devices_of(compiled).count(0) >= 1
    np.testing.assert_allclose(np.asarray(compiled(X)), np.asarray(mlc.jit(f)(X)), rtol=1e-5, atol=1e-6)


def test_a_kernel_that_has_no_code_goes_too(mock: MockDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc import compiler

    good = compiler._ptx_of

    def generate(kernels: Any, target: Any) -> str:
        if any("sum" in k.name for k in kernels):
            raise UnsupportedError("shuffles are not of this target")
        return good(kernels, target)

    monkeypatch.setattr(compiler, "_ptx_of", generate)
    with pytest.warns(mlc.Notice, match="reduce runs on the CPU: shuffles are not of this target"):
        compiled = mlc.jit(lambda x: (mnp.sum(x, axis=0), x * 2), device="gpu:0").lower(X).compile()
    assert sorted(devices_of(compiled)) == [0, 1]
    total, double = compiled(X)
    np.testing.assert_allclose(np.asarray(total), X.sum(axis=0), rtol=1e-5, atol=1e-6)
    assert np.asarray(double).tolist() == (X * 2).tolist() and total.device == "gpu:0"


def test_what_neither_takes_is_an_error(mock: MockDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc.passes import plan

    def refuse(*args: object) -> Any:
        raise UnsupportedError("nobody does this")

    monkeypatch.setattr(plan, "schedule_region", refuse)
    with pytest.warns(mlc.Notice), pytest.raises(UnsupportedError, match="nobody does this"):
        mlc.jit(lambda x: x + 1, device="gpu:0")(X)
