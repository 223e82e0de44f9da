"""Emitted libraries from C: Python's bits with every linker, clean under valgrind and the sanitizers."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mlc import runtime
from mlc.artifact.link import available_linkers, find_linker, link_shared
from mlc.artifact.loading import load
from mlc.errors import TargetError, UnsupportedError
from mlc.runtime import _rt
from tests.artifact.conftest import emit
from tests.artifact.made_by_hand import COLUMNS
from tests.sanitized import sanitizer_flags

PROGRAM = Path(__file__).parent / "predict.c"
STRICT = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
ROWS = 37

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc")
needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
runs_v3 = pytest.mark.skipif(_rt.lib.mlc_cpu_level() < 3, reason="needs x86-64-v3")


def rows() -> npt.NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=(ROWS, COLUMNS)).astype(np.float32)


def from_python(artifact: Path, target: str | None = None) -> npt.NDArray[np.float32]:
    return np.asarray(load(artifact, target=target).predict(x=rows())["probs"])


def run_command(
    library: Path,
    folder: Path,
    x: npt.NDArray[np.float32],
    classes: int,
    *,
    threads: int = 2,
    wrapper: Sequence[str] = (),
    sanitizer: str | None = None,
    sanitized: Sequence[Path] = (),
) -> npt.NDArray[np.float32]:
    """What predict.c, linked with `library` and its header, prints for the rows of `x`, exactly.

    With a sanitizer the runtime is that of the objects in ``sanitized``; an archive's own runtime is then not taken.
    """
    program = folder / "predict"
    flags: list[str | Path] = []
    if sanitizer:
        flags = [*sanitizer_flags(sanitizer), *sanitized]
        if _may_fix_layout():
            wrapper = ("setarch", "-R")
    compile = ["cc", *STRICT, f"-I{library.parent}", PROGRAM, *flags, library, "-o", program]
    subprocess.run([*map(str, compile), f"-Wl,-rpath,{library.parent}"], check=True)
    x.tofile(folder / "x.f32")
    command = [*wrapper, str(program), str(folder / "x.f32"), str(x.shape[1]), str(classes), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return np.array([[float.fromhex(n) for n in line.split()] for line in done.stdout.splitlines()], np.float32)


def test_the_program_is_short() -> None:
    assert len(PROGRAM.read_text().splitlines()) < 60


@needs_cc
@pytest.mark.parametrize("name", ["libm.so", "libm.a"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_c_program_prints_pythons_bits(built: Path, tmp_path: Path, name: str, threads: int) -> None:
    got = run_command(built / name, tmp_path, rows(), COLUMNS, threads=threads)
    assert np.array_equal(got.view(np.uint32), from_python(built / "m.mlc").view(np.uint32))


@needs_cc
@pytest.mark.parametrize("linker", available_linkers())
def test_every_linker_makes_the_same_library(built: Path, tmp_path: Path, linker: str) -> None:
    library = emit(tmp_path, "libm.so", linker)
    got = run_command(library, tmp_path, rows(), COLUMNS)
    assert np.array_equal(got.view(np.uint32), from_python(built / "m.mlc").view(np.uint32))


@needs_cc
def test_the_library_exports_its_names_alone(built: Path) -> None:
    """Nothing but the entries and the runtime's public functions; nothing but libc is needed."""
    listed = subprocess.run(["nm", "-D", built / "libm.so"], capture_output=True, text=True, check=True).stdout
    defined = {line.split()[-1] for line in listed.splitlines() if line.split()[-2] in "TDBR"}
    assert {"m_predict", "m_elements", "m_library", "mlc_context_create"} <= defined
    assert all(name.startswith(("m_", "mlc_")) for name in defined)
    dynamic = subprocess.run(["readelf", "-d", built / "libm.so"], capture_output=True, text=True, check=True).stdout
    needed = [line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "NEEDED" in line]
    assert set(needed) <= {"libc.so.6", "libpthread.so.0"} and "libm.so]" in dynamic


@needs_cc
def test_the_header_is_enough_for_c_and_cpp(built: Path, tmp_path: Path) -> None:
    """On its own, beside the runtime's header in either order, and twice."""
    text = '#include "libm.h"\n#include "mlc.h"\n#include "libm.h"\nint f(void) { return m_predict(0, 1, 0, 0); }\n'
    other = '#include "mlc.h"\n#include "libm.h"\nstruct mlc_library *g(void) { return m_library(); }\n'
    for source in (text, other):
        for language in ("c", "c++") if shutil.which("c++") else ("c",):
            flags = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{built}", f"-I{runtime.header().parent}"]
            subprocess.run(["cc", "-x", language, *flags, "-"], input=source, text=True, check=True)


