"""Profiles: every step is measured, in calls of any number of threads, and a profiled call gives the same results."""

from __future__ import annotations

import time

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.runtime import num_threads, set_num_threads

from .conftest import Load
from .plans import stress, stress_expected


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> object:
    before = num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_steps_add_up_to_the_calls(load: Load) -> None:
    call = load(stress())
    x = np.arange(1000, dtype=np.float32) % 7
    call.start_profile()
    begin = time.perf_counter_ns()
    for _ in range(50):
        for y, expected in zip(call([x]), stress_expected(x), strict=True):
            np.testing.assert_array_equal(np.asarray(y), expected)
    elapsed = time.perf_counter_ns() - begin
    calls, steps = call.stop_profile()
    assert calls == 50
    assert len(steps) == len(stress().steps)
    assert all(0 < least * calls <= total for total, least in steps)
    assert sum(total for total, _ in steps) < elapsed
    assert call.stop_profile() == (50, [])
    call([x])
    assert call.stop_profile() == (50, []), "a call that is not profiled was measured"


def test_failed_calls_do_not_count(load: Load) -> None:
    call = load(stress())
    call.start_profile()
    with pytest.raises(mlc.MlcError):
        call([np.zeros((2, 2), np.float32)])
    assert call.stop_profile() == (0, [(0, 0)] * len(stress().steps))


def test_the_longest_step_is_named() -> None:
    @mlc.jit
    def f(x: mlc.Array) -> tuple[mlc.Array, mlc.Array]:
        with mlc.scope("product"):
            y = x @ x
        return y, mnp.max(x)

    x = np.ones((128, 128), np.float32)
    compiled = f.lower(x).compile()
    with compiled.profile() as profile:
        for _ in range(20):
            compiled(x)
    assert profile.calls == 20
    assert len(profile.steps) == len(compiled.function.plan.steps)
    assert "in product" in max(profile.steps, key=lambda s: s.least).label
    assert profile.seconds == pytest.approx(sum(profile.by_kernel().values()))
    head, _, first, *rest = str(profile).splitlines()
    assert head.startswith("f: 20 calls, ")
    assert "in product at" in first
    assert len(rest) == len(profile.steps) - 1
