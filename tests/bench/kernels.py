"""Kernel time: what a body's scheduled kernels cost when they are launched from C, and the machine's peak beside it."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.codegen import compile_object, emit_llvm, load_object
from mlc.ir.dims import evaluate_size
from mlc.ir.graph import Graph
from mlc.ir.kernel import Kernel, KernelBuilder
from mlc.ir.target import Target, host_target
from mlc.ir.types import F32, DType
from mlc.passes.kernels import lower_kernel
from mlc.passes.schedule import schedule_region

Array = npt.NDArray[Any]
LAUNCHES = 1000
HUGE_PAGE = 2 << 20
BATCH_SECONDS = 2e-4  # short, so that some batch runs undisturbed


class _Call(ctypes.Structure):
    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("sizes", ctypes.c_void_p),
        ("tasks", ctypes.c_int64),
        ("scratch", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Launch:
    """A kernel with what it is called on: buffers, sizes, and the number of its parallel iterations."""

    kernel: Kernel
    buffers: tuple[Array, ...]
    sizes: tuple[int, ...]
    tasks: int


class Launches:
    """Compiled kernels that run one after the other, as one step."""

    def __init__(self, launches: Sequence[Launch], target: Target | None = None) -> None:
        target = target or host_target()
        kernels = [replace(lower_kernel(one.kernel, target), name=f"k{i}") for i, one in enumerate(launches)]
        self._object = load_object(compile_object(emit_llvm(kernels, target), target))
        self._keep: list[object] = []
        self._calls = (_Call * len(launches))()
        for call, one, kernel in zip(self._calls, launches, kernels, strict=True):
            pointers = (ctypes.c_void_p * max(len(one.buffers), 1))(*(b.ctypes.data for b in one.buffers))
            sizes = (ctypes.c_int64 * max(len(one.sizes), 1))(*one.sizes)
            scratch = aligned(one.kernel.scratch_bytes, np.dtype(np.uint8))
            self._keep += [pointers, sizes, scratch, one.buffers]
            call.kernel, call.buffers = self._object.address(kernel.name), ctypes.addressof(pointers)
            call.sizes, call.tasks, call.scratch = ctypes.addressof(sizes), one.tasks, scratch.ctypes.data

    def seconds(self, launches: int = LAUNCHES) -> float:
        """Of one step, on one thread: the fastest batch of ``launches`` in all."""
        launch, count = _launcher(), len(self._calls)
        once = max(launch(self._calls, count, 3, 1), 1e-9)
        batch = int(min(max(BATCH_SECONDS / once, 1), launches))
        return float(launch(self._calls, count, launches, batch))

    def run(self) -> None:
        _launcher()(self._calls, len(self._calls), 1, 1)


def launches_of(
    kind: str,
    body: Graph,
    arrays: Sequence[Array],
    sizes: Mapping[str, int] | None = None,
    target: Target | None = None,
) -> tuple[Launches, list[Array]]:
    """The scheduled and compiled kernels of ``body`` on ``arrays``, and the arrays of its results."""
    target, given = target or host_target(), dict(sizes or {})
    region = schedule_region(kind, body, target)
    memory: dict[tuple[str, int], Array] = {}
    for k, (x, p) in enumerate(zip(arrays, body.parameters, strict=True)):
        memory["parameter", k] = aligned(x.size, p.dtype.numpy)
        memory["parameter", k][:] = x.reshape(-1)
    for k, r in enumerate(body.results):
        memory["result", k] = aligned(evaluate_size(r.tensor.size, given), r.dtype.numpy)
    for k, nbytes in enumerate(region.temporaries):
        memory["temporary", k] = aligned(nbytes, np.dtype(np.uint8))
    launches = []
    for call in region.calls:
        tasks = int(np.prod([-(-evaluate_size(extent, given) // grain) for extent, grain in call.tasks]))
        buffers = tuple(memory[o.kind, o.index] for o in call.operands)
        launches.append(Launch(call.kernel, buffers, tuple(evaluate_size(s, given) for s in call.sizes), tasks))
    results = [
        memory["result", k].reshape([evaluate_size(n, given) for n in r.shape]) for k, r in enumerate(body.results)
    ]
    return Launches(launches, target), results


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Zeros as the planned memory lies: at a multiple of 64 bytes, on huge pages where the system has some."""
    nbytes = size * dtype.itemsize
    area = mmap.mmap(-1, -(-max(nbytes, 1) // HUGE_PAGE) * HUGE_PAGE + HUGE_PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        area.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(area, np.uint8)
    start = -raw.ctypes.data % HUGE_PAGE
    return raw[start : start + nbytes].view(dtype)


def peak(dtype: DType = F32, target: Target | None = None) -> float:
    """Multiply-adds in registers, flops a second of one thread: what no kernel of this target can exceed."""
    target = target or host_target()
    lanes, sums, steps = target.lanes(dtype), 3 * target.vector_registers // 4, 1000
    b = KernelBuilder("peak")
    y = b.buffer("y", dtype, (sums, lanes), access="readwrite")
    with b.parallel((1, 1)):
        start = [b.load(y, (k, 0), lanes=lanes) for k in range(sums)]
        factor, one = b.constant(0.5, dtype, lanes), b.constant(1.0, dtype, lanes)
        with b.loop(0, steps, carried=start) as loop:
            b.yield_(*(b.op("fma", v, factor, one) for v in loop.carried))
        for k, v in enumerate(loop.results):
            b.store(y, (k, 0), v)
    once = Launches([Launch(b.build(), (aligned(sums * lanes, dtype.numpy),), (), 1)], target)
    return 2 * sums * lanes * steps / once.seconds(4000)


@cache
def _launcher() -> Any:
    """The C loop, compiled by the system's compiler."""
    folder = Path(tempfile.mkdtemp(prefix="mlc-bench-"))
    source, library = Path(__file__).with_name("launcher.c"), folder / "launcher.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    function = ctypes.CDLL(str(library)).mlc_bench_launch
    function.restype = ctypes.c_double
    function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    return function
