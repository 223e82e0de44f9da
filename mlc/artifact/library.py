"""An emitted shared library in this process: loaded from bytes, its descriptor read as runtime/mlc.h lays it out."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlc.errors import ArtifactError

_ABI = 1  # MLC_ABI
_SANE = 1 << 20  # no library has more functions, variants or kernels


class _Variant(ctypes.Structure):
    _fields_ = (
        ("level", ctypes.c_uint32),
        ("plan", ctypes.c_void_p),
        ("plan_bytes", ctypes.c_size_t),
        ("kernels", ctypes.POINTER(ctypes.c_void_p)),
        ("n_kernels", ctypes.c_size_t),
    )


class _Function(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("variants", ctypes.POINTER(_Variant)),
        ("n_variants", ctypes.c_size_t),
        ("constants", ctypes.POINTER(ctypes.c_uint32)),
        ("n_constants", ctypes.c_size_t),
        ("program", ctypes.c_void_p),
    )


class _Library(ctypes.Structure):
    _fields_ = (
        ("abi", ctypes.c_uint32),
        ("functions", ctypes.POINTER(_Function)),
        ("n_functions", ctypes.c_size_t),
        ("constants", ctypes.c_void_p),
        ("n_constants", ctypes.c_size_t),
    )


@dataclass(frozen=True, slots=True)
class LoadedVariant:
    """One variant of a function in memory."""

    level: int
    plan: bytes
    kernels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoadedFunction:
    """One function in memory; ``constants`` are places in the library's table."""

    name: str
    variants: tuple[LoadedVariant, ...]
    constants: tuple[int, ...]


class Library:
    """A library that was loaded from ``data`` and stays loaded while this object lives and after.

    The file that the loader maps lies in a folder of its own that only this user may enter, and is gone when the
    constructor returns. Raises ArtifactError for what the loader refuses and for another ABI.
    """

    def __init__(self, data: memoryview, name: str, prefix: str) -> None:
        self._handle = _load(data, name)
        try:
            accessor = self._handle[f"{prefix}_library"]
        except AttributeError:
            raise ArtifactError(f"{name} is no library of mlc: it has no {prefix}_library") from None
        accessor.restype = ctypes.POINTER(_Library)
        library = accessor().contents
        if library.abi != _ABI:
            raise ArtifactError(f"{name} has ABI {library.abi}, this mlc runs ABI {_ABI}", hint="compile it again")
        self.constants = library.n_constants
        self.functions = [_function(library.functions[i]) for i in range(_count(library.n_functions, name))]


def _load(data: memoryview, name: str) -> ctypes.CDLL:
    """Through a temporary folder, else (where that may not hold programs) through memory without a file."""
    with tempfile.TemporaryDirectory(prefix="mlc-") as folder:  # mode 0700
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            return ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
        except OSError as first:
            error = first
    handle = os.memfd_create(name)
    try:
        os.write(handle, data)
        return ctypes.CDLL(f"/proc/self/fd/{handle}", mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError:
        raise ArtifactError(f"{name} does not load: {error}") from error
    finally:
        os.close(handle)


def _function(function: _Function) -> LoadedFunction:
    name = function.name.decode()
    variants = [_variant(function.variants[i], name) for i in range(_count(function.n_variants, name))]
    count = _count(function.n_constants, name)
    places: Sequence[int] = function.constants[:count] if count else ()
    return LoadedFunction(name, tuple(variants), tuple(places))


def _variant(variant: _Variant, name: str) -> LoadedVariant:
    kernels = variant.kernels[: _count(variant.n_kernels, name)]
    return LoadedVariant(variant.level, ctypes.string_at(variant.plan, variant.plan_bytes), tuple(kernels))


def _count(count: int, name: str) -> int:
    if count > _SANE:
        raise ArtifactError(f"{name}: a damaged descriptor: {count} entries")
    return count
