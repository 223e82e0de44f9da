"""The README word by word: its Python runs, its commands work as they stand, its C gives the same numbers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def test_the_training_step_trains() -> None:
    names: dict[str, object] = {}
    exec(next(b for b in blocks("python") if "def step" in b), names)
    w, x, y = np.zeros((3, 2), np.float32), np.eye(3, dtype=np.float32), np.ones((3, 2), np.float32)
    value, updated = names["step"](w, x, y)  # type: ignore[operator]
    assert float(value) == 1
    np.testing.assert_allclose(np.asarray(updated), 0.1 * 2 / 6 * np.ones((3, 2)), rtol=1e-6)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc")
def test_the_commands_and_the_c_program_agree(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MLC_DATA": str(tmp_path / "none"), "LD_LIBRARY_PATH": str(tmp_path)}

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    output = run("sh", "-euc", next(b for b in blocks("sh") if "mlc inspect" in b))
    assert "test accuracy 0.9" in output and "predict(x: f32[batch,64]) -> (probs: f32[batch,10])" in output

    include, body = next(iter(blocks("c"))).split("\n\n", 1)
    values = ", ".join(float(v).hex() for v in np.load(tmp_path / "x.npy").ravel())
    (tmp_path / "main.c").write_text(
        f"{include}\n#include <stdio.h>\nstatic const float x[] = {{{values}}};\n"
        f"static _Alignas(64) float probs[10];\nint main(void)\n{{\n{body}\n"
        'for (int i = 0; i < 10; i++)\nprintf("%a\\n", probs[i]);\nreturn status;\n}\n'
    )
    run("cc", "-Wall", "-Werror", "main.c", "-L.", "-lmnist", "-o", "main")
    got = [float.fromhex(line) for line in run("./main").splitlines()]
    with np.load(tmp_path / "out.npz") as outputs:
        assert got == outputs["probs"][0].tolist()
