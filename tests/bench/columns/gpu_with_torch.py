"""PyTorch's column on a GPU: ``python -m tests.bench.columns.gpu_with_torch SIZE SECONDS STEPS``, one JSON object."""

from __future__ import annotations

import json
import sys

import torch

from . import with_torch
from .common import LOSSES
from .gpu_operations import DTYPES, Library, least, measure

LIBRARY = Library(
    lambda shape, dtype: torch.rand(shape, device="cuda").to(getattr(torch, DTYPES[dtype])),
    lambda x: torch.cuda.synchronize(),
    {
        "copy": torch.clone,
        "elementwise": torch.compile(lambda x: x * 2 + 1),
        "sum": torch.sum,
        "softmax": lambda x: torch.softmax(x, -1),
        "matmul": torch.matmul,
    },
)


def main() -> None:
    size, seconds = sys.argv[1], float(sys.argv[2])
    steps = {}
    torch.set_default_device("cuda")
    for name in filter(None, sys.argv[3].split(",")):
        step = with_torch.build(name)
        losses = [float(step()) for _ in range(LOSSES)]
        steps[name] = {"step": least(step, lambda x: torch.cuda.synchronize(), seconds), "losses": losses}
    print(json.dumps({"version": torch.__version__, "operations": measure(LIBRARY, size, seconds), "steps": steps}))


if __name__ == "__main__":
    main()
