"""The reductions that MPI calls back for: bit by bit, with the CPU's conversions and without, against NumPy."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlc.ir import extremes
from mlc.ir.types import DTYPES

from .launchers import ROOT
from .world import REDUCTIONS

RUNTIME = ROOT / "runtime"
UFUNCS: dict[str, Any] = {
    "add": np.add, "multiply": np.multiply, "maximum": extremes.maximum, "minimum": extremes.minimum,
}  # fmt: skip


@pytest.fixture(scope="module", params=["portable", "this CPU"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs the C compiler cc, which is not here")
    path: Path = tmp_path_factory.mktemp("reductions") / "reductions.so"
    own = ["-DMLC_PORTABLE"] if request.param == "portable" else [str(RUNTIME / "cpu.c")]
    flags = ["-std=c11", "-O2", "-shared", "-fPIC", f"-I{RUNTIME}", "-o", str(path)]
    subprocess.run([compiler, *flags, str(RUNTIME / "mpi_reduce.c"), *own], check=True)
    found = ctypes.CDLL(str(path))
    found.mlc_mpi_reduce_function.restype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
    return found


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64"])
@pytest.mark.parametrize("reduction", list(UFUNCS))
def test_pairs_of_all_kinds(library: ctypes.CDLL, dtype: str, reduction: str) -> None:
    """Every half with others, among them zeros, subnormals, infinities and NaN; results rounded to nearest even."""
    place = list(DTYPES).index(dtype), REDUCTIONS.index(reduction)
    function = library.mlc_mpi_reduce_function(*place)
    numpy = DTYPES[dtype].numpy
    if dtype in ("f32", "f64") and reduction in ("add", "multiply"):
        assert not function  # MPI has these
        return
    for step in (1, 977, 16384, 40503):
        with np.errstate(all="ignore"):
            check(function, UFUNCS[reduction], numpy, step)


@pytest.mark.parametrize("dtype", ["i8", "i16", "u8", "u16"])
def test_short_integers_go_round(library: ctypes.CDLL, dtype: str) -> None:
    numpy = DTYPES[dtype].numpy
    given = np.random.default_rng(0).integers(0, 1 << 16, 1003).astype(numpy)
    others = np.roll(given, 1)
    expected = given + others
    combine(library.mlc_mpi_reduce_function(list(DTYPES).index(dtype), REDUCTIONS.index("add")), given, others)
    np.testing.assert_array_equal(others, expected)


def combine(function: Any, given: Any, others: Any) -> None:
    """Combine ``given`` into ``others``."""
    count = ctypes.c_int(others.size)
    function(given.ctypes.data, others.ctypes.data, ctypes.addressof(count), None)


def check(function: Any, ufunc: Any, numpy: np.dtype[Any], step: int) -> None:
    """All halves, as elements of ``numpy``, with those that are ``step`` places away."""
    values = np.arange(1 << 16, dtype=np.uint16).view(numpy if numpy.itemsize == 2 else np.float16).astype(numpy)
    others = np.roll(values, step)[: 65536 - step % 13].copy()  # of lengths that are no multiples
    given = values[: others.size].copy()
    wide = np.float64 if numpy.itemsize == 8 else np.float32
    expected = ufunc(given.astype(wide), others.astype(wide)).astype(numpy).astype(np.float64)
    other_way = given.copy()
    combine(function, others, other_way)
    combine(function, given, others)
    np.testing.assert_array_equal(others.astype(np.float64), expected)  # NaN equals NaN here
    places = np.flatnonzero(~np.isnan(expected))
    np.testing.assert_array_equal(np.signbit(others[places]), np.signbit(expected[places]))
    assert others.tobytes() == other_way.tobytes()  # every NaN is the same, whoever of the ranks is first
