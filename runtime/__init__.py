"""The C runtime and its Python binding: walks Plans on a thread pool, holds arrays, ships itself for AOT linking."""

from __future__ import annotations

import os
from pathlib import Path

from mlc.runtime._array import ArrayBase, Code, Device, Executable, Function, _after_fork, num_threads, set_num_threads

HERE = Path(__file__).resolve().parent

os.register_at_fork(after_in_child=_after_fork)


def runtime_object() -> Path:
    """The runtime as one relocatable, position-independent object (needs libc only), for linking without a compiler."""
    return HERE / "mlc_runtime.o"


def header() -> Path:
    """The public header ``mlc.h`` that a C program includes."""
    return HERE / "mlc.h"


def sources() -> list[Path]:
    """The C sources of the runtime, for compiling it for another target; headers lie beside them."""
    return sorted(HERE.glob("*.c"))


__all__ = [
    "ArrayBase", "Code", "Device", "Executable", "Function", "header", "num_threads", "runtime_object",
    "set_num_threads", "sources",
]  # fmt: skip
