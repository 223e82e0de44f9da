"""Ranks that have different numbers of rows, from the first call on."""

from __future__ import annotations

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc import distributed
from mlc.errors import DistributedError


@distributed.data_parallel(batch_argnames="x")
def mean(x: np.ndarray) -> object:
    return mnp.mean(x, axis=0)


SAID = "mean: the processes have different numbers of rows: rank 0 has 4; rank 1 has 3"

if __name__ == "__main__":
    try:
        mean(np.ones((4 - distributed.rank(), 2), np.float32))
        raise SystemExit("they were not refused")
    except DistributedError as error:
        assert error.message == SAID, error
    assert float(mlc.all_reduce(1.0)) == distributed.size()  # the world is as it was