@needs_cc
def test_mistakes_are_told_and_not_crashed_on(built: Path) -> None:
    library = ctypes.CDLL(str(built / "libm.so"))
    library.mlc_context_error.restype = ctypes.c_char_p
    context = ctypes.c_void_p()
    assert library.mlc_context_create(1, ctypes.byref(context)) == 0
    x, room = np.zeros((64, 5), np.float32), np.zeros(64 * 5 + 32, np.float32)
    probs = room[-room.ctypes.data % 64 // 4 :]
    call = lambda c, n, a, b: library.m_predict(c, ctypes.c_int64(n), a, b)  # noqa: E731
    pointers = ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(probs.ctypes.data)
    assert call(None, 1, *pointers) == -22
    assert call(context, 65, *pointers) == -22
    assert b"batch" in library.mlc_context_error(context)
    assert call(context, -1, *pointers) == -22
    assert call(context, 2, None, pointers[1]) == -22
    assert call(context, 1, pointers[0], ctypes.c_void_p(probs.ctypes.data + 16)) == -22
    assert b"probs is not aligned to 64 bytes" in library.mlc_context_error(context)
    assert call(context, 1, ctypes.c_void_p(x.ctypes.data + 2), pointers[1]) == -22
    assert call(context, 64, *pointers) == 0
    library.mlc_context_destroy(context)


@needs_cc
def test_weights_beside_the_library_are_handed_over(built: Path, tmp_path: Path) -> None:
    """The library inside an artifact, used from C: -ENODATA until its weights are set."""
    from mlc.artifact.package import Package
    from tests.artifact.made_by_hand import B, W

    held = Package(built / "m.mlc")
    (tmp_path / "libm.so").write_bytes(held.member("libm.so"))
    assert "0: w, f32[5]" in bytes(held.member("libm.h")).decode()
    library = ctypes.CDLL(str(tmp_path / "libm.so"))
    library.m_library.restype = ctypes.c_void_p
    context = ctypes.c_void_p()
    assert library.mlc_context_create(1, ctypes.byref(context)) == 0
    space = np.zeros(512, np.uint8)
    begin = -space.ctypes.data % 64
    places = [space[begin + i * 64 : begin + i * 64 + 20].view(np.float32) for i in range(4)]
    w, b, x, probs = places
    w[:], b[:], x[:] = W, B, 0
    address = [ctypes.c_void_p(p.ctypes.data) for p in places]
    assert library.m_predict(context, ctypes.c_int64(1), address[2], address[3]) == -61
    own, size = ctypes.c_void_p(library.m_library()), ctypes.c_size_t(20)
    for i in range(2):
        assert library.mlc_library_set_constant(own, ctypes.c_size_t(i), address[i], size) == 0
    assert library.m_predict(context, ctypes.c_int64(1), address[2], address[3]) == 0
    assert np.array_equal(probs, B)
    library.mlc_context_destroy(context)


@needs_cc
@needs_valgrind
@runs_v3
def test_valgrind_is_silent_and_the_v3_bits_are_pythons(built: Path, tmp_path: Path) -> None:
    """Valgrind hides AVX-512, so the v3 kernels run."""
    wrapper = ("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all")
    got = run_command(built / "libm.so", tmp_path, rows(), COLUMNS, wrapper=wrapper)
    assert np.array_equal(got.view(np.uint32), from_python(built / "m.mlc", "x86-64-v3").view(np.uint32))


@needs_cc
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_are_silent(
    built: Path, tmp_path: Path, sanitizer: str, sanitized_runtime: Callable[[str], list[Path]]
) -> None:
    sanitized = sanitized_runtime(sanitizer)
    got = run_command(built / "libm.a", tmp_path, rows(), COLUMNS, sanitizer=sanitizer, sanitized=sanitized)
    assert np.array_equal(got.view(np.uint32), from_python(built / "m.mlc").view(np.uint32))


def _may_fix_layout() -> bool:
    """ThreadSanitizer wants a fixed memory layout on some kernels; some containers do not allow that."""
    found = shutil.which("setarch")
    return bool(found) and subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode == 0


def test_a_missing_linker_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TargetError, match="no linker"):
        find_linker()
    with pytest.raises(TargetError, match="'cc' is not on this machine"):
        link_shared([], tmp_path / "lib.so", "cc")


@needs_cc
def test_a_failing_link_repeats_the_linkers_words(tmp_path: Path) -> None:
    (tmp_path / "bad.o").write_text("no object")
    with pytest.raises(UnsupportedError, match=r"cc could not link lib.so:\n.*bad.o"):
        link_shared([tmp_path / "bad.o"], tmp_path / "lib.so", "cc")
    assert os.listdir(tmp_path) == ["bad.o"]
