"""A network with dropout trained for some steps: the same on one process and on many, or in a simulation of many."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc import distributed

BATCH, FEATURES, HIDDEN, CLASSES = 24, 20, 48, 5
optimizer = mlc.optim.momentum(0.1)


def init(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    shapes = {
        "w1": (FEATURES, HIDDEN),
        "b1": (HIDDEN,),
        "w2": (HIDDEN, HIDDEN),
        "b2": (HIDDEN,),
        "w3": (HIDDEN, CLASSES),
    }
    return {k: (rng.normal(size=s) / s[0] ** 0.5).astype(np.float32) for k, s in shapes.items()}


def batch(count: int) -> tuple[Any, Any]:
    """The whole batch of step ``count``."""
    rng = np.random.default_rng((1, count))
    x = rng.normal(size=(BATCH, FEATURES)).astype(np.float32)
    return x, (np.abs(x[:, :CLASSES]) * [1, 1.2, 0.8, 1.1, 0.9]).argmax(axis=1)


def loss(params: Any, x: Any, y: Any, key: Any) -> Any:
    h = mlc.nn.relu(x @ params["w1"] + params["b1"])
    h = mlc.nn.dropout(key, 0.2, mlc.nn.relu(h @ params["w2"] + params["b2"]))
    return mlc.nn.cross_entropy(h @ params["w3"], y)


@distributed.data_parallel(batch_argnames=("x", "y"))
@mlc.jit(donate_argnames=("params", "state"))
def step(params: Any, state: Any, x: Any, y: Any, key: Any) -> Any:
    value, gradient = mlc.value_and_grad(loss)(params, x, y, key)
    params, state = optimizer.update(params, gradient, state)
    return params, state, value


@distributed.data_parallel(batch_argnames=("x", "y"))
def linear(w: Any, x: Any, y: Any) -> Any:
    """Integer-valued: w - x' (x w - y), for which no sum rounds."""
    return w - mnp.permute_dims(x, (1, 0)) @ (x @ w - y)


def integers() -> Any:
    rng = np.random.default_rng(2)
    return [rng.integers(-3, 4, s).astype(np.float32) for s in ((FEATURES, 4), (BATCH, FEATURES), (BATCH, 4))]


def key_of(count: int) -> Any:
    return np.array([7, count], np.uint32)


def rows(x: Any, rank: int, ranks: int) -> Any:
    return np.split(x, ranks)[rank]


def main(out: str, steps: int) -> None:
    """Train, check that a large all-reduce and the exact case are right, and save what this rank has."""
    rank, ranks = distributed.rank(), distributed.size()
    params = init()
    state = optimizer.init(params)
    params = mlc.tree.map(mnp.asarray, params)
    losses = []
    for count in range(steps):
        x, y = (rows(v, rank, ranks) for v in batch(count))
        params, state, value = step(params, state, x, y, key_of(count))
        losses.append(np.asarray(value))
    w, x, y = integers()
    exact = linear(w, rows(x, rank, ranks), rows(y, rank, ranks))
    probes = {f"probe{n}": mlc.all_reduce(probe(n, rank)) for n in PROBES}
    found = {**params, "exact": exact, "losses": np.stack(losses), **probes}
    np.savez(f"{out}-{rank}.npz", **{k: np.asarray(v) for k, v in found.items()})


PROBES = (4, 600, 4000, 100_000)


def probe(elements: int, rank: int) -> Any:
    """Values whose sum tells in which order it was taken."""
    return np.random.default_rng((3, rank)).normal(size=elements).astype(np.float32)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
