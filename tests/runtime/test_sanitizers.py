"""The runtime in C alone, compiled from source with the sanitizers and driven by driver.c."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mlc.ir.plan import encode
from mlc.runtime import header, sources

from .plans import counter, looped, overrun, stress

HERE = Path(__file__).resolve().parent
BUILDS = {
    "plain": ["-O2", "-DWITH_FORK"],
    "address": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DWITH_FORK"],
    "thread": ["-O1", "-fsanitize=thread"],  # it does not support threads in a child after fork
}


@pytest.mark.parametrize("build", BUILDS)
def test_driver(cc: str, build: str, tmp_path: Path) -> None:
    flags = ["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{header().parent}", *BUILDS[build]]
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if subprocess.run([cc, *flags, probe, "-o", tmp_path / "probe"], capture_output=True).returncode:
        pytest.skip(f"needs a C compiler with {BUILDS[build][1]}, which is not here")
    driver = tmp_path / "driver"
    subprocess.run([cc, *flags, HERE / "driver.c", HERE / "kernels.c", *sources(), "-o", driver], check=True)
    for plan in (stress(), counter(), looped(), overrun()):
        (tmp_path / f"{plan.name}.plan").write_bytes(encode(plan))
    options = {"ASAN_OPTIONS": "detect_leaks=1", "TSAN_OPTIONS": "halt_on_error=1"}
    result = subprocess.run([driver, tmp_path], env=os.environ | options, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-4000:]


def test_binding(cc: str, tmp_path: Path) -> None:
    """The binding with the address sanitizer, under its own tests: arrays, damaged objects, calls of all kinds."""
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    libraries = [
        subprocess.run([cc, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(Path(library).is_absolute() for library in libraries):
        pytest.skip(f"{cc} has no libraries of sanitizers")
    extension = tmp_path / "_array.abi3.so"
    runtime = header().parent
    include = [f"-I{runtime}", f"-I{runtime / 'binding'}", f"-I{sysconfig.get_path('include')}"]
    c_files = [*sources(), *(runtime / "binding").glob("*.c")]
    flags = ["-std=c11", "-w", "-O1", "-g1", "-fPIC", "-shared", "-pthread", "-DPy_LIMITED_API=0x030B0000"]
    subprocess.run([cc, *flags, *sanitize, *include, *c_files, "-o", extension], check=True)
    environment = os.environ | {
        "LD_PRELOAD": ":".join(libraries), "PYTHONMALLOC": "malloc", "MLC_SANITIZED": str(extension),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1", "MLC_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.runtime.sanitized", "-p", "no:cacheprovider"]
    tests = ["tests/runtime/test_code.py", "tests/runtime/test_array.py", "tests/driver/test_calls.py"]
    tests += ["tests/device/test_failures.py", "tests/device/test_graphs.py"]
    done = subprocess.run(
        [*command, *tests, "-k", "not costs and not interrupt"], env=environment, cwd=HERE.parents[1],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
