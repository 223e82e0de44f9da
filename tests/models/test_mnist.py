"""The MNIST models, run as a user runs them, on the digits that travel with mlc."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.mark.parametrize(("name", "bar"), [("mnist_softmax", 0.955), ("mnist_mlp", 0.96)])
def test_model_learns_the_digits(name: str, bar: float, tmp_path: Path) -> None:
    environment = {**os.environ, "MLC_DATA": str(tmp_path)}
    command = [sys.executable, "-W", "error", str(MODELS / f"{name}.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    *progress, last = done.stdout.splitlines()
    assert all(re.fullmatch(r"step +\d+ loss \d+\.\d{4}", line) for line in progress) and progress
    assert re.fullmatch(r"test accuracy 0\.\d{3}", last)
    assert float(last.split()[-1]) >= bar
