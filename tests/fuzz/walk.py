"""Walks a Plan as an unlucky team would: between two barriers each worker does all its steps before the next begins.

In every order of workers the results must be the same bits. Memory is filled with junk first, inputs are aligned to
their elements alone, and bytes behind every buffer are checked, so that a missing barrier, a read of what nobody wrote
and a write behind the end show every time, and not only when threads happen to meet.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.codegen import compile_object, load_object
from mlc.compiler import CompiledFunction, llvm_of
from mlc.ir.dims import Dim, evaluate_size
from mlc.ir.plan import Branch, BufferRef, Copy, Launch, Loop, Step

Array = npt.NDArray[Any]
JUNK, GUARD, PAGE = 0xA5, 256, 4096
_SIGNATURE = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 2, *(ctypes.c_int64,) * 2, ctypes.c_void_p)


class Walk:
    """The machine code of a compiled function, ready to be walked."""

    def __init__(self, compiled: CompiledFunction) -> None:
        self.plan = compiled.plan
        self.constants = compiled.constants
        self.kernels = []
        if compiled.lowered:
            object_code = compile_object(llvm_of(compiled.lowered, compiled.options), compiled.options.target)
            self.code = load_object(object_code)
            self.kernels = [_SIGNATURE(self.code.address(k.name)) for k in compiled.lowered]

    def run(self, arrays: Sequence[Array], order: Sequence[int]) -> list[Array]:
        """The results when workers take their turns in this order between barriers."""
        sizes = {
            n.symbols[0].name: array.shape[axis]
            for value, array in zip(self.plan.inputs, arrays, strict=True)
            for axis, n in enumerate(value.type.shape)
            if isinstance(n, Dim) and str(n) == n.symbols[0].name
        }
        memory = self.memory(arrays, sizes)
        scratch = [Buffer(self.plan.scratch_bytes) for _ in order]
        self.walk(self.plan.steps, order, memory, sizes, scratch)
        for what, buffer in [*memory.items(), *(("scratch", s) for s in scratch)]:
            assert np.all(buffer.behind() == JUNK), f"{self.plan.name}: bytes behind {what} were written"
        return [
            memory["output", j].array(o.type.dtype.numpy, [evaluate_size(n, sizes) for n in o.type.shape])
            for j, o in enumerate(self.plan.outputs)
        ]

    def walk(
        self,
        steps: Sequence[Step],
        order: Sequence[int],
        memory: dict[tuple[str, int], Buffer],
        sizes: dict[str, int],
        scratch: list[Buffer],
    ) -> None:
        for segment in segments(steps):
            first = segment[0]
            if isinstance(first, Loop):
                place = first.predicate
                while memory[place.space, place.index].integer(place.offset, np.bool_):
                    self.walk(first.body, order, memory, sizes, scratch)
            elif isinstance(first, Branch):
                place, last = first.index, len(first.branches) - 1
                taken = memory[place.space, place.index].integer(place.offset, np.int32)
                self.walk(first.branches[taken if 0 <= taken < last else last], order, memory, sizes, scratch)
            else:
                for worker in order:
                    for step in segment:
                        self.step(step, worker, len(order), memory, sizes, scratch[worker])

    def memory(self, arrays: Sequence[Array], sizes: dict[str, int]) -> dict[tuple[str, int], Buffer]:
        memory = {("arena", 0): Buffer(self.plan.arena_bytes)}
        memory |= {("arena", i + 1): Buffer(d.arena_bytes) for i, d in enumerate(self.plan.devices)}
        for j, output in enumerate(self.plan.outputs):
            memory["output", j] = Buffer(evaluate_size(output.type.size, sizes) * output.type.dtype.itemsize)
        for i, constant in enumerate(self.constants):
            memory["constant", i] = Buffer(constant.nbytes, constant)
        for i, (value, array) in enumerate(zip(self.plan.inputs, arrays, strict=True)):
            if value.donated_to is None:
                memory["input", i] = Buffer(array.nbytes, array, array.itemsize)
            else:
                memory["input", i] = memory["output", value.donated_to]
                memory["input", i].fill(array)
        return memory

    def step(
        self,
        step: Step,
        worker: int,
        workers: int,
        memory: dict[tuple[str, int], Buffer],
        sizes: dict[str, int],
        scratch: Buffer,
    ) -> None:
        def place(ref: BufferRef) -> int:
            return memory[ref.space, ref.index].address + ref.offset

        if isinstance(step, Copy):
            nbytes = evaluate_size(step.nbytes, sizes)
            begin, end = (min(p * PAGE, nbytes) for p in share(-(-nbytes // PAGE), worker, workers))
            if step.serial:
                begin, end = (0, 0) if worker else (0, nbytes)
            ctypes.memmove(place(step.destination) + begin, place(step.source) + begin, end - begin)
            return
        assert isinstance(step, Launch)
        tasks = 1
        for extent, grain in step.tasks:
            tasks *= -(-evaluate_size(extent, sizes) // grain)
        begin, end = share(tasks, worker, workers) if not step.serial else (0, tasks if worker == 0 else 0)
        pointers = (ctypes.c_void_p * len(step.operands))(*map(place, step.operands))
        numbers = (ctypes.c_int64 * max(len(step.sizes), 1))(*(evaluate_size(n, sizes) for n in step.sizes))
        if begin < end:
            self.kernels[step.kernel](pointers, numbers, begin, end, scratch.address)


def segments(steps: Sequence[Step]) -> list[list[Step]]:
    """Steps between barriers; each loop and branch by itself."""
    found: list[list[Step]] = [[]]
    for step in steps:
        if not isinstance(step, Launch | Copy):
            found += [[step], []]
        elif step.barrier:
            found.append([step])
        else:
            found[-1].append(step)
    return [segment for segment in found if segment]


def share(n: int, worker: int, workers: int) -> tuple[int, int]:
    """The tasks of one worker, as runtime/walk.c cuts them."""
    first = [w * (n // workers) + min(w, n % workers) for w in (worker, worker + 1)]
    return first[0], first[1]


@dataclass
class Buffer:
    """Bytes at ``offset`` from a multiple of 64, with junk behind them."""

    nbytes: int
    value: Array | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        self.block = np.full(self.nbytes + GUARD + 128, JUNK, np.uint8)
        self.begin = -self.block.ctypes.data % 64 + self.offset
        self.address = self.block.ctypes.data + self.begin
        if self.value is not None:
            self.fill(self.value)

    def fill(self, array: Array) -> None:
        self.block[self.begin : self.begin + self.nbytes] = np.frombuffer(array.tobytes(), np.uint8)

    def integer(self, offset: int, dtype: Any) -> int:
        at = self.begin + offset
        return int(self.block[at : at + np.dtype(dtype).itemsize].view(dtype)[0])

    def behind(self) -> Array:
        return self.block[self.begin + self.nbytes :]

    def array(self, dtype: Any, shape: Sequence[int]) -> Array:
        return np.frombuffer(self.block[self.begin : self.begin + self.nbytes].tobytes(), dtype).reshape(shape)
