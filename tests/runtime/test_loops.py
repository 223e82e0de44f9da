"""Loops and branches of a Plan: walked on any number of threads, printed, profiled, and refused where damaged."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest

from mlc.array import asarray
from mlc.errors import VerifyError
from mlc.ir.plan import Branch, BufferRef, Loop, Step, decode, encode, verify_plan, walk_steps

from .conftest import Load
from .plans import looped, looped_expected, place
from .test_plan import c_accepts


@pytest.mark.parametrize("trips", [-1, 0, 1, 2, 3, 10])
@pytest.mark.parametrize("n", [0, 1, 100])
def test_trips_and_branches(load: Load, n: int, trips: int) -> None:
    x = np.arange(n, dtype=np.float32)
    (y,) = load(looped())([x, np.float32(0), np.float32(trips)])
    np.testing.assert_array_equal(np.asarray(y), looped_expected(x, trips))


def test_every_trip_is_timed(load: Load) -> None:
    call = load(looped())
    call.start_profile()
    call([asarray(np.ones(100, np.float32)), np.float32(0), np.float32(50)])
    calls, times = call.stop_profile()
    assert calls == 1 and len(times) == len(list(walk_steps(looped().steps))) == 21


def test_text() -> None:
    text = str(looped())
    assert "    6 loop while arena+32:  # trips" in text
    assert "     10 branch by arena+64:  # which\n        branch 0:\n       11 increment(" in text


def nested(depth: int) -> tuple[Step, ...]:
    steps: tuple[Step, ...] = ()
    for i in range(depth):
        steps = (Loop(place("arena"), steps),) if i % 2 else (Branch(place("arena"), ((), steps)),)
    return steps


@pytest.mark.parametrize(("depth", "fits"), [(33, True), (34, False), (2000, False)])
def test_nesting_has_a_bound(depth: int, fits: bool) -> None:
    plan = replace(looped(), steps=nested(depth))
    data = encode(plan)
    assert c_accepts(data, len(plan.kernels), 0) == fits
    if fits:
        assert decode(data) == plan
    else:
        with pytest.raises(VerifyError, match="nested too deep"):
            verify_plan(plan)


@pytest.mark.parametrize(
    "step",
    [
        Loop(place("arena", 0, looped().arena_bytes), ()),
        Branch(place("arena", 0, looped().arena_bytes - 3), ((),)),
        Branch(place("arena"), ()),
        Loop(BufferRef("output", 7), ()),
        Loop(place("arena"), (Loop(place("arena", 0, 1 << 50), ()),)),
    ],
)
def test_unfit_steps_are_refused(step: Step) -> None:
    with pytest.raises(VerifyError, match=r"step 0|step 1"):
        verify_plan(replace(looped(), steps=(step,)))


def test_ctrl_c_ends_a_long_loop(load: Load) -> None:
    """A signal's handler runs while the loop does, and its exception ends the call; the inputs are as before."""

    class Stop(Exception):
        pass

    def handler(*_: object) -> None:
        raise Stop

    call, x = load(looped()), asarray(np.ones(100, np.float32))
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Stop):
            call([x, np.float32(0), np.float32(1e30)])  # k stops growing at 2^24: endless
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    (y,) = call([x, np.float32(0), np.float32(3)])
    np.testing.assert_array_equal(np.asarray(y), looped_expected(np.ones(100, np.float32), 3))
