"""Calls on a GPU: control flow, sizes that change, values that several devices read, what only the CPU can do."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc.ir.plan import Copy, Launch, Loop, walk_steps
from tests.mock_cuda import MockDriver


def both(function: Any, *args: Any, **options: Any) -> tuple[Any, Any]:
    """The results on gpu:0 and on the CPU."""
    there = mlc.jit(function, device="gpu:0", **options)(*args)
    return there, mlc.jit(function, **options)(*args)


def close(there: Any, here: Any, tolerance: float = 1e-6) -> None:
    for a, b in zip(mlc.tree.leaves(there), mlc.tree.leaves(here), strict=True):
        assert a.device == "gpu:0" and b.device == "cpu:0"
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


X = np.random.default_rng(3).standard_normal((6, 5)).astype(np.float32)


def test_one_program_for_all_sizes(gpu: MockDriver | None) -> None:
    f = mlc.jit(lambda x: mnp.tanh(x) + x, device="gpu:0")
    compiled = f.lower(mlc.ShapeDtype((mlc.dim("n", 0, 100), 5))).compile()
    for n in (0, 1, 6, 100):
        x = np.ones((n, 5), np.float32)
        close(compiled(x), mnp.tanh(x) + x)
    assert gpu is None or len(gpu.images) == 1


def test_results_that_are_arguments_constants_or_the_same(gpu: MockDriver | None) -> None:
    def f(x: Any) -> Any:
        y = x + 1
        return x, mnp.ones((2,)), y, y, mnp.reshape(x, (5, 6)), mnp.asarray(X[:2])

    close(*both(f, X))


def test_a_loop_on_the_device(gpu: MockDriver | None) -> None:
    def f(x: Any, n: Any) -> Any:
        return mlc.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, mnp.sin(s[1]) * 2), (0, x))

    for n in (0, 1, 5):
        close(*both(f, X, n))
    plan = mlc.jit(f, device="gpu:0").lower(X, 3).compile().program.plan
    loops = [s for s in walk_steps(plan.steps) if isinstance(s, Loop)]
    assert [s.predicate.index for s in loops] == [1]  # the arena of the device: the host reads one byte a trip
    assert all(s.device == 1 for s in walk_steps(plan.steps) if isinstance(s, Launch))


def test_branches_on_the_device(gpu: MockDriver | None) -> None:
    def f(i: Any, x: Any) -> Any:
        return mlc.switch(i, [lambda x: x + 1, lambda x: mnp.exp(x), lambda x: -x], x)

    for i in (0, 1, 2, 7, -1):
        close(*both(f, np.int32(i), X))
    close(*both(lambda p, x: mlc.cond(p, lambda x: x * 2, lambda x: x - 1, x), True, X))


def test_a_scan_and_its_gradient(gpu: MockDriver | None) -> None:
    def loss(x: Any) -> Any:
        carry, ys = mlc.scan(lambda c, row: (mnp.tanh(c + row), c * row), mnp.zeros((5,)), x)
        return mnp.sum(carry) + mnp.sum(ys)

    close(*both(mlc.value_and_grad(loss), X), tolerance=1e-5)


def test_parts_of_a_program_on_the_device(gpu: MockDriver | None) -> None:
    """Arguments and results stay with the host: what crosses is copied once."""

    def f(x: Any) -> Any:
        y = x * 3
        with mlc.device("gpu:0"):
            z = mnp.exp(y) + y
        with mlc.device("cpu"):
            return z - y, z * 2

    compiled = mlc.jit(f).lower(X).compile()
    found = compiled(X)
    assert [r.device for r in found] == ["cpu:0"] * 2
    np.testing.assert_allclose(np.asarray(found[0]), np.exp(3 * X), rtol=1e-5, atol=1e-5)
    copies = [s for s in compiled.program.plan.steps if isinstance(s, Copy)]
    assert len(copies) == 2 and all(s.serial for s in copies)
    assert gpu is None or sum(gpu.launched.values()) == 1


def test_two_gpus_and_the_host_in_one_program(mock: MockDriver) -> None:
    """Each has its context, its stream and its part of the constants; values go from one to the other."""
    mock.reset(devices=2)

    def f(x: Any) -> Any:
        w = mnp.asarray(X[:5])
        with mlc.device("gpu:0"):
            y = mnp.tanh(x @ w) + mnp.sum(x)
        with mlc.device("gpu:1"):
            z = mnp.exp(-(y @ w)) * mnp.sum(y, axis=0)
        with mlc.device("cpu"):
            u = z + 1
        with mlc.device("gpu:0"):
            return mnp.sum(u * y, axis=1), y

    compiled = mlc.jit(f).lower(X).compile()
    assert [d.name for d in compiled.program.plan.devices] == ["gpu:0", "gpu:1"]
    expected = mlc.jit(unplaced)(X)
    for _ in range(3):  # graphs are captured and replayed on both
        for a, b in zip(compiled(X), expected, strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-4)


def unplaced(x: Any) -> Any:
    """The same on the host alone."""
    w = X[:5]
    y = mnp.tanh(x @ w) + mnp.sum(x)
    z = mnp.exp(-(y @ w)) * mnp.sum(y, axis=0)
    return mnp.sum((z + 1) * y, axis=1), y


def test_threads_of_the_host_and_the_device_take_turns(gpu: MockDriver | None) -> None:
    """Work for all threads before and behind what the device does, in a loop."""

    def body(_: Any, x: Any) -> Any:
        with mlc.device("cpu"):
            return mnp.sin(x) + 1

    def f(x: Any) -> Any:
        for _ in range(3):
            x = body(0, x)
            with mlc.device("gpu:0"):
                x = x * 2
        return x

    x = np.random.default_rng(1).standard_normal((300, 70)).astype(np.float32)
    with mlc.threads(4):
        found = mlc.jit(f)(x)
    for _ in range(3):
        x = (np.sin(x) + 1) * 2
    np.testing.assert_allclose(np.asarray(found), x, rtol=1e-5, atol=1e-5)


def test_what_gpus_have_no_schedule_for_runs_on_the_cpu_with_a_notice(gpu: MockDriver | None) -> None:
    def f(x: Any) -> Any:
        return mnp.sort(x * 2, axis=0) + 1

    compiled = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled = mlc.jit(f, device="gpu:0").lower(X).compile()
    there = compiled(X)
    close(there, mlc.jit(f)(X))
    plan = compiled.program.plan
    on_host = [s for s in plan.steps if isinstance(s, Launch) and s.device == 0]
    assert len(caught) == (1 if on_host else 0)  # a schedule for it needs no notice
    if on_host:
        assert "sort runs on the CPU" in str(caught[0].message)


def test_a_donated_state_stays_in_its_memory(gpu: MockDriver | None) -> None:
    step = mlc.jit(lambda s, g: ({"w": s["w"] - g, "n": s["n"] + 1}), donate_argnames="s", device="gpu:0")
    state = mlc.device_put({"w": X, "n": np.int32(0)}, "gpu:0")
    addresses = {k: x._address() for k, x in state.items()}
    for _ in range(3):
        state = step(state, np.ones_like(X))
    assert {k: x._address() for k, x in state.items()} == addresses
    np.testing.assert_allclose(np.asarray(state["w"]), X - 3, rtol=1e-6)
    assert int(state["n"]) == 3


def test_a_jitted_function_in_another_and_arrays_of_the_device_as_constants(gpu: MockDriver | None) -> None:
    w = mlc.device_put(X, "gpu:0")
    inner = mlc.jit(lambda x: x * w)
    close(*both(lambda x: inner(x) + inner(x + 1), X))


def test_the_profile_has_the_time_of_every_step(gpu: MockDriver | None) -> None:
    compiled = mlc.jit(lambda x: mnp.sum(mnp.exp(x), axis=1), device="gpu:0").lower(X).compile()
    with compiled.profile() as profile:
        compiled(X)
    assert profile.calls == 1 and "on gpu:0" in str(profile)
    assert gpu is None or gpu.count("cuEventElapsedTime") == len(compiled.program.plan.steps)
