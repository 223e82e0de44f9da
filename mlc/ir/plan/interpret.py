"""Walks a Plan on NumPy memory with interpreted kernels: what the C walker with compiled kernels is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.errors import ArgumentError
from mlc.ir.dims import Dim, evaluate_size
from mlc.ir.kernel import IndexVariable, Kernel, interpret_kernel
from mlc.ir.types import TensorType

from .data import BufferRef, Copy, Launch, Loop, Plan, Step

Array = npt.NDArray[Any]
RunKernel = Callable[[Kernel, Sequence[Array], Sequence[int]], None]
RUBBISH = 0x5A  # what outputs and the arena hold at first


def interpret_plan(
    plan: Plan, kernels: Sequence[Kernel], constants: Sequence[Array], inputs: Sequence[Array],
    run: RunKernel = interpret_kernel,
) -> list[Array]:  # fmt: skip
    """The outputs of ``plan`` for these inputs, whose own memory is left alone; ``kernels`` in the order of the plan's.

    ``run`` executes a kernel on its buffers (flat arrays, some perhaps the same memory) and sizes. Raises ArgumentError
    for inputs that do not fit, and VerifyError where a kernel reads or writes out of bounds.
    """
    return _Walker(plan, kernels, constants, inputs, run).run()


class _Walker:
    def __init__(
        self, plan: Plan, kernels: Sequence[Kernel], constants: Sequence[Array], inputs: Sequence[Array],
        run_kernel: RunKernel,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.run_kernel = run_kernel
        self.kernels = kernels
        self.sizes = _bind(plan, inputs)
        self.memory: dict[tuple[str, int], Array] = {("arena", 0): np.full(plan.arena_bytes, RUBBISH, np.uint8)}
        for i, device in enumerate(plan.devices):
            self.memory["arena", i + 1] = np.full(device.arena_bytes, RUBBISH, np.uint8)
        for i, output in enumerate(plan.outputs):
            self.memory["output", i] = np.full(self.bytes_of(output.type), RUBBISH, np.uint8)
        for i, constant in enumerate(constants):
            self.memory["constant", i] = _bytes(constant)
        for i, (value, array) in enumerate(zip(plan.inputs, inputs, strict=True)):
            self.memory["input", i] = _bytes(array).copy()
            if value.donated_to is not None:
                self.memory["output", value.donated_to][:] = self.memory["input", i]
                self.memory["input", i] = self.memory["output", value.donated_to]

    def run(self) -> list[Array]:
        self.walk(self.plan.steps)
        return [
            self.memory["output", i].view(o.type.dtype.numpy).reshape(self.shape(o.type))
            for i, o in enumerate(self.plan.outputs)
        ]

    def walk(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Launch):
                self.launch(step)
            elif isinstance(step, Copy):
                n = evaluate_size(step.nbytes, self.sizes)
                self.at(step.destination, n)[:] = self.at(step.source, n)
            elif isinstance(step, Loop):
                while self.at(step.predicate, 1)[0]:
                    self.walk(step.body)
            else:
                index = int(self.at(step.index, 4).view(np.int32)[0])
                self.walk(step.branches[index if 0 <= index < len(step.branches) else -1])

    def launch(self, step: Launch) -> None:
        kernel = self.kernels[step.kernel]
        sizes = [evaluate_size(n, self.sizes) for n in step.sizes]
        variables = {IndexVariable("n", k): n for k, n in enumerate(sizes)}
        buffers = []
        for ref, buffer in zip(step.operands, kernel.buffers, strict=True):
            elements = int(np.prod([n.evaluate(variables) for n in buffer.shape], dtype=np.int64))
            buffers.append(self.at(ref, elements * buffer.dtype.itemsize).view(buffer.dtype.numpy))
        self.run_kernel(kernel, buffers, sizes)

    def at(self, ref: BufferRef, nbytes: int) -> Array:
        return self.memory[ref.space, ref.index][ref.offset : ref.offset + nbytes]

    def shape(self, tensor: TensorType) -> tuple[int, ...]:
        return tuple(evaluate_size(n, self.sizes) for n in tensor.shape)

    def bytes_of(self, tensor: TensorType) -> int:
        return int(np.prod(self.shape(tensor), dtype=np.int64)) * tensor.dtype.itemsize


def _bind(plan: Plan, inputs: Sequence[Array]) -> Mapping[str, int]:
    """The values of the symbols; ArgumentError for arrays of other types than the plan's inputs."""
    if len(inputs) != len(plan.inputs):
        raise ArgumentError(f"{plan.name}: takes {len(plan.inputs)} arrays, was given {len(inputs)}")
    sizes: dict[str, int] = {}
    for value, array in zip(plan.inputs, inputs, strict=True):
        if array.dtype != value.type.dtype.numpy or array.ndim != value.type.rank:
            raise ArgumentError(f"{plan.name}: {value.name} is {value.type}, not {array.dtype}{list(array.shape)}")
        for want, have in zip(value.type.shape, array.shape, strict=True):
            if isinstance(want, Dim) and len(want.symbols) == 1 and want == Dim({want.symbols: 1}):
                sizes.setdefault(want.symbols[0].name, have)
    for value, array in zip(plan.inputs, inputs, strict=True):
        if tuple(evaluate_size(n, sizes) for n in value.type.shape) != array.shape:
            raise ArgumentError(f"{plan.name}: {value.name} is {value.type}, not {array.dtype}{list(array.shape)}")
    return sizes


def _bytes(array: Array) -> Array:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
