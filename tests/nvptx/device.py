"""Compiles kernels to PTX and runs them in the interpreter on NumPy arrays, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from mlc.codegen.nvptx import compile_ptx
from mlc.ir.kernel import IndexVariable, Kernel
from mlc.ir.target import SM_80, GpuTarget
from mlc.passes.kernels import lower_kernel
from tests.ptx.memory import Memory
from tests.ptx.program import Program

Array = npt.NDArray[Any]


class Device:
    """Kernels compiled into one PTX module; ``run`` launches one of them over its whole grid."""

    def __init__(self, kernels: Sequence[Kernel], target: GpuTarget = SM_80) -> None:
        self.kernels = {k.name: lower_kernel(k, target) for k in kernels}
        self.text = compile_ptx(list(self.kernels.values()), target)
        self.program = Program(self.text)

    def run(self, name: str, buffers: Sequence[Array], sizes: Sequence[int] = ()) -> None:
        """In place; what a kernel reads and did not get, or reads outside of its buffers, is a PtxError."""
        kernel, memory = self.kernels[name], Memory()
        blocks = grid_blocks(kernel, sizes)
        if not blocks:
            return
        places = [memory.place(b) for b in buffers]
        grid, block = (blocks, 1, 1), (kernel.block_threads, 1, 1)
        self.program.launch(
            name, grid=grid, block=block, arguments=[*places, *sizes], memory=memory,
            shared_bytes=kernel.dynamic_shared_bytes,
        )  # fmt: skip
        for place, buffer in zip(places, buffers, strict=True):
            buffer[...] = memory.read(place, buffer.nbytes).view(buffer.dtype).reshape(buffer.shape)


def grid_blocks(kernel: Kernel, sizes: Sequence[int]) -> int:
    values = {IndexVariable("n", k): n for k, n in enumerate(sizes)}
    total, blocks = 1, len(kernel.extents) - kernel.threads
    for extent, grain in zip(kernel.extents[:blocks], kernel.grains[:blocks], strict=True):
        total *= -(-extent.evaluate(values) // grain)
    return total


def run(kernel: Kernel, buffers: Sequence[Array], sizes: Sequence[int] = (), target: GpuTarget = SM_80) -> None:
    Device([kernel], target).run(kernel.name, buffers, sizes)
