"""Small copies of the MNIST models: parameters, what they compute, and one step of SGD or Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp

Params = Any


def _he(rng: np.random.Generator, *shape: int) -> dict[str, Any]:
    weight = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return {"weight": weight.astype(np.float32), "bias": np.zeros(shape[-1], np.float32)}


def _dense(x: Any, layer: Any) -> Any:
    return x @ layer["weight"] + layer["bias"]


def _softmax(params: Params, x: Any) -> Any:
    return _dense(x, params[0])


def _mlp(params: Params, x: Any) -> Any:
    return _dense(mlc.nn.relu(_dense(x, params[0])), params[1])


def _cnn(params: Params, x: Any) -> Any:
    x = mnp.reshape(x, (x.shape[0], 8, 8, 1))
    for layer in params[:2]:
        x = mlc.nn.max_pool(mlc.nn.relu(mlc.nn.conv(x, layer["weight"]) + layer["bias"]), 2)
    return _mlp(params[2:], mnp.reshape(x, (x.shape[0], -1)))


SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "softmax": ((64, 10),),
    "mlp": ((64, 32), (32, 10)),
    "cnn": ((3, 3, 1, 4), (3, 3, 4, 8), (32, 16), (16, 10)),
}
FORWARD: dict[str, Callable[[Params, Any], Any]] = {"softmax": _softmax, "mlp": _mlp, "cnn": _cnn}


def init(model: str) -> Params:
    rng = np.random.default_rng(0)
    return [_he(rng, *shape) for shape in SHAPES[model]]


def make_step(model: str, optimizer: Any, device: str) -> Any:
    """(params, state, images, labels) -> (params, state, loss), jitted for ``device``, in place."""

    def step(params: Params, state: Any, images: Any, labels: Any) -> Any:
        def loss(p: Params) -> Any:
            return mlc.nn.cross_entropy(FORWARD[model](p, images), labels)

        value, gradient = mlc.value_and_grad(loss)(params)
        params, state = optimizer.update(params, gradient, state)
        return params, state, value

    return mlc.jit(step, donate_argnames=("params", "state"), device=device)


def train(model: str, optimizer: Any, device: str, steps: int) -> tuple[Params, list[float]]:
    """The parameters after ``steps`` steps on batches of 8 images of 8x8, and the losses."""
    rng = np.random.default_rng(1)
    step = make_step(model, optimizer, device)
    params = mlc.device_put(init(model), device)
    state = mlc.device_put(optimizer.init(params), device)
    losses = []
    for _ in range(steps):
        images, labels = rng.random((8, 64)).astype(np.float32), rng.integers(0, 10, 8)
        params, state, value = step(params, state, images, labels)
        losses.append(float(value))
    return params, losses
