"""The runtime in C alone, compiled from source with the sanitizers and driven by driver.c."""

from __future__ import annotations

import os
import subprocess
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
