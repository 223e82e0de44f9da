"""The linker of kernel objects: damaged files are refused, never followed."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from mlc.runtime._array import Code

SOURCE = """
static const double table[4] = {1, 2, 3, 4};
static double twice(double x) { return 2 * x; }
double pick(int i) { double sum = 0; for (int k = 0; k <= i; k++) sum += twice(table[k & 3]); return sum; }
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    if shutil.which("cc") is None:
        pytest.skip("cc is not there")
    folder: Path = tmp_path_factory.mktemp("code")
    (folder / "code.c").write_text(SOURCE)
    command = ["cc", "-O0", "-fPIC", "-fno-stack-protector", "-c", "code.c", "-o", "code.o"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "code.o").read_bytes()


def test_constants_and_calls_are_linked(image: bytes) -> None:
    import ctypes

    code = Code(image)
    pick = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int)(code.address("pick"))
    assert [pick(i) for i in range(4)] == [2.0, 6.0, 12.0, 20.0]
    for name in ("missing", "table", ""):
        with pytest.raises(KeyError):
            code.address(name)


def test_damaged_objects_are_refused_or_harmless(image: bytes) -> None:
    chance = random.Random(0)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(image)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            Code(bytes(damaged[: chance.choice((len(damaged), chance.randrange(len(damaged))))])).address("pick")
        except (ValueError, KeyError):
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize("n", [0, 1, 63, 64, 200])
def test_what_is_no_object(n: int) -> None:
    with pytest.raises(ValueError, match="an object file of kernels: "):
        Code(b"\x7fELF" + b"\0" * n)


def test_an_outside_symbol_is_refused(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("cc is not there")
    (tmp_path / "code.c").write_text("double sin(double); double f(double x) { return sin(x); }")
    subprocess.run(["cc", "-O0", "-fPIC", "-c", "code.c"], cwd=tmp_path, check=True)
    with pytest.raises(ValueError, match="a symbol that it does not define"):
        Code((tmp_path / "code.o").read_bytes())
