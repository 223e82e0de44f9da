"""How much work the passes do: counted in calls, so that the machine does not matter."""

from __future__ import annotations

import sys

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc.ir.graph import Graph
from mlc.passes.runner import run_passes

ROWS, WIDTH = 8, 16


def block(p, x):
    h = x - mnp.mean(x, axis=-1, keepdims=True)
    h = h / mnp.sqrt(mnp.mean(h * h, axis=-1, keepdims=True) + 1e-5) * p["gain"]
    scores = mlc.nn.softmax((h @ p["query"]) @ mnp.matrix_transpose(h), axis=-1)
    x = x + scores @ h
    return x + mlc.nn.gelu(x @ p["up"] + p["bias"]) @ p["down"]


def training_step(layers: int) -> Graph:
    """A transformer-like network with its gradient and Adam's update."""
    shapes = {"gain": (WIDTH,), "query": (WIDTH, WIDTH), "up": (WIDTH, 32), "bias": (32,), "down": (32, WIDTH)}
    params = [{k: np.ones(s, np.float32) for k, s in shapes.items()} for _ in range(layers)]
    optimizer = mlc.optim.adam(1e-3)

    def step(params, state, x, y):
        def loss(params):
            h = x
            for p in params:
                h = block(p, h)
            return mlc.nn.cross_entropy(h, y)

        value, gradient = mlc.value_and_grad(loss)(params)
        return (value, *optimizer.update(params, gradient, state))

    arguments = (params, optimizer.init(params), np.ones((ROWS, WIDTH), np.float32), np.zeros(ROWS, np.int32))
    return mlc.jit(step).lower(*arguments).traced.graph


def calls_of_passes(graph: Graph) -> int:
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        run_passes(graph)
    finally:
        sys.setprofile(None)
    return count


def test_the_work_of_all_passes_grows_as_the_nodes_do() -> None:
    small, large = training_step(3), training_step(12)
    run_passes(training_step(1))  # what is made once for a process
    growth = len(large.nodes) / len(small.nodes)
    assert growth > 3
    assert calls_of_passes(large) < 1.15 * growth * calls_of_passes(small)


def test_the_work_of_fusion_grows_as_the_readers_of_one_value_do() -> None:
    def readers(count: int) -> Graph:
        def f(x, ys):
            mean = mnp.mean(x, axis=0)
            return [mnp.tanh(y - mean) * mnp.sum(y, axis=1, keepdims=True) for y in ys]

        ys = [np.ones((4, 6), np.float32) for _ in range(count)]
        return mlc.jit(f).lower(np.ones((4, 6), np.float32), ys).traced.graph

    small, large = readers(20), readers(80)
    run_passes(small)
    assert calls_of_passes(readers(80)) < 1.15 * len(large.nodes) / len(small.nodes) * calls_of_passes(readers(20))
