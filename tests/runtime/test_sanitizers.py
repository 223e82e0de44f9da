"""The runtime in C alone, compiled from source with the sanitizers and driven by driver.c."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from mlc.ir.plan import encode
from mlc.runtime import header, sources
from tests.sanitized import WARNINGS, sanitizer_flags

from .plans import counter, looped, overrun, stress

HERE = Path(__file__).resolve().parent
BUILDS = {
    "plain": ["-O2", "-DWITH_FORK"],
    "address": [*sanitizer_flags("address,undefined"), "-DWITH_FORK"],
    "thread": sanitizer_flags("thread"),  # it does not support threads in a child after fork
}
SANITIZERS = {"address": "address,undefined", "thread": "thread"}
Objects = Callable[[str], list[Path]]


@pytest.mark.parametrize("build", BUILDS)
def test_driver(cc: str, build: str, tmp_path: Path, sanitized_runtime: Objects) -> None:
    flags = [*WARNINGS, f"-I{header().parent}", *BUILDS[build]]
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if subprocess.run([cc, *flags, probe, "-o", tmp_path / "probe"], capture_output=True).returncode:
        pytest.skip(f"needs a C compiler with {BUILDS[build][1]}, which is not here")
    driver = tmp_path / "driver"
    runtime = sanitized_runtime(SANITIZERS[build]) if build in SANITIZERS else sources()
    subprocess.run([cc, *flags, HERE / "driver.c", HERE / "kernels.c", *runtime, "-o", driver], check=True)
    for plan in (stress(), counter(), looped(), overrun()):
        (tmp_path / f"{plan.name}.plan").write_bytes(encode(plan))
    options = {"ASAN_OPTIONS": "detect_leaks=1", "TSAN_OPTIONS": "halt_on_error=1"}
    result = subprocess.run([driver, tmp_path], env=os.environ | options, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-4000:]


def test_binding(cc: str, tmp_path: Path, sanitized_runtime: Objects) -> None:
    """The binding with the address sanitizer, under its own tests: arrays, damaged objects, calls of all kinds."""
    libraries = [
        subprocess.run([cc, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(Path(library).is_absolute() for library in libraries):
        pytest.skip(f"{cc} has no libraries of sanitizers")
    extension = tmp_path / "_array.abi3.so"
    runtime = header().parent
    include = [f"-I{runtime}", f"-I{runtime / 'binding'}", f"-I{sysconfig.get_path('include')}"]
    files = [*sanitized_runtime("address,undefined"), *(runtime / "binding").glob("*.c")]
    flags = ["-std=c11", "-w", "-g1", "-fPIC", "-shared", "-pthread", "-DPy_LIMITED_API=0x030B0000"]
    subprocess.run([cc, *flags, *sanitizer_flags("address,undefined"), *include, *files, "-o", extension], check=True)
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
