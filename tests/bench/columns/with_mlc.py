"""mlc's column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .common import LEARNING_RATE, main, pin, problem

if __name__ == "__main__":
    pin()

import mlc
import mlc.numpy as mnp


def forward(step: str, p: dict[str, Any], x: Any) -> Any:
    if step == "T3":
        for name in ("c1", "c2"):
            x = mlc.nn.relu(mlc.nn.conv(x, p[name + ".w"], padding="SAME") + p[name + ".b"])
            x = mlc.nn.max_pool(x, (2, 2), strides=(2, 2))
        x = mlc.nn.relu(mnp.reshape(x, (x.shape[0], -1)) @ p["f1.w"] + p["f1.b"])
        return x @ p["f2.w"] + p["f2.b"]
    layers = len(p) // 2
    for i in range(layers):
        x = x @ p[f"f{i}.w"] + p[f"f{i}.b"]
        x = mlc.nn.relu(x) if i < layers - 1 else x
    return x


def build(step: str) -> Callable[[], Any]:
    params, x, y = problem(step)
    rate = LEARNING_RATE[step]
    optimizer = mlc.optim.sgd(rate) if step == "T1" else mlc.optim.adam(rate)

    def update(p, s, x, y):  # type: ignore[no-untyped-def]
        loss, grads = mlc.value_and_grad(lambda p: mlc.nn.cross_entropy(forward(step, p, x), y))(p)
        p, s = optimizer.update(p, grads, s)
        return p, s, loss

    compiled = mlc.jit(update, donate_argnames=("p", "s"))
    state = [mlc.tree.map(mnp.asarray, params)]
    state.append(optimizer.init(state[0]))
    batch = mnp.asarray(x), mnp.asarray(y)

    def once() -> Any:
        state[0], state[1], loss = compiled(*state, *batch)
        return loss

    return once


if __name__ == "__main__":
    main(build)
