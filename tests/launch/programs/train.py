"""Runs models as their users do, and writes down what each rank ends with.

Arguments: the folder to write to, then for each model a name for its results and the words of its command line, as one
argument each: ``out a 'mnist_mlp.py 100 --dtype float64'``. With FAULT=SIGNAL:RANK:STEP in the environment that rank
sends itself the signal before that step, in the first start of the job alone.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mlc
from mlc import distributed

FIRST: list[int] = []  # steps that this process began the models with
MODELS = Path(__file__).resolve().parents[3] / "models"


def faulty(steps: Any, total: int | None = None, *, done: int = 0) -> Iterator[Any]:
    """The steps, and the fault before one of them."""
    name, rank, at = os.environ.get("FAULT", "SIGKILL:0:-1").split(":")
    FIRST.append(done + 1)
    for step in steps:
        if os.environ.get("MLC_RESTART", "0") == "0" and (distributed.rank(), step) == (int(rank), int(at)):
            os.kill(os.getpid(), signal.Signals[name])
        yield step


def main(folder: Path, words: list[str]) -> None:
    mlc.train.progress = faulty
    for name, command in zip(words[::2], words[1::2], strict=True):
        model, *arguments = command.split()
        sys.argv = [model, *arguments]
        names = runpy.run_path(str(MODELS / model))
        leaves = [np.asarray(leaf) for leaf in mlc.tree.leaves(names["params"])]
        end = {"hash": mlc.train.fingerprint((names["params"], names["state"])), "first": FIRST[-1]}
        (folder / f"{name}-{distributed.rank()}.json").write_text(json.dumps(end))
        if distributed.rank() == 0:
            np.savez(folder / f"{name}.npz", *leaves)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
