"""Optimizers against the papers' formulas in float64 NumPy, over several steps of a tree of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlc import optim, tree
from mlc.errors import ArgumentError, DTypeError, ShapeError
from mlc.tracing import ShapeDtype, trace

from .harness import run

RNG = np.random.default_rng(3)
STEPS = 7
Array = np.ndarray[Any, Any]


def _sgd(p: Array, grads: list[Array]) -> Array:
    for g in grads:
        p = p - 0.1 * g
    return p


def _momentum(p: Array, grads: list[Array], nesterov: bool = False) -> Array:
    v = np.zeros_like(p)
    for g in grads:
        v = 0.8 * v + g
        p = p - 0.1 * ((g + 0.8 * v) if nesterov else v)
    return p


def _adam(p: Array, grads: list[Array], decay: float = 0.0) -> Array:
    m, s = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        m = 0.9 * m + 0.1 * g
        s = 0.99 * s + 0.01 * g * g
        p = p - 0.05 * decay * p - 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(s / (1 - 0.99**t)) + 1e-8)
    return p


def _schedule(step: Any) -> Any:
    return 0.1 / (1.0 + step)


def _scheduled(p: Array, grads: list[Array]) -> Array:
    for t, g in enumerate(grads):
        p = p - 0.1 / (1 + t) * g
    return p


CASES: dict[str, tuple[optim.Optimizer, Callable[..., Array]]] = {
    "sgd": (optim.sgd(0.1), _sgd),
    "scheduled sgd": (optim.sgd(_schedule), _scheduled),
    "momentum": (optim.momentum(0.1, 0.8), _momentum),
    "nesterov": (optim.momentum(0.1, 0.8, nesterov=True), lambda p, g: _momentum(p, g, True)),
    "adam": (optim.adam(0.05, b2=0.99), _adam),
    "adamw": (optim.adamw(0.05, b2=0.99, weight_decay=0.3), lambda p, g: _adam(p, g, 0.3)),
}


def _parameters(dtype: str) -> Any:
    return {
        "w": RNG.standard_normal((3, 4)).astype(dtype),
        "layers": [RNG.standard_normal(5).astype(dtype), (np.ones((), dtype),)],
    }


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 3e-5), ("float64", 1e-7)])
def test_steps_follow_the_formula(name: str, dtype: str, rtol: float) -> None:
    opt, formula = CASES[name]
    params = _parameters(dtype)
    grads = [tree.map(lambda p: RNG.standard_normal(p.shape).astype(dtype), params) for _ in range(STEPS)]
    state = run(opt.init, params)
    now = params
    for g in grads:
        now, state = run(opt.update, now, g, state)
    assert state.step == STEPS and state.step.dtype == np.int64
    columns = zip(tree.leaves(params), tree.leaves(now), *map(tree.leaves, grads), strict=True)
    for before, after, *gs in columns:
        assert after.dtype == before.dtype
        want = formula(before.astype(np.float64), [g.astype(np.float64) for g in gs])
        np.testing.assert_allclose(after, want, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", CASES)
def test_types_and_trees_stay_so_that_one_compiled_step_serves_all(name: str) -> None:
    opt, _ = CASES[name]
    params = {"a": ShapeDtype((2, 3), "bf16"), "b": [ShapeDtype(4, "f16"), ShapeDtype((), "f32")]}
    first = trace(opt.init, [params])
    state = tree.unflatten(first.out_tree, [ShapeDtype(t.shape, t.dtype) for t in first.out_types])
    step = trace(opt.update, [params, params, state])
    assert step.out_tree == tree.structure((params, state))
    assert list(step.out_types) == [s.type for s in tree.leaves((params, state))]
    assert not any(step.out_weak)


def test_gradients_that_do_not_fit_are_refused_by_name() -> None:
    opt = optim.adam(0.1)
    params = {"w": np.ones((2, 3), np.float32), "b": np.ones(3, np.float32)}
    state = run(opt.init, params)
    with pytest.raises(ShapeError, match=r"params\['b'\] is f32\[3\], grads for it f32\[\]"):
        run(opt.update, params, {"w": params["w"], "b": np.float32(1)}, state)
    with pytest.raises(ArgumentError, match=r"params and grads: structures differ at the top: only one has 'b'"):
        run(opt.update, params, {"w": params["w"]}, state)
    with pytest.raises(ArgumentError, match=r"params and the state: structures differ"):
        run(opt.update, params, params, state._replace(mean={"w": params["w"]}))


@pytest.mark.parametrize("optimizer", [optim.sgd(0.1), optim.momentum(0.1), optim.adam(0.1)])
def test_integers_are_no_parameters(optimizer: optim.Optimizer) -> None:
    params = {"w": np.ones(3, np.float32), "count": np.ones(3, np.int32)}
    with pytest.raises(DTypeError, match=r"params\['count'\] is i32\[3\]; what an optimizer changes are floats"):
        optimizer.update(params, params, optimizer.init(params))
