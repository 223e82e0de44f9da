"""Artifacts with code for GPUs: compiled without one, run on one, by Python and by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
from mlc.artifact.package import Package
from mlc.cli import main
from mlc.codegen.nvptx import find_ptxas
from mlc.errors import ArtifactError, TargetError
from tests.mock_cuda import MockDriver

PROGRAM = """
import numpy as np
import mlc
import mlc.numpy as mnp

rng = np.random.default_rng(0)
w = rng.standard_normal((5, 3)).astype(np.float32)
batch = mlc.dim("batch", 1, 64)
mlc.export("predict", lambda x: {"probs": mlc.nn.softmax(x @ w, axis=-1)}, x=mlc.ShapeDtype((batch, 5)))
mlc.export("order", lambda x: mnp.sort(x) + 1, x=mlc.ShapeDtype((4,)))
"""
X = np.random.default_rng(1).standard_normal((7, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled by a process that has no driver."""
    folder = tmp_path_factory.mktemp("artifact")
    (folder / "model.py").write_text(PROGRAM)
    env = {**os.environ, "MLC_LIBCUDA": str(folder / "none.so"), "MLC_CACHE": "0"}
    command = [sys.executable, "-m", "mlc", "compile", "model.py", "--gpu", "sm_80", "--target", "x86-64-v3"]
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return folder / "model.mlc"


def test_it_holds_ptx_and_cubins_beside_the_cpus_code(artifact: Path) -> None:
    package = Package(artifact)
    names = [n for n in package.names() if n.startswith("gpu/predict")]
    endings = ["plan", "ptx", *(["cubin"] if find_ptxas() else [])]
    assert names == [f"gpu/predict.sm_80.{ending}" for ending in endings]
    assert b".target sm_80" in bytes(package.member("gpu/predict.sm_80.ptx"))
    assert len(package.manifest["constants"]) == 1  # one copy of the weights for all targets


def test_it_runs_on_the_gpu_as_on_the_cpu(mock: MockDriver, artifact: Path) -> None:
    there, here = mlc.load(artifact, device="gpu:0"), mlc.load(artifact)
    for n in (1, 7):
        a, b = there.predict(X[:n])["probs"], here.predict(X[:n])["probs"]
        assert (a.device, b.device) == ("gpu:0", "cpu:0")
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6)
    assert "sm_80 on gpu:0" in repr(there.predict) and mock.launched


def test_ptx_of_sm_80_runs_on_later_gpus(mock: MockDriver, artifact: Path) -> None:
    mock.reset(capability=(9, 0))
    found = mlc.load(artifact, device="gpu:0").predict(X)["probs"]
    np.testing.assert_allclose(np.asarray(found).sum(1), np.ones(7), atol=1e-6)


def test_products_in_tf32_on_request(
    mock: MockDriver, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ahead of time and as it runs: the same name, the same numbers, which are not those of f32."""
    program, to = tmp_path / "model.py", tmp_path / "model.mlc"
    program.write_text(PROGRAM.split('mlc.export("order"')[0])
    gpu, cpu = ("--gpu", "sm_80-tf32"), ("--target", "x86-64-v3")
    assert run(capsys, "compile", program, "-o", to, *gpu, *cpu)[0] == 0
    assert b"f32.tf32.tf32.f32" in bytes(Package(to).member("gpu/predict.sm_80-tf32.ptx"))
    there = mlc.load(to, device="gpu:0")
    found = np.asarray(there.predict(X)["probs"])
    assert "sm_80-tf32 on gpu:0" in repr(there.predict)
    monkeypatch.setenv("MLC_GPU_TARGET", "sm_80-tf32")
    w = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    unasked = mlc.jit(lambda x: mlc.nn.softmax(x @ w, axis=-1), device="gpu:0")(X)
    np.testing.assert_array_equal(found, np.asarray(unasked))
    exact = np.asarray(mlc.load(to).predict(X)["probs"])
    np.testing.assert_allclose(found, exact, atol=5e-3)
    assert np.abs(found - exact).max() > 1e-5


def test_what_does_not_fit_is_said(mock: MockDriver, artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="the CUDA driver lists 1 device"):
        mlc.load(artifact, device="gpu:3")
    plain = tmp_path / "plain.py"
    plain.write_text(PROGRAM.split('mlc.export("order"')[0])
    subprocess.run([sys.executable, "-m", "mlc", "compile", plain, "--target", "x86-64-v3"], cwd=tmp_path, check=True,
                   capture_output=True)  # fmt: skip
    with pytest.raises(TargetError, match="predict has no code for GPUs; gpu:0 is sm_80") as caught:
        mlc.load(tmp_path / "plain.mlc", device="gpu:0")
    assert caught.value.hint == "compile it with --gpu sm_80"
    done = subprocess.run(
        [sys.executable, "-m", "mlc", "compile", plain, "--gpu", "sm_70"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 3 and "no GPU target 'sm_70'" in done.stderr


def test_a_damaged_record_is_refused(mock: MockDriver, artifact: Path) -> None:
    package = Package(artifact)
    from mlc.artifact.gpu import open_on
    from mlc.devices import open_device

    good = package.manifest["functions"][0]
    for gpus in ({"sm_80": 3}, {"sm_80": {"constants": [9]}}, {"sm_80": {"constants": ["x"]}}, {"sm_80": {}}):
        with pytest.raises(ArtifactError):
            open_on(open_device("gpu:0"), {**good, "gpus": gpus}, package, [X])


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as done:
        main([str(w) for w in words])
    return int(done.value.code or 0), *capsys.readouterr()


def test_the_command_line(
    mock: MockDriver,
    artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.save(tmp_path / "x.npy", X)
    words = ("--function", "predict", "--feed", f"x=@{tmp_path}/x.npy", "--json")
    code, there, _ = run(capsys, "run", "--device", "gpu:0", artifact, *words)
    assert code == 0 and mock.launched
    _, here, _ = run(capsys, "run", artifact, *words)
    a, b = (_data(text) for text in (there, here))
    np.testing.assert_allclose(a, b, atol=1e-6)
    _, text, _ = run(capsys, "doctor")
    assert "gpu:0 is Mock 0, sm_80, 1.0 GiB; driver of CUDA 12.4" in text
    _, text, _ = run(capsys, "inspect", artifact)
    assert "sm_80:" in text
    (tmp_path / "program.py").write_text("import mlc.numpy as mnp\nprint((mnp.ones(3) * 2).device)")
    assert run(capsys, "run", "--device", "gpu:0", tmp_path / "program.py")[:2] == (0, "gpu:0\n")
    monkeypatch.setenv("MLC_LIBCUDA", str(tmp_path / "none.so"))
    monkeypatch.setattr(mlc.devices, "_opened", {})
    code, _, error = run(capsys, "run", "--device", "gpu:0", artifact, *words)
    assert code == 5 and "no CUDA driver" in error


def _data(text: str) -> Any:
    return json.loads(text)["probs"]["data"]
