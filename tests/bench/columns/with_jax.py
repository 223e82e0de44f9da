"""JAX's column: jit with donated state, Adam as optax writes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .common import LEARNING_RATE, main, pin, problem

if __name__ == "__main__":
    pin()
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from jax import lax


def forward(step: str, p: dict[str, Any], x: Any) -> Any:
    if step == "T3":
        for name in ("c1", "c2"):
            x = lax.conv_general_dilated(x, p[name + ".w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(x + p[name + ".b"])
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = jax.nn.relu(x.reshape(x.shape[0], -1) @ p["f1.w"] + p["f1.b"])
        return x @ p["f2.w"] + p["f2.b"]
    layers = len(p) // 2
    for i in range(layers):
        x = x @ p[f"f{i}.w"] + p[f"f{i}.b"]
        x = jax.nn.relu(x) if i < layers - 1 else x
    return x


def adam(p: Any, g: Any, s: Any, rate: float) -> tuple[Any, Any]:
    m, v, t = s
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    a, b = 1 - 0.9**t, 1 - 0.999**t
    return jax.tree.map(lambda p, m, v: p - rate * (m / a) / (jnp.sqrt(v / b) + 1e-8), p, m, v), (m, v, t)


def build(step: str) -> Callable[[], Any]:
    params, x, y = problem(step)
    rate = LEARNING_RATE[step]

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        logits = forward(step, p, x)
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0])

    def update(p: Any, s: Any, x: Any, y: Any) -> Any:
        loss, g = jax.value_and_grad(loss_of)(p, x, y)
        if step == "T1":
            return jax.tree.map(lambda p, g: p - rate * g, p, g), s, loss
        p, s = adam(p, g, s, rate)
        return p, s, loss

    compiled = jax.jit(update, donate_argnums=(0, 1))
    p = jax.tree.map(jnp.asarray, params)
    state = [
        p,
        () if step == "T1" else (jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p), jnp.float32(0)),
    ]
    batch = jnp.asarray(x), jnp.asarray(y)

    def once() -> Any:
        state[0], state[1], loss = compiled(*state, *batch)
        return jax.block_until_ready((loss, state))[0]

    return once


if __name__ == "__main__":
    main(build)
