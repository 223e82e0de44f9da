"""What the wheel ships for ahead-of-time linking: the header, the sources and the relocatable object."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mlc.runtime import header, runtime_object, sources
from mlc.runtime._rt import ffi, lib

PROGRAM = """
#include "mlc.h"
int main(void) {
    struct mlc_context *context;
    if (mlc_context_create(2, &context)) return 1;
    int threads = mlc_context_threads(context);
    mlc_context_destroy(context);
    return threads == 2 && mlc_cpu_count() >= 1 ? 0 : 2;
}
"""
STRICT = ["-Wall", "-Wextra", "-Werror", f"-I{header().parent}"]


def test_the_object_needs_libc_only(cc: str, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(PROGRAM)
    command = [cc, "-std=c11", *STRICT, "main.c", str(runtime_object()), "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], check=True)


def test_the_object_links_into_a_library_without_a_compiler(tmp_path: Path) -> None:
    linker = shutil.which("ld")
    if linker is None:
        pytest.skip("needs ld, which is not here")
    library = tmp_path / "library.so"
    subprocess.run([linker, "-shared", "-o", library, runtime_object(), "--no-undefined", "-lc"], check=True)
    loaded = ffi.dlopen(str(library))
    assert ffi.dlclose(loaded) is None


def test_the_sources_compile_alone(cc: str, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(PROGRAM)
    command = [cc, "-std=c11", "-O1", *STRICT, "-pthread", "main.c", *map(str, sources()), "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], check=True)


def test_the_header_is_cxx(tmp_path: Path) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs the C++ compiler c++, which is not here")
    (tmp_path / "main.cc").write_text(PROGRAM)
    subprocess.run([compiler, *STRICT, "main.cc", runtime_object(), "-o", "main"], cwd=tmp_path, check=True)


def test_cpu_level_agrees_with_the_kernel() -> None:
    """/proc/cpuinfo is the kernel's own reading of cpuid and of the register state it saves."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split("flags")[1].split("\n")[0].split()) if cpuinfo.exists() else set()
    if not flags:
        pytest.skip("needs /proc/cpuinfo with x86 flags, which is not here")
    v3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"} <= flags
    v4 = v3 and {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags
    assert lib.mlc_cpu_level() == (4 if v4 else 3 if v3 else 0)
