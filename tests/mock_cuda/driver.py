"""Builds the mock of libcuda.so and answers its callbacks: modules are parsed, launches interpreted."""

from __future__ import annotations

import atexit
import ctypes
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from tests.ptx.errors import PtxError
from tests.ptx.program import Program

from .host_memory import HostMemory

HERE = Path(__file__).resolve().parent
RUNTIME = HERE.parent.parent / "runtime"
NO_BINARY, INVALID_PTX, OUT_OF_MEMORY, ILLEGAL_ADDRESS, LAUNCH_FAILED = 209, 218, 2, 700, 719

_LONG, _TEXT, _SIZE = ctypes.c_long, ctypes.c_char_p, ctypes.c_size_t
_ADDRESS, _UNSIGNED, _INT = ctypes.c_uint64, ctypes.c_uint, ctypes.c_int
_LOG, _PARAMETERS = ctypes.POINTER(ctypes.c_char), ctypes.POINTER(ctypes.c_uint64)


class _Callbacks(ctypes.Structure):
    _fields_ = (
        ("load", ctypes.CFUNCTYPE(ctypes.c_int, _LONG, _TEXT, _LOG, _SIZE)),
        ("unload", ctypes.CFUNCTYPE(None, _LONG)),
        ("parameters", ctypes.CFUNCTYPE(ctypes.c_int, _LONG, _TEXT)),
        (
            "launch",
            ctypes.CFUNCTYPE(_INT, _LONG, _TEXT, _UNSIGNED, _UNSIGNED, _UNSIGNED, _PARAMETERS, _INT),
        ),
        ("allocated", ctypes.CFUNCTYPE(None, _ADDRESS, _SIZE)),
        ("freed", ctypes.CFUNCTYPE(None, _ADDRESS)),
        ("written", ctypes.CFUNCTYPE(None, _ADDRESS, _SIZE)),
        ("copied", ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS, _SIZE)),
    )


_ALIVE: list[MockDriver] = []


def build(folder: Path, cc: str) -> Path:
    """The library, made in ``folder`` by the C compiler ``cc``."""
    library = folder / "libmockcuda.so"
    command = [cc, "-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, f"-I{RUNTIME}", "-o", library, HERE / "mock_cuda.c"], check=True)
    return library


class MockDriver:
    """``library`` is what MLC_LIBCUDA names. ``errors`` are what the interpreter found; ``launched`` counts kernels.

    ``reset`` begins anew with another machine; ``fail`` has a function of the driver fail.
    """

    def __init__(self, library: Path) -> None:
        self.library = library
        self._c = ctypes.CDLL(str(self.library))
        self._c.mock_used.restype = _SIZE
        self._c.mock_count.restype = _LONG
        self._c.mock_reset.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, _SIZE, ctypes.c_int)
        self._programs: dict[int, Program] = {}
        self.memory = HostMemory()
        self.errors: list[PtxError] = []
        self.launched: Counter[str] = Counter()
        self.images: list[str] = []
        self._callbacks = _Callbacks(**{name: kind(getattr(self, f"_{name}")) for name, kind in _Callbacks._fields_})
        _ALIVE.append(self)  # what mlc opened may outlive the tests, and calls back when it goes
        atexit.register(self._c.mock_set_callbacks, ctypes.byref(_Callbacks()))
        self._c.mock_set_callbacks(ctypes.byref(self._callbacks))
        self.reset()

    def reset(
        self, devices: int = 1, capability: tuple[int, int] = (8, 0), memory: int = 1 << 30, pools: bool = True
    ) -> None:
        self._c.mock_reset(devices, *capability, memory, int(pools))
        self.errors.clear()
        self.launched.clear()
        self.images.clear()

    def fail(self, function: str, result: int, after: int = 0) -> None:
        """The next call of ``function``, after so many others, gives ``result``."""
        self._c.mock_fail(function.encode(), after, result)

    def count(self, function: str) -> int:
        """Calls of a function of the driver since the reset."""
        return int(self._c.mock_count(function.encode()))

    @property
    def used(self) -> int:
        """Bytes that are allocated."""
        return int(self._c.mock_used())

    # ------------------------------------------------------------ callbacks

    def _load(self, module: int, image: bytes, log: Any, log_bytes: int) -> int:
        if image.startswith(b"\x7fELF"):
            return NO_BINARY  # for another device than this one
        text = image.decode()
        try:
            self._programs[module] = Program(text)
        except PtxError as error:
            words = f"ptxas error: {error}".encode()[: log_bytes - 1] + b"\0"
            ctypes.memmove(log, words, len(words))
            return INVALID_PTX
        self.images.append(text)
        return 0

    def _unload(self, module: int) -> None:
        del self._programs[module]

    def _parameters(self, module: int, name: bytes) -> int:
        kernel = self._programs[module].module.kernels.get(name.decode())
        return -1 if kernel is None else len(kernel.parameters)

    def _launch(
        self, module: int, name: bytes, blocks: int, threads: int, shared: int, parameters: Any, count: int
    ) -> int:
        self.launched[name.decode()] += 1
        try:
            self._programs[module].launch(
                name.decode(), grid=(blocks, 1, 1), block=(threads, 1, 1), arguments=list(parameters[:count]),
                memory=self.memory, shared_bytes=shared,
            )  # fmt: skip
        except PtxError as error:
            self.errors.append(error)
            return ILLEGAL_ADDRESS if error.kind == "out_of_bounds" else LAUNCH_FAILED
        return 0

    def _allocated(self, address: int, size: int) -> None:
        self.memory.adopt(address, size)

    def _freed(self, address: int) -> None:
        self.memory.free(address)

    def _written(self, address: int, size: int) -> None:
        self.memory.note_written(address, size)

    def _copied(self, to: int, source: int, size: int) -> None:
        self.memory.note_copied(to, source, size)
