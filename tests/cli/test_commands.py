"""The commands as users run them: output, JSON, and the exit code of everything that can go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.artifact.conftest import emit
from tests.artifact.made_by_hand import expected
from tests.launch.launching import here

from .command import mlc, process


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emit(tmp_path_factory.mktemp("cli"), "m.mlc")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# ---------------------------------------------------------------- the frame


def test_help_names_every_verb_and_exit_code() -> None:
    text = mlc("--help").stdout
    for word in ("compile", "run", "inspect", "doctor", "data", "Exit codes"):
        assert word in text
    for verb in ("compile", "run", "inspect", "doctor", "data"):
        done = mlc(verb, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout


@pytest.mark.parametrize(
    "words", [("fly",), ("run",), ("run", "no.py"), ("inspect", "--fast"), ("data", "fetch", "nothing"), ("--fly",)]
)
def test_usage_mistakes_exit_with_2(words: tuple[str, ...]) -> None:
    done = mlc(*words)
    assert done.returncode == 2 and "Usage" in done.stderr and "Traceback" not in done.stderr


def test_version() -> None:
    assert mlc("--version").stdout.startswith("mlc ")


# ---------------------------------------------------------------- run a program


def test_a_program_runs_as_main_with_its_arguments(tmp_path: Path) -> None:
    write(tmp_path / "helper.py", "VALUE = 7")
    program = write(tmp_path / "p.py", "import sys, helper\nprint(__name__, sys.argv[1:], helper.VALUE)")
    done = mlc("run", program, "-x", "--help", "3")
    assert done.returncode == 0 and done.stdout == "__main__ ['-x', '--help', '3'] 7\n"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("1 / 0", 1),
        ("raise SystemExit(3)", 1),
        ("raise SystemExit('bad data')", 1),
        ("raise SystemExit(0)", 0),
        ("from mlc.errors import *; raise ShapeError('shapes differ')", 1),
        ("from mlc.errors import *; raise UnsupportedError('no sort')", 3),
        ("from mlc.errors import *; raise NumericError('a NaN')", 4),
        ("from mlc.errors import *; raise TargetError('no AVX2')", 5),
        ("def f(:", 1),
    ],
)
def test_a_programs_end_is_the_exit_code(tmp_path: Path, body: str, code: int) -> None:
    assert mlc("run", write(tmp_path / "p.py", body)).returncode == code


@pytest.mark.parametrize("name", ["nope", "", "cuda:0", "gpu:99999999999999999999"])
@pytest.mark.parametrize("file", ["p.py", "p.mlc"])
def test_what_is_no_device_is_usage(tmp_path: Path, file: str, name: str) -> None:
    done = mlc("run", "--device", name, write(tmp_path / file, "print('begins')"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr and repr(name) in done.stderr and "Traceback" not in done.stderr


def test_a_gpu_that_is_not_there_is_said_before_the_program_begins(tmp_path: Path) -> None:
    program = write(tmp_path / "p.py", "print('begins')")
    done = process("run", "--device", "gpu:0", program, MLC_LIBCUDA=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("error: device 'gpu:0': ")


def test_a_traceback_shows_the_users_frames_alone(tmp_path: Path) -> None:
    program = write(tmp_path / "p.py", "import mlc.ir.dims\n\ndef f():\n    return mlc.ir.dims.dim('2')\n\nf()\n")
    done = mlc("run", program)
    assert done.returncode == 1
    assert done.stderr == (
        "Traceback (most recent call last):\n"
        f'  File "{program}", line 6, in <module>\n    f()\n'
        f"  File \"{program}\", line 4, in f\n    return mlc.ir.dims.dim('2')\n"
        "           ^^^^^^^^^^^^^^^^^^^^\n"
        "ValueError: dim: '2' is not an identifier\n"
    )


def test_a_traceback_of_our_own_mistake_shows_our_frames(tmp_path: Path) -> None:
    program = write(tmp_path / "p.py", "from mlc.cli.output import human_bytes\nhuman_bytes('a')\n")
    done = mlc("run", program)
    assert done.returncode == 1
    assert f'File "{program}", line 2' in done.stderr
    assert "in human_bytes" in done.stderr and "runpy" not in done.stderr


def test_a_notice_is_one_sentence_and_names_the_users_line(tmp_path: Path) -> None:
    text = "import warnings\nfrom mlc.errors import Notice\nwarnings.warn(Notice('p.py:1: slow'))"
    done = process("run", write(tmp_path / "p.py", text))
    assert (done.returncode, done.stderr) == (0, "notice: p.py:1: slow\n")


# ---------------------------------------------------------------- run an artifact


def test_an_artifact_runs_on_fed_arrays(artifact: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    words = ("--function", "predict", "--feed", f"x=@{tmp_path / 'x.npy'}", "--fetch", "probs")
    (tmp_path / "out.npz").write_bytes(b"old")
    (tmp_path / "held").hardlink_to(tmp_path / "out.npz")
    done = mlc("run", artifact, *words, "-o", tmp_path / "out.npz", "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "held").read_bytes() == b"old"  # readers see the old file or the new one, never a part
    with np.load(tmp_path / "out.npz") as out:
        assert list(out) == ["probs"] and np.array_equal(out["probs"], expected(x))
    assert mlc("run", artifact, *words, "-o", tmp_path / "out.npy").returncode == 0
    assert np.array_equal(np.load(tmp_path / "out.npy"), expected(x))
    expect = mlc("run", artifact, *words, "--expect", f"probs=@{tmp_path / 'out.npz'}", "--rtol", "0", "--atol", "0")
    assert expect.returncode == 0, expect.stderr


def test_json_in_and_out(artifact: Path) -> None:
    done = mlc("run", artifact, "--function", "elements", "--feed", "x=[[1, 2, 3], [4.5, 5, 6]]", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"result": {"shape": [], "dtype": "int64", "data": 10}}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 2, "--function is missing; the artifact has predict, elements"),
        (("--function", "train"), 2, "no function 'train'"),
        (("--function", "predict"), 2, "the input 'x' is missing"),
        (("--function", "predict", "--feed", "y=1"), 2, "no input 'y'; the inputs are x"),
        (("--function", "predict", "--feed", "x"), 2, "NAME=@FILE or NAME=JSON"),
        (("--function", "predict", "--feed", "x=[[1,"), 2, "not JSON"),
        (("--function", "predict", "--feed", "x=@no.npy"), 2, "there is no file no.npy"),
        (("--function", "predict", "--feed", "x=[[1.0]]"), 2, "input x: expected f32[batch,5], got f32[1,1]"),
        (("--function", "predict", "--feed", 'x="text"'), 2, "it takes f32"),
        (("--function", "predict", "--feed", "x=[[1.0,2,3,4,5]]", "--fetch", "logits"), 2, "no output 'logits'"),
        (("--function", "predict", "--feed", "x=[[1.0,2,3,4,5]]", "-o", "out.txt"), 2, ".npz or .npy"),
        (("--function", "predict", "--feed", "x=[[1.0,2,3,4,5]]", "--target", "vax"), 5, "no target 'vax'"),
        (("--function", "predict", "--feed", "x=[[NaN,2,3,4,5]]", "--check-nan"), 4, "1 of 5 elements are NaN"),
        (("--function", "predict", "--feed", "x=[[NaN,2,3,4,5]]"), 0, ""),
        (("--function", "predict", "--feed", "x=[[0,0,0,0,0]]", "--expect", "probs=[[0.1,0.2,0.3,0.4,0.5]]"), 0, ""),
        (("--function", "predict", "--feed", "x=[[0,0,0,0,0]]", "--expect", "probs=[[0.1,0.2,0.3,0.4,1]]"), 4, "0, 4"),
        (("--function", "predict", "--feed", "x=[[0,0,0,0,0]]", "--expect", "probs=[0.1]"), 4, "its shape is [1, 5]"),
        (("--function", "predict", "--feed", "x=1", "--feed", "x=2"), 2, "x is given twice"),
        (("--function", "predict", "--feed", "x=[[1.0,2,3,4,5]]", "-o", "no/out.npz"), 2, "no does not exist"),
        (("--function", "predict", "--feed", "x=[[1,2,3,4,5]]", "-o", "/proc/self/out.npz"), 2, "cannot be written"),
        (("--function", "predict", "--feed", "x=[[0,0,0,0,0]]", "--expect", 'probs=[[1,2,3,4,"a"]]'), 1, "not numbers"),
    ],
)
def test_the_ways_a_run_ends(artifact: Path, words: tuple[str, ...], code: int, text: str) -> None:
    done = mlc("run", artifact, *words)
    assert done.returncode == code, done.stderr
    assert text in done.stderr and "Traceback" not in done.stderr


def test_json_of_what_is_not_finite_is_json_and_can_be_fed(artifact: Path) -> None:
    def strictly(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    feed = 'x=[["NaN", 2, 3, "Infinity", "-Infinity"]]'
    done = mlc("run", artifact, "--function", "predict", "--feed", feed, "--json")
    data = json.loads(done.stdout, parse_constant=strictly)["probs"]["data"]
    x = np.array([["NaN", 2, 3, np.inf, -np.inf]]).astype(np.float32)
    np.testing.assert_array_equal(np.array(data, np.float32), expected(x))


def test_a_damaged_npz_is_an_error_in_one_line(artifact: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([1, "a"], object))
    np.savez(tmp_path / "x.npz", x=np.ones((64, 5), np.float32))
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "changed.npz").write_bytes(whole[:400] + bytes(100) + whole[500:])
    (tmp_path / "cut.npz").write_bytes(whole[:500])
    for name in ("objects", "changed", "cut"):
        done = mlc("run", artifact, "--function", "predict", "--feed", f"x=@{tmp_path / name}.npz")
        assert done.returncode == 1 and done.stderr.startswith("error: cannot read"), done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_in_one_line(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "out.npz").symlink_to("/dev/full")
    words = ("--function", "elements", "--feed", "x=[[1, 2, 3]]", "-o", tmp_path / "out.npz")
    done = mlc("run", artifact, *words)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mlc", "inspect", str(artifact)]
        printed = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (printed.returncode, printed.stderr) == (1, "error: No space left on device\n")


# ---------------------------------------------------------------- inspect, doctor, data


def test_inspect_shows_what_is_inside(artifact: Path) -> None:
    text = mlc("inspect", artifact).stdout
    for words in ("predict(x: f32[batch,5]) -> (probs: f32[batch,5]), batch in 1..64", "x86-64-v4: 1 kernels, 1 steps",
                  "w: f32[5], 20 B", "hand.py", "llvmlite"):  # fmt: skip
        assert words in text
    manifest = json.loads(mlc("inspect", artifact, "--json").stdout)
    assert [f["name"] for f in manifest["functions"]] == ["predict", "elements"]
    assert "affine" in mlc("inspect", artifact, "--plan", "predict").stdout
    assert "fma" in mlc("inspect", artifact, "--kernels", "predict", "--target", "x86-64-v3").stdout
    assert "int m_predict(struct mlc_context *context" in mlc("inspect", artifact, "--header").stdout
    for words in (("--plan", "train"), ("--plan", ""), ("--plan", "predict", "--json"), ("--header", "--json"),
                  ("--target", "x86-64-v3")):  # fmt: skip
        done = mlc("inspect", artifact, *words)
        assert done.returncode == 2 and not done.stdout, words


def test_inspect_says_what_to_do_with_a_program(tmp_path: Path) -> None:
    done = mlc("inspect", write(tmp_path / "p.py", "print(1)"))
    assert done.returncode == 2 and "p.py is a program; mlc compile" in done.stderr and not done.stdout


def test_inspect_refuses_a_damaged_file(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "m.mlc").write_bytes(artifact.read_bytes()[:-100])
    done = mlc("inspect", tmp_path / "m.mlc")
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_doctor_reports_this_machine() -> None:
    done = mlc("doctor", "--json")
    report = json.loads(done.stdout)
    checks = {c["name"]: c for c in report["checks"]}
    assert done.returncode == 0 and report["ok"]
    assert checks["native code"]["good"] and "x86-64-v" in checks["cpu"]["text"]
    assert "native code" in mlc("doctor").stdout
    assert checks["launchers"]["good"] == any(map(here, ("mpich", "openmpi", "srun")))


def test_data_lists_the_sets() -> None:
    assert {row["name"] for row in json.loads(mlc("data", "list", "--json").stdout)} >= {"digits", "mnist"}
    assert "mnist" in mlc("data", "list").stdout
