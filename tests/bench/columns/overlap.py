"""What one rank of two sees of an all-reduce that runs beside products which do not need it.

Every rank runs this: gradients, and as many products as take about as long as their all-reduce. Rank 0 prints one JSON
object: the least times, those of the slower rank, of the all-reduce alone, the products alone, and of both.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp

SIDE = 512
PROBE = 8  # products that are timed to know how many are needed


def main(size: int, rounds: int) -> None:
    mlc.distributed.init()
    gradients = mnp.asarray(np.arange(size // 4, dtype=np.float32) % 7)
    random = np.random.default_rng(0)
    x = mnp.asarray(random.standard_normal((SIDE, SIDE)).astype(np.float32))
    w = mnp.asarray((random.standard_normal((SIDE, SIDE)) / math.sqrt(SIDE)).astype(np.float32))

    def products(x: Any, count: int) -> Any:
        for _ in range(count):
            x = mnp.tanh(x @ w)
        return x

    reduce = mlc.jit(lambda g: mlc.all_reduce(g))
    probe = mlc.jit(lambda x: products(x, PROBE))
    alone = [_least(lambda: reduce(gradients), rounds), _least(lambda: probe(x), rounds)]
    count = max(round(PROBE * alone[0] / alone[1]), 1)
    compute = mlc.jit(lambda x: products(x, count))
    both = mlc.jit(lambda g, x: (mlc.all_reduce(g), products(x, count)))
    summed, last = both(gradients, x)
    if not np.array_equal(np.asarray(summed), np.asarray(gradients) * mlc.distributed.size()):
        raise SystemExit("the sum is wrong")
    if not np.array_equal(np.asarray(last), np.asarray(compute(x))):
        raise SystemExit("the products are wrong")
    times = [math.inf] * 3
    for _ in range(rounds):  # in turns
        calls = (lambda: reduce(gradients), lambda: compute(x), lambda: both(gradients, x))
        times = [min(t, _least(call, 1)) for t, call in zip(times, calls, strict=True)]
    if mlc.distributed.rank() == 0:
        print(json.dumps(dict(zip(("communication", "compute", "both"), times, strict=True)) | {"products": count}))


def _least(call: Callable[[], Any], rounds: int) -> float:
    """Seconds of a call that all ranks begin together, on the rank that takes longest."""
    call()
    best = math.inf
    for _ in range(rounds):
        _slowest(0.0)
        start = time.perf_counter()
        call()
        best = min(best, _slowest(time.perf_counter() - start))
    return best


def _slowest(seconds: float) -> float:
    return float(np.asarray(mlc.all_reduce(mnp.asarray(np.float32(seconds)), "max")))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
