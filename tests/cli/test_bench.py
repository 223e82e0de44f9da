"""mlc bench on artifacts, graphs and programs, and what mlc inspect says about cost and memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlc.timing import measure

from .command import mlc

PROGRAM = """
import mlc, mlc.numpy as mnp, numpy as np

def score(x, w):
    with mlc.scope("dense"):
        y = mnp.tanh(x @ w)
    with mlc.scope("loss"):
        return mnp.sum((y @ w) * 2.0, axis=0)

mlc.export("score", score, x=mlc.ShapeDtype((mlc.dim("n", 1, 64), 48)), w=mlc.ShapeDtype((48, 48)))
"""
PLAIN = """
import mlc, mlc.numpy as mnp, numpy as np
step = mlc.jit(lambda state, x: state * 0.5 + x, donate_argnames="state")
state = np.zeros(100, np.float32)
for i in range(3):
    state = step(state, np.ones(100, np.float32))
print("trained", float(state[0]))
"""
QUICK = ("--seconds", "0", "--calls", "7", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench")
    (path / "score.py").write_text(PROGRAM)
    (path / "plain.py").write_text(PLAIN)
    done = mlc("compile", "score.py", "-o", "score.mlc", cwd=path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("subject", ["score.py", "score.mlc"])
def test_times_are_in_order_and_steps_are_named(folder: Path, subject: str) -> None:
    done = mlc("bench", subject, *QUICK, "--threads", "2", "--size", "n=20", "--profile", cwd=folder)
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    assert (report["function"], report["threads"], report["calls"], report["sizes"]) == ("score", 2, 7, {"n": 20})
    assert 0 < report["min"] <= report["p50"] <= report["p90"] <= report["p99"]
    assert report["throughput"] == pytest.approx(1 / report["mean"])
    assert len(report["steps"]) >= 2 and all(s["min"] <= s["mean"] for s in report["steps"])
    assert any("in dense at score.py:6" in s["label"] for s in report["steps"])
    if subject == "score.py":
        assert report["flops"] >= 2 * 2 * 20 * 48 * 48


def test_a_program_without_exports_is_measured_by_what_it_compiles(folder: Path) -> None:
    done = mlc("bench", "plain.py", *QUICK, cwd=folder)
    assert done.returncode == 0 and "trained 1.75" in done.stderr, done.stderr
    assert [r["calls"] for r in json.loads(done.stdout) if r["function"] == "<lambda>"] == [7]
    text = mlc("bench", "plain.py", "--seconds", "0", "--profile", cwd=folder).stdout
    for word in ("trained", "20 calls", "min", "p50", "p90", "p99", "calls/s", "share"):
        assert word in text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("score.mlc", "--function", "other"), 2),
        (("score.mlc", "--size", "m=3"), 2),
        (("score.mlc", "--size", "n=65"), 1),
        (("score.mlc", "--feed", "y=1"), 2),
        (("score.mlc", "--feed", "x=[[1, 2]]"), 1),
        (("empty.py",), 1),
        (("broken.py",), 1),
        (("none.mlc",), 2),
    ],
)
def test_mistakes_are_named(folder: Path, words: tuple[str, ...], code: int) -> None:
    (folder / "empty.py").write_text("print(1)\n")
    (folder / "broken.py").write_text("1 / 0\n")
    done = mlc("bench", *words, "--seconds", "0", cwd=folder)
    assert done.returncode == code and ("Traceback" not in done.stderr or "broken.py" in words), done.stderr


def test_inspect_shows_cost_and_memory(folder: Path) -> None:
    cost = mlc("inspect", "score.mlc", "--cost", "score", cwd=folder).stdout.splitlines()
    rows = {line.split()[-1]: [int(n) for n in line.split()[:-1]] for line in cost[1:]}
    assert rows.keys() == {"dense", "loss", "total"}
    assert [a + b for a, b in zip(rows["dense"], rows["loss"], strict=True)] == rows["total"]
    memory = mlc("inspect", "score.mlc", "--memory", "score", "--target", "x86-64-v3", cwd=folder).stdout
    assert memory.startswith("arena ") and "peak" in memory and "in dense at score.py:6" in memory
    for words in (("--cost", "other"), ("--cost", "score", "--target", "x86-64-v3"), ("--cost", "score", "--json")):
        assert mlc("inspect", "score.mlc", *words, cwd=folder).returncode == 2


def test_warmup_calls_do_not_count() -> None:
    seen = []
    timing = measure(lambda: seen.append(1), seconds=0, calls=10, warmup=4)
    assert (len(seen), timing.calls) == (14, 10)
    assert timing.least <= timing.percentiles[50] <= timing.percentiles[99]
