"""The progress bar: one for all ranks, on a terminal only."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlc.launch.output import read_progress
from mlc.train import progress
from tests.launch.launching import needs

PROGRAM = """
import sys, time
import mlc
for step in mlc.train.progress(range(4, 31), 30, done=3):
    time.sleep(0.02)
    if step == 12:
        print("a line", file=sys.stdout)
"""


def on_a_terminal(command: list[str]) -> tuple[int, str]:
    """The exit code of a command that runs on a terminal of its own, and what is shown there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 1 << 16):
            shown += data
    except OSError:  # EIO: nobody has it open any more
        pass
    os.close(ours)
    return process.wait(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", shown.decode())


@pytest.mark.parametrize(
    "words", [[], pytest.param(["-m", "mlc", "launch", "-n", "2", "--mpi", "mpich"], marks=needs("mpich"))]
)
def test_one_bar_below_the_lines(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    code, shown = on_a_terminal([sys.executable, *words, str(path)])
    assert code == 0
    steps = [int(part.split()[-1]) for part in shown.split("/30")[:-1] if part.split()[-1].isdigit()]
    assert steps == sorted(steps) and steps[0] >= 3 and steps[-1] == 30
    lines = ["[0] a line", "[1] a line"] if words else ["a line"]
    assert all(line in shown for line in lines)


def test_elsewhere_there_is_none(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLC_RUN_FOLDER", raising=False)
    assert list(progress("abc", 3)) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


def test_what_the_launcher_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_progress(tmp_path) is None
    monkeypatch.setenv("MLC_RUN_FOLDER", str(tmp_path))
    monkeypatch.setenv("MLC_RANK", "1")
    assert list(progress(range(2))) == [0, 1] and read_progress(tmp_path) is None
    monkeypatch.setenv("MLC_RANK", "0")
    steps = progress(range(5), 5)
    for expected in (None, (1, 5, "")):
        next(steps)
        assert read_progress(tmp_path) == expected
    assert list(progress(range(2))) == [0, 1] and read_progress(tmp_path) == (1, 0, "")
    (tmp_path / "progress").write_text("half")
    assert read_progress(tmp_path) is None
