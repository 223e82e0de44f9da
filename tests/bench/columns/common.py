"""What the columns share, in NumPy alone: the steps' parameters and batches, and how they are timed.

A column is a module that is run as ``python -m tests.bench.columns.NAME STEP SECONDS`` by a Python that has its
library; it prints one JSON object: ``build`` (seconds from the imports to the first result; ``build_cpu`` those of the
processor), ``step`` (the least seconds of one step over batches of steps), ``losses`` of the first steps.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LOSSES = 3
BATCH_SECONDS = 0.05
TITLES = {
    "T1": "softmax regression, batch 100, SGD",
    "T2": "MLP 784-512-512-10, batch 128, Adam",
    "T3": "CNN 32-64-1024, batch 50, Adam",
}
LEARNING_RATE = {"T1": 0.1, "T2": 1e-3, "T3": 1e-4}

Arrays = dict[str, Any]


def problem(step: str) -> tuple[Arrays, Any, Any]:
    """Parameters, inputs and labels of a step: images are NHWC, kernels HWIO."""
    rng = np.random.default_rng(7)

    def weights(*shape: int) -> Any:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    if step == "T3":
        shapes = {"c1": (5, 5, 1, 32), "c2": (5, 5, 32, 64), "f1": (7 * 7 * 64, 1024), "f2": (1024, 10)}
    else:
        sizes = [784, 10] if step == "T1" else [784, 512, 512, 10]
        shapes = {f"f{i}": pair for i, pair in enumerate(itertools.pairwise(sizes))}
    params: Arrays = {}
    for name, shape in shapes.items():
        params[name + ".w"] = weights(*shape)
        params[name + ".b"] = np.zeros(shape[-1], np.float32)
    batch = {"T1": 100, "T2": 128, "T3": 50}[step]
    images = (batch, 28, 28, 1) if step == "T3" else (batch, 784)
    return params, rng.random(images, np.float32), rng.integers(0, 10, batch)


def pin(threads: int = 1) -> None:
    """Keep to as many CPUs, before libraries count them."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main(build: Callable[[str], Callable[[], Any]]) -> None:
    """Time what ``build(step)`` gives: a function that does a step, waits for it and returns its loss."""
    name, seconds = sys.argv[1], float(sys.argv[2])
    begin, cpu = time.perf_counter(), time.process_time()
    step = build(name)
    losses = [float(step())]
    built, cpu = time.perf_counter() - begin, time.process_time() - cpu
    losses += [float(step()) for _ in range(LOSSES - 1)]
    print(json.dumps({"build": built, "build_cpu": cpu, "step": least(step, seconds), "losses": losses}))


def least(step: Callable[[], Any], seconds: float) -> float:
    """The least seconds of a step over batches of about 50 ms: what a machine takes that is not disturbed."""
    begin = time.perf_counter()
    step()
    count = max(1, int(BATCH_SECONDS / max(time.perf_counter() - begin, 1e-6)))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        begin = time.perf_counter()
        for _ in range(count):
            step()
        best = min(best, (time.perf_counter() - begin) / count)
    return best
