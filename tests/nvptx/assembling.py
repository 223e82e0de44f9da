"""Assembles the kernels of every op row: ``python -m tests.nvptx.assembling TARGET DTYPE..`` prints what goes wrong."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence

import numpy as np

from mlc.codegen.nvptx import Usage, assemble_ptx
from mlc.ir.target import GPU_TARGETS, GpuTarget
from mlc.ir.types import DTYPES, DType
from tests.rows.cases import CASES, EVERY
from tests.rows.test_rows import together

from .programs import compiled


def assembled(name: str, dtype: DType, target: GpuTarget) -> dict[str, Usage]:
    """What the kernels of the cases of one row take; of none where it has no such case."""
    cases = CASES[name](dtype)
    if not cases:
        return {}
    graph, _ = together(name, cases, np.random.default_rng(zlib.crc32(name.encode())))
    text = compiled(graph, target)
    return assemble_ptx(text, target).usage if text else {}


def main(target: GpuTarget, dtypes: Sequence[DType]) -> None:
    kernels = 0
    for dtype in dtypes:
        for name in CASES:
            try:
                found = assembled(name, dtype, target)
            except Exception as error:
                print(f"{name} {dtype}: {error}"[:2000], flush=True)
                continue
            kernels += len(found)
            for kernel, usage in found.items():
                if usage.spills:
                    print(f"{name} {dtype}: {kernel} spills: {usage}", flush=True)
    print(f"{kernels} kernels for {target.name}")


if __name__ == "__main__":
    main(GPU_TARGETS[sys.argv[1]], [DTYPES[d] for d in sys.argv[2:]] or EVERY)
