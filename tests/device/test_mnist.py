"""Training steps of the MNIST models on gpu:0, all of them on the GPU, equal those on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
from mlc.compiler import compile_function
from mlc.ir.plan import Copy, Launch, walk_steps
from tests.mock_cuda import MockDriver

from .training import SHAPES, init, make_step, train


def differences(there: Any, here: Any) -> list[float]:
    pairs = zip(mlc.tree.leaves(there), mlc.tree.leaves(here), strict=True)
    return [float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs]


@pytest.mark.parametrize("model", SHAPES)
def test_three_steps_of_sgd(gpu: MockDriver | None, model: str) -> None:
    there, losses = train(model, mlc.optim.sgd(0.1), "gpu:0", 3)
    assert all(x.device == "gpu:0" for x in mlc.tree.leaves(there))
    assert gpu is None or gpu.launched
    here, expected = train(model, mlc.optim.sgd(0.1), "cpu", 3)
    np.testing.assert_allclose(losses, expected, atol=1e-5, rtol=0)
    assert max(differences(there, here)) < 1e-5
    moved = differences(there, init(model))
    assert min(moved) > 1e-4  # every parameter was trained


def test_a_step_of_adam(gpu: MockDriver | None) -> None:
    """Moments and the count of steps are donated with the parameters."""
    there, _ = train("mlp", mlc.optim.adam(1e-3), "gpu:0", 2)
    here, _ = train("mlp", mlc.optim.adam(1e-3), "cpu", 2)
    assert max(differences(there, here)) < 1e-5


@pytest.mark.parametrize("model", SHAPES)
def test_nothing_of_a_step_runs_on_the_host(gpu: MockDriver | None, model: str) -> None:
    params = init(model)
    optimizer = mlc.optim.sgd(0.1)
    x, y = np.zeros((8, 64), np.float32), np.zeros(8, np.int64)
    lowered = make_step(model, optimizer, "gpu:0").lower(params, optimizer.init(params), x, y)
    plan = compile_function(lowered.graph, lowered.options).plan
    steps = list(walk_steps(plan.steps))
    assert all(s.device == 1 for s in steps if isinstance(s, Launch))
    assert not [s for s in steps if isinstance(s, Copy) and 0 in (s.destination.index, s.source.index)
                and "arena" in (s.destination.space, s.source.space)]  # fmt: skip
    assert plan.arena_bytes == 0 and {v.device for v in (*plan.inputs, *plan.outputs, *plan.constants)} == {1}
