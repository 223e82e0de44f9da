"""All-reduces of one rank: as the step of a program, and by the MPI library's own calls, in turns.

Every rank of a world runs this; rank 0 prints one JSON object, times in seconds by bytes. The program is a Plan of one
collective, so that what is measured is what mlc does around a library's call.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.ir.plan import BufferRef, CollectiveDone, CollectiveStart, Plan, PlanInput, PlanOutput, encode
from mlc.ir.types import F32, TensorType
from mlc.runtime import header
from mlc.runtime._rt import ffi, lib

Array = npt.NDArray[Any]
SOURCES = ("mpi_library.c", "error.c")
LIBRARIES = str(Path(sys.prefix) / "lib").encode()
BATCH_BYTES = 1 << 16  # in a batch, which is short so that some run undisturbed
MOST, FEWEST = 64, 4  # repeats in a batch: a rank that comes late finds its first one half done
ROUND_BYTES = 8 << 20  # in the batches of a round


def main(sizes: Sequence[int], rounds: int) -> None:
    world, text = ffi.new("struct mlc_world **"), ffi.new("char[4096]")
    if lib.mlc_mpi_open(ffi.new("char[]", LIBRARIES), world, text, len(text)):
        raise SystemExit(ffi.string(text).decode())
    raw = _library()
    found = {str(size): _measure(raw, world[0], size, rounds) for size in sizes}
    if lib.mlc_world_rank(world[0]) == 0:
        print(json.dumps(found))
    lib.mlc_world_close(world[0])


def _measure(raw: ctypes.CDLL, world: Any, size: int, rounds: int) -> dict[str, float]:
    """The least time of a batch, of each way; both begin in every other round."""
    count, ranks = size // 4, lib.mlc_world_size(world)
    step = _Step(world, count)
    own = aligned(count)
    repeats = min(max(BATCH_BYTES // size, FEWEST), MOST)
    batches = min(max(ROUND_BYTES // (size * repeats), 1), 20)
    times: dict[str, list[float]] = {"raw": [], "step": []}
    for i in range(rounds + 1):  # the first one warms up
        for way in sorted(times, reverse=bool(i % 2)):
            buffer = own if way == "raw" else step.buffer
            buffer[:] = np.arange(count) % 7
            _seconds(raw, way, buffer, step, 1, 1)
            if not np.array_equal(buffer, np.arange(count) % 7 * ranks):
                raise SystemExit(f"{way}: the sum of {size} bytes is wrong")
            buffer[:] = 0
            seconds = _seconds(raw, way, buffer, step, repeats, batches)
            times[way] += [seconds] if i else []
    return {way: min(ts) for way, ts in times.items()}


def _seconds(raw: ctypes.CDLL, way: str, buffer: Array, step: _Step, repeats: int, batches: int) -> float:
    """The least time of an all-reduce in ``batches`` of ``repeats``."""
    counts = ctypes.c_int64(repeats), ctypes.c_int64(batches)
    if way == "raw":
        found = raw.mlc_bench_raw(ctypes.c_void_p(buffer.ctypes.data), ctypes.c_int64(buffer.size), *counts)
    else:
        found = raw.mlc_bench_step(*step.call(), *counts)
    if found < 0:
        raise SystemExit(f"{way}: an all-reduce of {buffer.nbytes} bytes failed: {step.error()}")
    return float(found)


class _Step:
    """A program whose one step all-reduces its donated input in place."""

    def __init__(self, world: Any, count: int) -> None:
        self.buffer = aligned(count)
        binary = ffi.from_buffer(encode(_plan(count, lib.mlc_world_size(world))))
        program, context, text = (
            ffi.new("struct mlc_program **"),
            ffi.new("struct mlc_context **"),
            ffi.new("char[512]"),
        )
        none = ffi.NULL
        if lib.mlc_program_create(binary, len(binary), none, 0, none, 0, program, text, len(text)):
            raise SystemExit(ffi.string(text).decode())
        if lib.mlc_context_create(1, context):
            raise SystemExit("no context")
        lib.mlc_context_set_world(context[0], world)
        self.program, self.context = program[0], context[0]
        self.pointers = ffi.new("void *[]", [ffi.cast("void *", self.buffer.ctypes.data)])

    def call(self) -> list[ctypes.c_void_p]:
        """What calls the program: the function and its arguments."""
        words = (ffi.addressof(lib, "mlc_program_run"), self.program, self.context, self.pointers, self.pointers)
        return [ctypes.c_void_p(int(ffi.cast("uintptr_t", word))) for word in words]

    def error(self) -> str:
        return str(ffi.string(lib.mlc_context_error(self.context)).decode())


def aligned(count: int) -> Array:
    """Zeros at a multiple of 4 KB: large sums take their time by where their operands lie, too."""
    memory = np.zeros(count + 1024, np.float32)
    return memory[-memory.ctypes.data % 4096 // 4 :][:count]


def _plan(count: int, ranks: int) -> Plan:
    vector, groups = TensorType((count,), F32), (tuple(range(ranks)),)
    place = BufferRef("output", 0, 0)
    steps = (
        CollectiveStart("all_reduce", 0, place, place, count, F32, groups, label="all_reduce of the benchmark"),
        CollectiveDone(0),
    )
    return Plan("step", (), (PlanInput("x", vector, 0),), (PlanOutput("y", vector),), (), 0, 0, (), steps)


def _library() -> ctypes.CDLL:
    """collective.c, compiled, over the MPI that runs in this process."""
    runtime = header().parent
    sources = [Path(__file__).parents[1] / "collective.c", *(runtime / name for name in SOURCES)]
    with tempfile.TemporaryDirectory(prefix="mlc-bench-") as folder:
        output = str(Path(folder) / "collective.so")
        command = ["cc", "-O2", "-std=gnu11", "-shared", "-fPIC", f"-I{runtime}", *map(str, sources), "-o", output]
        subprocess.run(command, check=True)
        library = ctypes.CDLL(output)
    text = ctypes.create_string_buffer(4096)
    if library.mlc_bench_open(LIBRARIES, text, ctypes.c_size_t(len(text))):
        raise SystemExit(text.value.decode())
    library.mlc_bench_raw.restype = library.mlc_bench_step.restype = ctypes.c_double
    return library


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1].split(",")], int(sys.argv[2]))
