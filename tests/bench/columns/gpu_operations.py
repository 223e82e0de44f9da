"""What is measured on a GPU by every library: the operations with their sizes, and how they are timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

KIBIBYTES = {"full": 256 << 10, "quick": 16}
SIDES = {"full": (512, 1024, 2048, 4096), "quick": (16,)}
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}  # mlc's names, and others'


@dataclass(frozen=True)
class Library:
    """How a library makes arrays on the GPU, waits for it, and does each operation on them, compiled if it compiles."""

    make: Callable[[tuple[int, ...], str], Any]
    wait: Callable[[Any], object]
    operations: Mapping[str, Callable[..., Any]]  # copy, elementwise, sum, softmax, matmul


def measure(library: Library, size: str, seconds: float) -> dict[str, float]:
    """By operation GB/s of what has to be read and written, and GFLOP/s of products."""
    n = KIBIBYTES[size] * 256  # elements of f32
    flat, rows = library.make((n,), "f32"), library.make((n // 1024, 1024), "f32")
    found: dict[str, float] = {}
    for name, x, passes in (("copy", flat, 2), ("elementwise", flat, 2), ("sum", flat, 1), ("softmax", rows, 2)):
        operation = library.operations[name]
        found[f"{name} GB/s"] = passes * 4 * n / least(lambda f=operation, x=x: f(x), library.wait, seconds) / 1e9
    for dtype in DTYPES:
        for side in SIDES[size]:
            a, b = (library.make((side, side), dtype) for _ in range(2))
            took = least(lambda a=a, b=b: library.operations["matmul"](a, b), library.wait, seconds)
            found[f"matmul {dtype} {side} GFLOP/s"] = 2 * side**3 / took / 1e9
    small = library.make((4,), "f32")
    took = least(lambda: library.operations["elementwise"](small), library.wait, seconds)
    return {**found, "small call us": took * 1e6}


def least(work: Callable[[], Any], wait: Callable[[Any], object], seconds: float, batch: float = 0.02) -> float:
    """The least seconds of one call over batches of calls, each waited for at its end."""
    wait(work())
    begin = time.perf_counter()
    wait(work())
    count = max(1, int(batch / max(time.perf_counter() - begin, 1e-7))) if seconds else 1
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        begin = time.perf_counter()
        for _ in range(count):
            last = work()
        wait(last)
        best = min(best, (time.perf_counter() - begin) / count)
    return best
