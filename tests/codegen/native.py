"""Compiles kernels and runs them on NumPy arrays, for tests."""

from __future__ import annotations

import ctypes
import itertools
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.codegen import compile_object, emit_llvm, load_object
from mlc.ir.kernel import IndexVariable, Kernel
from mlc.ir.target import X86_64_V3, X86_64_V4, Target, host_target
from mlc.passes.kernels import lower_kernel

Array = npt.NDArray[Any]
TARGETS = [X86_64_V3] if host_target() == X86_64_V3 else [X86_64_V3, X86_64_V4]
_SIGNATURE = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 2, *(ctypes.c_int64,) * 2, ctypes.c_void_p)


class Native:
    """Kernels compiled into one object; ``run`` executes all iterations of one of them."""

    def __init__(self, kernels: Sequence[Kernel], target: Target) -> None:
        self.kernels = {k.name: k for k in kernels}
        self.text = emit_llvm([lower_kernel(k, target) for k in kernels], target)
        code = compile_object(self.text, target)
        assert undefined_symbols(code) == set()
        self.object = load_object(code)

    def run(self, name: str, buffers: Sequence[Array], sizes: Sequence[int] = (), cuts: Sequence[int] = ()) -> None:
        """In place; ``cuts`` splits the iterations into several calls."""
        kernel = self.kernels[name]
        values = {IndexVariable("n", k): n for k, n in enumerate(sizes)}
        total = 1
        for extent, grain in zip(kernel.extents, kernel.grains, strict=True):
            total *= -(-extent.evaluate(values) // grain)
        pointers = (ctypes.c_void_p * max(len(buffers), 1))(*(b.ctypes.data for b in buffers))
        numbers = (ctypes.c_int64 * max(len(sizes), 1))(*sizes)
        scratch = np.zeros(kernel.scratch_bytes + 64, np.uint8)
        aligned = scratch.ctypes.data + -scratch.ctypes.data % 64
        function = _SIGNATURE(self.object.address(name))
        edges = [0, *cuts, total]
        for begin, end in itertools.pairwise(edges):
            function(pointers, numbers, begin, end, aligned)


def run(kernel: Kernel, buffers: Sequence[Array], sizes: Sequence[int] = (), target: Target | None = None) -> None:
    Native([kernel], target or host_target()).run(kernel.name, buffers, sizes)


def undefined_symbols(code: bytes) -> set[str]:
    """Names that a 64-bit ELF object uses and does not define."""
    (sections,), (count,) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<H", code, 60)
    headers = [struct.unpack_from("<IIQQQQIIQQ", code, sections + 64 * k) for k in range(count)]
    names: set[str] = set()
    for _, kind, _, _, offset, size, link, _, _, _ in headers:
        if kind == 2:  # the symbol table; its strings are in section ``link``
            for at in range(offset + 24, offset + size, 24):
                name, _, _, section, _, _ = struct.unpack_from("<IBBHQQ", code, at)
                start = headers[link][4] + name
                if section == 0:
                    names.add(code[start : code.index(b"\0", start)].decode())
    return names


def ulps(result: Array, expected: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Distance to ``expected`` (of a wider type) in units of the last place of the result's type.

    Zero where both are NaN or the same infinity, infinite where only one is.
    """
    import ml_dtypes

    info = ml_dtypes.finfo(result.dtype)
    with np.errstate(all="ignore"):
        rounded = expected.astype(result.dtype)
        exponent = np.maximum(np.frexp(np.abs(expected))[1] - 1, int(info.minexp))
        unit = np.ldexp(np.longdouble(1), exponent - int(info.nmant))
        distance = np.abs(result.astype(np.longdouble) - expected) / unit
        same = (rounded == result) | (np.isnan(rounded) & np.isnan(result))
        regular = np.isfinite(rounded.astype(np.float64)) & np.isfinite(result.astype(np.float64))
    return np.where(regular, distance, np.where(same, 0.0, np.inf)).astype(np.float64)
