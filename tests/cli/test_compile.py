"""`mlc compile` from a program to files, through the whole compiler."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlc as package

from .command import mlc

PROGRAM = """\
import sys
import mlc, mlc.numpy as mnp, numpy as np

weights = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), "b": np.arange(3, dtype=np.float32)}

def forward(x, scale):
    return {"logits": mnp.tanh(x @ weights["w"] + weights["b"]) * scale["by"]}

print("training", *sys.argv[1:])
batch = mlc.dim("batch", 1, 8)
mlc.export("forward", forward, mlc.ShapeDtype((batch, 4), "f32"), scale={"by": mlc.ShapeDtype((), "f32")})
mlc.export("twice", lambda x: x + x, x=mlc.ShapeDtype((3,), "f32"))
"""


def test_a_program_becomes_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(PROGRAM)
    done = mlc("compile", "model.py", "-o", "m.mlc", "--json", "--", "fast", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training fast" in done.stderr
    report = json.loads(done.stdout)
    assert report["functions"] == ["forward", "twice"] and [f["path"] for f in report["files"]] == ["m.mlc"]

    artifact = package.load(tmp_path / "m.mlc")
    w = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3).astype(np.float64)
    for rows in (1, 3, 8):
        x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
        got = np.asarray(artifact.forward(x, scale={"by": np.float32(0.5)})["logits"])
        np.testing.assert_allclose(got, np.tanh(x @ w + np.arange(3)) * 0.5, rtol=1e-5, atol=1e-6)
    assert np.asarray(artifact.twice(np.ones(3, np.float32))).tolist() == [2, 2, 2]
    assert {c["dtype"] for c in artifact.manifest["constants"]} == {"f32"}


@pytest.mark.parametrize(("emit", "output"), [("so", "libm.so"), ("so", "m,two words.so"), ("a", "libm.a")])
def test_a_program_becomes_a_library(tmp_path: Path, emit: str, output: str) -> None:
    (tmp_path / "model.py").write_text(PROGRAM)
    targets = ("--target", "x86-64-v3", "--target", "x86-64-v3")
    done = mlc("compile", "model.py", "-o", output, "--emit", emit, *targets, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    header = (tmp_path / output).with_suffix(".h").read_text()
    prefix = "m_two_words" if "two" in output else "m"
    parameters = "struct mlc_context *context, int64_t batch, const float *x, const float *scale_by, "
    assert f"int {prefix}_forward({parameters}" in header
    assert (tmp_path / output).stat().st_size > 1000


@pytest.mark.parametrize(
    ("program", "words", "code", "text"),
    [
        ("x = 1", (), 1, "exports nothing"),
        ("1 / 0", (), 1, "ZeroDivisionError"),
        ("import mlc\nmlc.export('2', lambda x: x)", (), 1, "cannot name a function"),
        (PROGRAM, ("-o", "m.exe"), 2, "ends with .mlc"),
        (PROGRAM, ("-o", "no/m.mlc"), 2, "does not exist"),
        (PROGRAM, ("-o", "/proc/self/m.mlc"), 2, "cannot be written to"),
        (PROGRAM, ("--target", "vax"), 2, "vax"),
    ],
)
def test_the_ways_a_compilation_ends(
    tmp_path: Path, program: str, words: tuple[str, ...], code: int, text: str
) -> None:
    (tmp_path / "model.py").write_text(program)
    done = mlc("compile", "model.py", *words, cwd=tmp_path)
    assert done.returncode == code and text in done.stderr
    assert "mlc/cli" not in done.stderr
    assert not list(tmp_path.glob("*.mlc"))


@pytest.mark.parametrize(
    ("variables", "words", "text"),
    [({"PATH": ""}, (), "no linker"), ({"PATH": ""}, ("--linker", "ld"), "the linker 'ld' is not on this machine"),
     ({"MLC_TARGET": "vax"}, ("--emit", "a"), "target 'vax' is not known")],
)  # fmt: skip
def test_what_a_machine_lacks_is_told_before_a_training(
    tmp_path: Path, variables: dict[str, str], words: tuple[str, ...], text: str
) -> None:
    (tmp_path / "model.py").write_text(PROGRAM)
    blocked = "import sys; sys.modules['ziglang'] = None; from mlc.cli import main; main()"
    command = [sys.executable, "-c", blocked, "compile", "model.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **variables})
    assert done.returncode == 5 and text in done.stderr, done.stderr
    assert "training" not in done.stdout


def test_an_error_in_an_exported_function_names_the_users_line(tmp_path: Path) -> None:
    text = "import mlc\n\ndef f(x):\n    return x @ x\n\nmlc.export('f', f, x=mlc.ShapeDtype((2, 3), 'f32'))\n"
    (tmp_path / "model.py").write_text(text)
    done = mlc("compile", "model.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "model.py:4" in done.stderr and "mlc/numpy" not in done.stderr


@pytest.mark.parametrize("output", ["m.so", "m.mlc"])
def test_a_function_may_have_any_name(tmp_path: Path, output: str) -> None:
    """Also one that the library's own parts go by."""
    names = ("weights", "constants", "functions", "context", "f", "f_x86_64_v3_plan", "f_x86_64_v3")
    lines = ["import mlc, numpy as np", "w = np.ones(3, np.float32)"]
    lines += [f"mlc.export('{n}', lambda context, int: context * w + int, int=mlc.ShapeDtype((3,), 'f32'), "
              "context=mlc.ShapeDtype((3,), 'f32'))" for n in names]  # fmt: skip
    (tmp_path / "model.py").write_text("\n".join(lines))
    done = mlc("compile", "model.py", "-o", output, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if output == "m.mlc":
        artifact, ones = package.load(tmp_path / output), np.ones(3, np.float32)
        assert all(np.asarray(artifact[n](context=ones, int=ones)).tolist() == [2, 2, 2] for n in names)


def test_a_terminal_sees_a_bar_over_all_steps_and_a_pipe_sees_none(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mlc", "compile", "model.py", "-o", "m.mlc"]
    ours, theirs = pty.openpty()
    done = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # the terminal closes with the program
        while block := os.read(ours, 4096):
            seen += block
    os.close(ours)
    assert done.wait() == 0
    assert b"9/9" in seen and b"linking" in seen and b"-1/" not in seen  # 2 functions x 2 targets, twice, and the link
    assert mlc("compile", "model.py", "-o", "m.mlc", cwd=tmp_path).stderr == ""
