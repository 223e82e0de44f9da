"""The models as users run them, a sum that is exact, and all-reduces that tell their order: what each rank has."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc import distributed

MODELS = Path(__file__).resolve().parents[3] / "models"
COMMANDS = {"mlp": "mnist_mlp.py 8 --batch 24", "cnn": "mnist_cnn.py 3 --batch 8"}
PROBES = (4, 600, 20_000, 320_000)  # elements; the models' gradients are about the last


def train(name: str) -> list[Any]:
    """The parameters and the optimizer's state that a model ends with."""
    model, *arguments = COMMANDS[name].split()
    sys.argv = [model, *arguments]
    names = runpy.run_path(str(MODELS / model))
    return [np.asarray(leaf) for leaf in mlc.tree.leaves((names["params"], names["state"]))]


@distributed.data_parallel(batch_argnames=("x", "y"))
def linear(w: Any, x: Any, y: Any) -> Any:
    """Integer-valued: w - x' (x w - y), for which no sum rounds."""
    return w - mnp.permute_dims(x, (1, 0)) @ (x @ w - y)


def integers() -> Any:
    rng = np.random.default_rng(2)
    return [rng.integers(-3, 4, s).astype(np.float32) for s in ((20, 4), (24, 20), (24, 4))]


def probe(elements: int, rank: int) -> Any:
    """Values whose sum tells in which order it was taken."""
    return np.random.default_rng((3, rank)).normal(size=elements).astype(np.float32)


def check_each(rank: int, ranks: int) -> None:
    """The other collectives, outside of traces, each on a tree."""
    own = {"a": mnp.asarray(rank), "b": (mnp.arange(2 * ranks),)}
    last = distributed.broadcast(own, root=ranks - 1)
    assert int(last["a"]) == ranks - 1 and last["b"][0].tolist() == list(range(2 * ranks))
    assert distributed.all_gather({"a": mnp.asarray([rank])})["a"].tolist() == list(range(ranks))
    (block,) = distributed.reduce_scatter(own["b"])
    assert block.tolist() == [2 * rank * ranks, (2 * rank + 1) * ranks]
    assert float(mlc.all_reduce(float(rank), "mean")) == (ranks - 1) / 2


def main(out: str) -> None:
    rank, ranks = distributed.rank(), distributed.size()
    check_each(rank, ranks)
    w, x, y = integers()
    exact = linear(w, np.split(x, ranks)[rank], np.split(y, ranks)[rank])
    assert "linear(w: f32[20,4], x: f32[" in mlc.explain_cache(linear) and "rank" not in mlc.explain_cache(linear)
    ahead = linear.lower(w, np.split(x, ranks)[rank], np.split(y, ranks)[rank]).compile()
    assert np.array_equal(ahead(w, np.split(x, ranks)[rank], np.split(y, ranks)[rank]), exact)
    found = {"exact": exact, **{f"probe{n}": mlc.all_reduce(probe(n, rank)) for n in PROBES}}
    for name in COMMANDS:
        found |= {f"{name}{i}": leaf for i, leaf in enumerate(train(name))}
    np.savez(f"{out}-{rank}.npz", **{k: np.asarray(v) for k, v in found.items()})


if __name__ == "__main__":
    main(sys.argv[1])
