"""Compiles random programs to PTX: ``python -m tests.nvptx.programs FIRST LAST TARGET`` prints a line for each.

LLVM ends the process over what it cannot select, so that tests run this in a process of their own.
"""

from __future__ import annotations

import sys

from mlc.codegen.nvptx import compile_ptx
from mlc.errors import UnsupportedError
from mlc.ir.graph import Graph
from mlc.ir.target import GPU_TARGETS, GpuTarget
from mlc.passes.kernels import lower_kernel
from mlc.passes.plan import make_plan
from mlc.passes.runner import CPU_PIPELINE, run_passes
from tests.fuzz.programs import program


def compiled(graph: Graph, target: GpuTarget) -> str:
    """The PTX of the kernels of a graph that is optimized and scheduled for ``target``."""
    optimized, _ = run_passes(graph, CPU_PIPELINE)
    kernels = [lower_kernel(k, target) for k in make_plan(optimized, target).kernels]
    return compile_ptx(kernels, target) if kernels else ""


def main(first: int, last: int, target: GpuTarget) -> None:
    for seed in range(first, last):
        print(seed, end=" ", flush=True)  # what comes last is what ended the process
        try:
            print(f"{len(compiled(program(seed, without=('fusion',))[0], target))} bytes")
        except UnsupportedError as error:
            print(f"refused: {error}".replace("\n", "; "))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), GPU_TARGETS[sys.argv[3]])
