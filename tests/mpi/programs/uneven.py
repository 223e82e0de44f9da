"""A step of data_parallel, compiled for two numbers of rows or ahead for any, that two ranks call with one each."""

from __future__ import annotations

import sys

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc import Array


@mlc.distributed.data_parallel(batch_argnames="x")
def step(w: Array, x: Array) -> Array:
    return w - mnp.mean(x, axis=0)


def main(how: str) -> None:
    w = np.zeros(2, np.float32)
    run = step
    if how == "ahead":
        run = step.lower(mlc.ShapeDtype((2,)), mlc.ShapeDtype((mlc.dim("n", 1, 8), 2))).compile()
    batches = [np.full((n, 2), n, np.float32) for n in (4, 3)]
    means = [float(np.asarray(run(w, x))[0]) for x in [*batches, *batches]]
    assert means == [-4, -3, -4, -3], means
    print("equal rows are right", flush=True)
    run(w, batches[mlc.distributed.rank()])
    print("was not stopped", flush=True)


if __name__ == "__main__":
    mlc.distributed.init()
    main(sys.argv[1])
