"""Who is named, from reports alone: the first failure in time, whatever a launcher does to the others afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlc.launch.rank import Report
from mlc.launch.ranks import Outcome, Ranks

NOW = time.time()
KILLED = {"state": "ended", "code": 137, "signal": signal.SIGKILL}
ENDED = {"state": "ended"}


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Three that wait."""
    found = [subprocess.Popen(["sleep", "300"]) for _ in range(3)]
    yield found
    for process in found:
        process.kill()
        process.wait()


def report(folder: Path, rank: int, after: float, pid: int = 1, host: str = "elsewhere", **how: object) -> None:
    values = {"rank": rank, "pid": pid, "watcher": 1, "host": host, "time": NOW + after}
    Report(**{**values, **how}).write(folder)  # type: ignore[arg-type]


def outcome(folder: Path, count: int = 3, code: int = 1) -> Outcome:
    ranks = Ranks(folder, count)
    ranks.update()
    return ranks.outcome("mpiexec", code)


def test_the_first_in_time(tmp_path: Path) -> None:
    report(tmp_path, 0, 2.0, **KILLED)
    report(tmp_path, 1, 3.0, **ENDED, code=1)
    report(tmp_path, 2, 1.0, **ENDED, code=4)
    assert outcome(tmp_path) == Outcome(4, "rank 2 (process 1 on elsewhere) ended with exit code 4")


def test_whoever_was_told_to_end_is_not_to_blame(tmp_path: Path) -> None:
    report(tmp_path, 0, 1.0, state="ended", code=143, signal=15, told=15)
    report(tmp_path, 1, 2.0, **KILLED)
    report(tmp_path, 2, 1.0, state="ended", code=137, signal=9, told=15)
    assert outcome(tmp_path) == Outcome(137, "rank 1 (process 1 on elsewhere) was killed by SIGKILL")


def test_the_first_of_those_that_were_told_to_end_is_named_where_nobody_else_is(tmp_path: Path) -> None:
    """Somebody told its watcher; the launcher told the others, or killed them."""
    report(tmp_path, 0, 1.5, state="ended", code=143, signal=15, told=15)
    report(tmp_path, 1, 1.0, state="ended", code=143, signal=15, told=15, watcher=7)
    report(tmp_path, 2, 0.0)
    words = "rank 1 (process 1 on elsewhere) was the first to end: what watches it (process 7) was sent SIGTERM"
    assert outcome(tmp_path) == Outcome(143, words)


@pytest.mark.parametrize(("continued", "named"), [(0.0, True), (2.5, True), (1.5, False)])
def test_who_was_stopped_when_another_gave_up(continued: float, named: bool, tmp_path: Path) -> None:
    stopped = {"stopped": NOW + 1.0, "stopped_by": signal.SIGTSTP, "continued": NOW + continued if continued else 0.0}
    report(tmp_path, 0, 2.0, state="ended", code=75)
    report(tmp_path, 1, 3.0, **KILLED, told=15, **stopped)
    report(tmp_path, 2, 0.0)
    got = outcome(tmp_path)
    assert got.code == 75
    assert got.reason.startswith("rank 1 (process 1 on elsewhere) was stopped by SIGTSTP" if named else "rank 0 ")


def test_all_ended_well_whatever_the_launcher_says(tmp_path: Path) -> None:
    for rank in range(3):
        report(tmp_path, rank, rank, **ENDED)
    assert outcome(tmp_path, code=9) == Outcome(0, by_launcher=True)


def test_nobody_began(tmp_path: Path) -> None:
    assert outcome(tmp_path, code=9) == Outcome(9, "mpiexec ended with code 9", by_launcher=True)
    assert outcome(tmp_path, code=-9).code == 137
    assert outcome(tmp_path, code=0).code == 1


def test_who_vanished(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    for rank, process in enumerate(processes):
        report(tmp_path, rank, -5.0, pid=process.pid, host=socket.gethostname(), watcher=os.getpid())
    ranks = Ranks(tmp_path, 3)
    ranks.update()
    for rank in (1, 0):
        processes[rank].kill()
        processes[rank].wait()
        ranks.look()
    assert len(ranks.descriptors()) == 1
    words = f"rank 1 (process {processes[1].pid} on {socket.gethostname()}) was killed with what watched it"
    assert ranks.outcome("mpiexec", 9) == Outcome(137, words)
    ranks.close()
    assert outcome(tmp_path).reason.count("rank ") == 2  # to one who comes later, either may have been the first


def test_a_stopped_process_ends_the_job_when_it_is_time(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    report(tmp_path, 0, 0.0, pid=os.getpid(), host=socket.gethostname(), watcher=processes[0].pid)
    ranks = Ranks(tmp_path, 1)
    ranks.update()
    processes[0].send_signal(signal.SIGSTOP)
    os.waitpid(processes[0].pid, os.WUNTRACED)
    ranks.look()
    time.sleep(0.01)
    assert ranks.is_over(0.0) and not ranks.is_over(60.0)
    assert ranks.outcome("mpiexec", 9).code == 75
    processes[0].send_signal(signal.SIGCONT)
    os.waitpid(processes[0].pid, os.WCONTINUED)
    ranks.look()
    assert not ranks.is_over(0.0)
    ranks.close()
