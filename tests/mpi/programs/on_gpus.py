"""Collectives of arrays on gpu:0 of every rank, through NCCL, on the mock of the CUDA driver.

Arguments: how many ranks there are, 1 where NCCL is there or 0, the library of the mock driver.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import mlc
from mlc.errors import MlcError
from mlc.ir.plan import CollectiveStart, Plan, device_of, walk_steps
from tests.mock_cuda import MockDriver

X = np.arange(12).reshape(4, 3)


def mine(rank: int, dtype: str = "float32") -> Any:
    return (X * (rank + 1) + rank).astype(dtype)


def devices(plan: Plan) -> list[int]:
    """Whose memory the collectives of a plan are about."""
    starts = [s for s in walk_steps(plan.steps) if isinstance(s, CollectiveStart)]
    return [device_of(plan, s.destination) for s in starts]


def check(function: Any, expected: Any, dtype: str = "float32", device: int = 1) -> None:
    """``function`` of this rank's array on gpu:0, whose collective is in that device's memory, or 0: the host's."""
    device *= NCCL
    compiled = mlc.jit(function, device="gpu:0").lower(mine(RANK, dtype)).compile()
    assert devices(compiled.program.plan) == [device], compiled.as_text("plan")
    for _ in range(2):
        found = compiled(mine(RANK, dtype))
        assert found.device == "gpu:0"
        np.testing.assert_array_equal(np.asarray(found), expected)


def main() -> None:
    everyone = [mine(r) for r in range(SIZE)]
    total = np.sum(everyone, axis=0)
    block = slice(RANK * 4 // SIZE, (RANK + 1) * 4 // SIZE)
    check(lambda x: mlc.all_reduce(x * 2) + 1, total * 2 + 1)
    check(lambda x: mlc.all_reduce(x), total.astype("int32"), "int32")
    check(lambda x: mlc.all_reduce(x, "max"), everyone[-1].astype("int64"), "int64")
    check(lambda x: mlc.distributed.all_gather(x + 1), np.concatenate(everyone) + 1)
    check(lambda x: mlc.distributed.reduce_scatter(x + 1) * 2, (total[block] + SIZE) * 2)
    check(lambda x: mlc.distributed.broadcast(x - 1), everyone[0] - 1)
    check(lambda x: mlc.all_reduce(x, axis="two"), np.sum(everyone[RANK % (SIZE // 2) :: SIZE // 2], axis=0))
    check(lambda x: mlc.all_reduce(x, "max"), everyone[-1], device=0)  # NCCL's loses NaN
    check(lambda x: mlc.all_reduce(x), total.astype("int16"), "int16", device=0)
    both = mlc.jit(lambda x: (mlc.all_reduce(x), mlc.all_reduce(x * 3)), device="gpu:0")(mine(RANK))
    np.testing.assert_array_equal(np.asarray(both[1]), np.asarray(both[0]) * 3)
    if not NCCL:
        return
    try:
        mlc.jit(lambda x: mlc.all_reduce(x), device="gpu:0")(mine(RANK, "float16"))
    except MlcError as error:
        print(f"f16: {error}")


if __name__ == "__main__":
    warnings.simplefilter("error")
    mlc.distributed.init(axes={"two": 2, "other": int(sys.argv[1]) // 2})
    NCCL = int(sys.argv[2])  # whether it is there
    RANK, SIZE = mlc.distributed.rank(), mlc.distributed.size()
    driver = MockDriver(Path(sys.argv[3]))
    os.environ["MLC_LIBCUDA"] = str(driver.library)
    main()
    assert driver.errors == []
    print(f"rank {RANK} is done, after {driver.count('cuStreamWaitEvent')} waits")
