"""Walks a Plan on NumPy memory, for one rank or all of a world: what the C walker is compared with.

Kernels are interpreted, or compiled ones are called. All ranks of a world run in this process, in lockstep from
collective to collective, which fold their values in an order that is chosen: with compiled kernels this gives the bits
of a distributed run whose library folds in that order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.errors import ArgumentError
from mlc.ir.collective import run_collective
from mlc.ir.dims import Dim, evaluate_size
from mlc.ir.kernel import IndexVariable, Kernel, interpret_kernel
from mlc.ir.types import TensorType

from .collective import block_counts
from .data import Branch, BufferRef, CollectiveDone, CollectiveStart, Copy, Launch, Loop, Plan, Step
from .verify import ALIGNMENT

Array = npt.NDArray[Any]
RunKernel = Callable[[Kernel, Sequence[Array], Sequence[int]], None]
RUBBISH = 0x5A  # what outputs and the arena hold at first, and what a collective in flight writes


@dataclass(frozen=True, slots=True)
class NativeKernel:
    """A compiled kernel: the address of its code, which the caller keeps loaded."""

    address: int


def interpret_plan(
    plan: Plan, kernels: Sequence[Kernel | NativeKernel], constants: Sequence[Array], inputs: Sequence[Array],
    run: RunKernel = interpret_kernel,
) -> list[Array]:  # fmt: skip
    """The outputs of ``plan`` for these inputs, whose own memory is left alone; ``kernels`` in the order of the plan's.

    ``run`` executes a kernel that is not native on its buffers (flat arrays, some perhaps the same memory) and sizes.
    Raises ArgumentError for inputs that do not fit and for collectives of more than one rank, and VerifyError where an
    interpreted kernel reads or writes out of bounds.
    """
    return interpret_ranks(plan, kernels, constants, [inputs], run=run)[0]


def interpret_ranks(
    plan: Plan,
    kernels: Sequence[Kernel | NativeKernel],
    constants: Sequence[Array],
    inputs: Sequence[Sequence[Array]],
    *,
    order: str = "linear",
    run: RunKernel = interpret_kernel,
) -> list[list[Array]]:
    """The outputs of every rank for the inputs of every rank, whose collectives fold in ``order``, one of
    ``mlc.ir.collective.ORDERS``. Raises as ``interpret_plan``, and ArgumentError where the world has another size.
    """
    runs = [_Walker(plan, kernels, constants, own, run).run() for own in inputs]
    replies: list[Any] = [None] * len(runs)
    while True:
        asked = []
        for rank, reply in zip(runs, replies, strict=True):
            try:
                asked.append(rank.send(reply))
            except StopIteration as end:
                asked.append(end.value)
        if isinstance(asked[0], list):
            return asked
        replies = _communicate(plan, asked, order)


def _communicate(plan: Plan, asked: Sequence[tuple[CollectiveStart, Array]], order: str) -> list[Array]:
    """What the collective that all ranks have come to gives each of them."""
    step, values = asked[0][0], [value for _, value in asked]
    ranks = [rank for group in step.groups for rank in group]
    if any(s is not step for s, _ in asked):
        raise ArgumentError(f"{plan.name}: ranks came to different collectives")
    if len(ranks) != len(values):
        raise ArgumentError(f"{plan.name}: has collectives of {len(ranks)} ranks, was given inputs of {len(values)}")
    replies: dict[int, Array] = {}
    for group in step.groups:
        members = [values[rank] for rank in group]
        results = run_collective(step.kind, members, reduction=step.reduction, root=step.root, order=order)
        replies |= dict(zip(group, results, strict=True))
    return [replies[rank] for rank in range(len(ranks))]


_Run = Generator[tuple[CollectiveStart, Array], Array, None]


class _Walker:
    """One rank. Its steps are a generator that stops at each collective with its values and goes on with the result."""

    def __init__(
        self,
        plan: Plan,
        kernels: Sequence[Kernel | NativeKernel],
        constants: Sequence[Array],
        inputs: Sequence[Array],
        run_kernel: RunKernel,
    ) -> None:
        self.in_flight: dict[int, tuple[BufferRef, Array]] = {}  # by slot: where the result will be
        self.plan = plan
        self.run_kernel = run_kernel
        self.kernels = kernels
        self.sizes = _bind(plan, inputs)
        self.memory: dict[tuple[str, int], Array] = {("arena", 0): _rubbish(plan.arena_bytes)}
        for i, device in enumerate(plan.devices):
            self.memory["arena", i + 1] = _rubbish(device.arena_bytes)
        for i, output in enumerate(plan.outputs):
            self.memory["output", i] = _rubbish(self.bytes_of(output.type))
        for i, constant in enumerate(constants):
            self.memory["constant", i] = _bytes(constant)
        for i, (value, array) in enumerate(zip(plan.inputs, inputs, strict=True)):
            self.memory["input", i] = _bytes(array)
            if value.donated_to is not None:
                self.memory["output", value.donated_to][:] = self.memory["input", i]
                self.memory["input", i] = self.memory["output", value.donated_to]

    def run(self) -> Generator[tuple[CollectiveStart, Array], Array, list[Array]]:
        yield from self.walk(self.plan.steps)
        return [
            self.memory["output", i].view(o.type.dtype.numpy).reshape(self.shape(o.type))
            for i, o in enumerate(self.plan.outputs)
        ]

    def walk(self, steps: Sequence[Step]) -> _Run:
        for step in steps:
            if isinstance(step, Launch):
                self.launch(step)
            elif isinstance(step, Copy):
                n = evaluate_size(step.nbytes, self.sizes)
                self.at(step.destination, n)[:] = self.at(step.source, n)
            elif isinstance(step, Loop):
                while self.at(step.predicate, 1)[0]:
                    yield from self.walk(step.body)
            elif isinstance(step, Branch):
                index = int(self.at(step.index, 4).view(np.int32)[0])
                yield from self.walk(step.branches[index if 0 <= index < len(step.branches) else -1])
            elif isinstance(step, CollectiveStart):
                yield from self.start(step)
            elif isinstance(step, CollectiveDone):
                place, value = self.in_flight.pop(step.slot)
                self.at(place, value.nbytes)[:] = value.view(np.uint8)

    def start(self, step: CollectiveStart) -> _Run:
        """Nobody may count on what lies at the destination before the end, nor on that it is not yet there."""
        reads, writes = (evaluate_size(n, self.sizes) * step.dtype.itemsize for n in block_counts(step))
        if step.slot in self.in_flight:
            raise ArgumentError(f"{self.plan.name}: slot {step.slot} is in flight")
        value = self.at(step.source, reads).copy().view(step.dtype.numpy)
        self.at(step.destination, writes)[:] = RUBBISH
        result = yield step, value
        self.in_flight[step.slot] = step.destination, result

    def launch(self, step: Launch) -> None:
        kernel = self.kernels[step.kernel]
        if isinstance(kernel, NativeKernel):
            self.launch_native(step, kernel)
            return
        sizes = [evaluate_size(n, self.sizes) for n in step.sizes]
        variables = {IndexVariable("n", k): n for k, n in enumerate(sizes)}
        buffers = []
        for ref, buffer in zip(step.operands, kernel.buffers, strict=True):
            elements = int(np.prod([n.evaluate(variables) for n in buffer.shape], dtype=np.int64))
            buffers.append(self.at(ref, elements * buffer.dtype.itemsize).view(buffer.dtype.numpy))
        self.run_kernel(kernel, buffers, sizes)

    def launch_native(self, step: Launch, kernel: NativeKernel) -> None:
        """All tasks in one call, as one worker does them."""
        tasks = 1
        for extent, grain in step.tasks:
            tasks *= max(-(-evaluate_size(extent, self.sizes) // grain), 0)
        sizes = [evaluate_size(n, self.sizes) for n in step.sizes]
        places = [self.memory[r.space, r.index].ctypes.data + r.offset for r in step.operands]
        scratch = _rubbish(self.plan.scratch_bytes)
        if tasks:
            _KERNEL(kernel.address)(
                (ctypes.c_void_p * max(len(places), 1))(*places), (ctypes.c_int64 * max(len(sizes), 1))(*sizes),
                0, tasks, scratch.ctypes.data,
            )  # fmt: skip

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


_KERNEL = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)  # mlc_kernel


def _rubbish(nbytes: int) -> Array:
    """Memory that is aligned as kernels expect it."""
    block = np.full(nbytes + ALIGNMENT, RUBBISH, np.uint8)
    begin = -block.ctypes.data % ALIGNMENT
    return block[begin : begin + nbytes]


def _bytes(array: Array) -> Array:
    """A copy."""
    memory = _rubbish(array.nbytes)
    memory[:] = np.frombuffer(array.tobytes(), np.uint8)
    return memory
