"""Runs graphs on a GPU that is not there: their kernels as PTX, launched in the PTX interpreter as the plan says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mlc.codegen.nvptx import compile_ptx
from mlc.ir.graph import Graph
from mlc.ir.kernel import IndexVariable, Kernel
from mlc.ir.plan.interpret import interpret_plan
from mlc.ir.target import SM_80, GpuTarget
from mlc.passes.kernels import lower_kernel
from mlc.passes.plan import Planned, make_plan
from mlc.passes.runner import CPU_PIPELINE, run_passes
from tests.ptx.memory import Memory
from tests.ptx.program import Program

Array = Any


@dataclass(frozen=True)
class OnGpu:
    """A graph compiled for a GPU: its plan, and the PTX of its kernels."""

    planned: Planned
    target: GpuTarget
    ptx: str

    @staticmethod
    def of(graph: Graph, target: GpuTarget = SM_80) -> OnGpu:
        """``graph`` optimized, scheduled and compiled."""
        optimized, _ = run_passes(graph, CPU_PIPELINE)
        planned = make_plan(optimized, target)
        kernels = [lower_kernel(k, target) for k in planned.kernels]
        return OnGpu(planned, target, compile_ptx(kernels, target) if kernels else "")

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """The results of the graph; PtxError where a kernel does what a GPU leaves undefined."""
        launcher = Launcher(self.ptx)
        return interpret_plan(self.planned.plan, self.planned.kernels, self.planned.constants, arrays, launcher.run)


class Launcher:
    """Launches kernels of a PTX module on NumPy arrays. Every launch has a memory of its own."""

    def __init__(self, ptx: str) -> None:
        self.program = Program(ptx) if ptx else None

    def run(self, kernel: Kernel, buffers: Sequence[Array], sizes: Sequence[int]) -> None:
        """Each buffer lies in an allocation of its size, but buffers that are the same memory in the same one.

        What a kernel only writes counts as uninitialised before.
        """
        grid, block = extents(kernel, sizes)
        if grid == 0:
            return
        memory = Memory()
        placed: dict[int, tuple[int, Array]] = {}
        written: list[tuple[int, Array]] = []
        arguments = []
        for buffer, array in zip(kernel.buffers, buffers, strict=True):
            key = array.__array_interface__["data"][0] if array.nbytes else -1 - len(arguments)
            if key not in placed:
                address = memory.allocate(array.nbytes)
                memory.write(address, array)
                if buffer.access == "write":
                    memory.find(address, array.nbytes)[0].ready[:] = False
                placed[key] = address, array
            elif buffer.access != "write":
                memory.find(placed[key][0], array.nbytes)[0].ready[:] = True
            arguments.append(placed[key][0])
            if buffer.access != "read" and array.nbytes:
                written.append(placed[key])
        assert self.program is not None
        self.program.launch(
            kernel.name, grid=(grid, 1, 1), block=(block, 1, 1), arguments=[*arguments, *map(int, sizes)],
            memory=memory, shared_bytes=kernel.dynamic_shared_bytes,
        )  # fmt: skip
        for address, array in written:
            array.view(np.uint8)[:] = memory.read(address, array.nbytes)


def extents(kernel: Kernel, sizes: Sequence[int]) -> tuple[int, int]:
    """Blocks and threads of a launch."""
    values = {IndexVariable("n", k): int(n) for k, n in enumerate(sizes)}
    counts = [-(-e.evaluate(values) // g) for e, g in zip(kernel.extents, kernel.grains, strict=True)]
    return prod(counts[: len(counts) - kernel.threads]), kernel.block_threads
