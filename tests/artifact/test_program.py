"""A whole program's network as artifact and as library: right at every batch, the same bits as JIT and as C."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import mlc
from mlc.artifact.building import Options, build
from mlc.artifact.exporting import recording
from mlc.artifact.manifest import Source
from mlc.artifact.package import Package
from tests.artifact.test_library import needs_cc, needs_valgrind, run_command

PROGRAM = Path(__file__).parent / "mlp.py"
BATCHES = range(1, 65)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of m.mlc, libm.so and libm.a, and the program's names."""
    folder = tmp_path_factory.mktemp("program")
    with recording() as exports:
        names = runpy.run_path(str(PROGRAM))
    for name in ("m.mlc", "libm.so", "libm.a"):
        build(exports, folder / name, Options(name.rpartition(".")[2]), Source("mlp.py", "0" * 64))
    return folder, names


def rows(n: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(n).normal(size=(n, 64)).astype(np.float32)


def softmax_of_network(x: npt.NDArray[np.float32], params: Any) -> npt.NDArray[np.float64]:
    h = x.astype(np.float64)
    for w, b in params[:-1]:
        h = np.maximum(h @ w.astype(np.float64) + b, 0)
    w, b = params[-1]
    e = np.exp(h @ w.astype(np.float64) + b)
    return e / e.sum(axis=1, keepdims=True)


def bits(array: Any) -> npt.NDArray[np.uint32]:
    return np.asarray(array).view(np.uint32)


def test_every_batch_is_right_and_has_jits_bits(program: tuple[Path, dict[str, Any]]) -> None:
    folder, names = program
    artifact = mlc.load(folder / "m.mlc")
    spec = mlc.ShapeDtype((mlc.dim("batch", 1, 64), 64), "f32")
    jitted = mlc.jit(names["predict"]).lower(x=spec).compile()
    for n in BATCHES:
        got = artifact.predict(x=rows(n))["probs"]
        np.testing.assert_allclose(np.asarray(got), softmax_of_network(rows(n), names["params"]), rtol=2e-5, atol=1e-7)
        assert np.array_equal(bits(got), bits(jitted(x=rows(n))["probs"]))


def test_trees_go_in_and_come_out(program: tuple[Path, dict[str, Any]]) -> None:
    folder, names = program
    a, b = rows(5), np.arange(3, dtype=np.float64)
    product, (double, nothing) = mlc.load(folder / "m.mlc").hidden({"a": a, "b": b})
    want = a.astype(np.float64) @ names["params"][0][0].astype(np.float64)
    np.testing.assert_allclose(np.asarray(product), want, rtol=1e-5, atol=1e-5)
    assert np.asarray(double).tolist() == [0, 2, 4] and nothing is None
    header = (folder / "libm.h").read_text()
    assert "const float *pair_a, const double *pair_b, float *result_0, double *result_1_0)" in header


def test_a_weight_that_two_functions_use_is_stored_once(program: tuple[Path, dict[str, Any]]) -> None:
    folder, names = program
    constants = Package(folder / "m.mlc").manifest["constants"]
    assert sorted(c["bytes"] for c in constants) == sorted(p.nbytes for pair in names["params"] for p in pair)


@needs_cc
@pytest.mark.parametrize("library", ["libm.so", "libm.a"])
@pytest.mark.parametrize("threads", [1, 2])
def test_c_prints_pythons_probabilities(
    program: tuple[Path, dict[str, Any]], tmp_path: Path, library: str, threads: int
) -> None:
    folder, _ = program
    got = run_command(folder / library, tmp_path, rows(37), 10, threads=threads)
    assert np.array_equal(bits(got), bits(mlc.load(folder / "m.mlc").predict(x=rows(37))["probs"]))


@needs_cc
@needs_valgrind
def test_valgrind_is_silent(program: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = program
    wrapper = ("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all")
    got = run_command(folder / "libm.so", tmp_path, rows(37), 10, wrapper=wrapper)
    want = mlc.load(folder / "m.mlc", target="x86-64-v3").predict(x=rows(37))["probs"]
    assert np.array_equal(bits(got), bits(want))


@needs_cc
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_are_silent(
    program: tuple[Path, dict[str, Any]], tmp_path: Path, sanitizer: str,
    sanitized_runtime: Callable[[str], list[Path]],
) -> None:  # fmt: skip
    folder, _ = program
    sanitized = sanitized_runtime(sanitizer)
    got = run_command(folder / "libm.a", tmp_path, rows(64), 10, sanitizer=sanitizer, sanitized=sanitized)
    assert np.array_equal(bits(got), bits(mlc.load(folder / "m.mlc").predict(x=rows(64))["probs"]))


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_both_targets_have_their_own_code(program: tuple[Path, dict[str, Any]]) -> None:
    """The v4 kernels use the wide registers, the v3 kernels and everything outside of kernels do not."""
    folder, _ = program
    text = subprocess.run(["objdump", "-d", folder / "libm.so"], capture_output=True, text=True, check=True).stdout
    wide = {block.split(">:")[0].split("<")[-1] for block in text.split("\n\n") if "%zmm" in block}
    assert wide and all(".x86_64_v4_" in name for name in wide)
