"""Who is named, from reports alone: the first failure in time, whatever a launcher does to the others afterwards."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlc.launch import rank as rank_program
from mlc.launch.rank import HEARD, Report, read_reports, supervisor_address
from mlc.launch.ranks import AT_ONCE, Outcome, Ranks
from tests.launch.launching import wait_for

NOW = time.time()
KILLED = {"state": "ended", "code": 137, "signal": signal.SIGKILL}
ENDED = {"state": "ended"}


@pytest.fixture
def waiting() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def report(folder: Path, rank: int, after: float, pid: int = 1, host: str = "elsewhere", **how: object) -> None:
    values = {"rank": rank, "pid": pid, "watcher": 1, "host": host, "time": NOW + after}
    Report(**{**values, **how}).write(folder)  # type: ignore[arg-type]


def outcome(folder: Path, count: int = 3, code: int = 1) -> Outcome:
    ranks = Ranks(folder, count)
    ranks.update()
    ranks.close()
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


def watcher(folder: Path, rank: int | str) -> socket.socket:
    """The line of one that watches a rank on this host and has said so."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with supervisor_address(folder) as address:
        line.connect(address)
    line.send(str(rank).encode())
    return line


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_first_that_vanished_is_named_however_late_somebody_looks(order: tuple[int, ...], tmp_path: Path) -> None:
    ranks = Ranks(tmp_path, 3)
    for rank in range(3):
        report(tmp_path, rank, -5.0, pid=7, host=socket.gethostname())
    lines = [watcher(tmp_path, rank) for rank in range(3)]
    ranks.hear()
    ranks.update()
    assert [line.recv(16) for line in lines] == [HEARD] * 3 and not ranks.is_over(60.0)
    for rank in order:
        lines[rank].close()
    ranks.hear()
    assert ranks.is_over(60.0)
    words = f"rank {order[0]} (process 7 on {socket.gethostname()}) was killed with what watched it"
    assert ranks.outcome("mpiexec", 9) == Outcome(137, words)
    ranks.close()


@pytest.mark.parametrize("first", ["vanishes", "fails"])
def test_who_fails_after_another_vanished_is_not_to_blame(first: str, tmp_path: Path) -> None:
    """The times of the reports do not matter where the supervisor heard in which order they were written."""
    ranks = Ranks(tmp_path, 2)
    report(tmp_path, 0, 0.0, host=socket.gethostname())
    lines = [watcher(tmp_path, rank) for rank in range(2)]
    ranks.hear()
    if first == "vanishes":
        lines[0].close()
    report(tmp_path, 1, -9.0, host=socket.gethostname(), **ENDED, code=4)
    lines[1].send(b"ended")
    lines[0].close()
    ranks.hear()
    ranks.update()
    assert ranks.outcome("mpiexec", 9).code == (137 if first == "vanishes" else 4)
    lines[1].close()
    ranks.close()


def test_who_is_not_known_yet_when_it_ends_does_not_come_before_who_ended_it(tmp_path: Path) -> None:
    """The launcher's victim has said its rank, which is unread, before the culprit ends."""
    ranks = Ranks(tmp_path, 2)
    for rank in range(2):
        report(tmp_path, rank, -5.0, host=socket.gethostname())
    culprit = watcher(tmp_path, 1)
    ranks.hear()
    victim = watcher(tmp_path, 0)
    culprit.close()
    victim.close()
    ranks.hear()
    ranks.update()
    assert ranks.outcome("mpiexec", 9).reason.startswith("rank 1 ")
    ranks.close()


def test_what_the_launcher_did_is_not_blamed_on_a_rank_that_nobody_listened_to(tmp_path: Path) -> None:
    """Rank 0 ends well, for which the launcher kills the other one; both are heard much later."""
    ranks = Ranks(tmp_path, 2)
    lines = [watcher(tmp_path, rank) for rank in range(2)]
    ranks.hear()
    report(tmp_path, 0, time.time() - NOW, host=socket.gethostname(), **ENDED)
    report(tmp_path, 1, -5.0, host=socket.gethostname())
    lines[0].send(b"ended")
    lines[1].close()
    time.sleep(AT_ONCE + 0.1)
    ranks.hear()
    ranks.update()
    got = ranks.outcome("mpiexec", 9)
    assert got == Outcome(9, "mpiexec ended with code 9; rank 0 had ended before the others", by_launcher=True)
    lines[0].close()
    ranks.close()


@pytest.mark.parametrize("words", ["garbage", "-1", "2", "0", ""])
def test_what_no_rank_says_is_not_heard(words: str, tmp_path: Path) -> None:
    """No number, one of no rank, or of one that is there."""
    ranks = Ranks(tmp_path, 2)
    report(tmp_path, 0, 0.0, host=socket.gethostname())
    line = watcher(tmp_path, 0)
    ranks.hear()
    watcher(tmp_path, words).close()
    watcher(tmp_path, words).close()
    ranks.hear()
    ranks.update()
    assert not ranks.is_over(60.0)
    line.close()
    ranks.close()


def test_a_rank_that_cannot_connect_is_missed_all_the_same(tmp_path: Path, waiting: subprocess.Popen[bytes]) -> None:
    ranks = Ranks(tmp_path, 1)
    report(tmp_path, 0, 0.0, host=socket.gethostname(), watcher=waiting.pid)
    ranks.update()
    ranks.look()
    assert not ranks.is_over(60.0)
    waiting.kill()
    waiting.wait()
    ranks.look()
    assert ranks.is_over(60.0)
    assert ranks.outcome("mpiexec", 9).code == 137
    ranks.close()


def test_who_was_stopped_and_has_ended_well_ends_nothing(tmp_path: Path, waiting: subprocess.Popen[bytes]) -> None:
    ranks = Ranks(tmp_path, 2)
    report(tmp_path, 0, 0.0, host=socket.gethostname(), watcher=waiting.pid)
    ranks.update()
    waiting.send_signal(signal.SIGSTOP)
    os.waitpid(waiting.pid, os.WUNTRACED)
    ranks.look()
    assert ranks.is_over(0.0)
    report(tmp_path, 0, 0.0, host=socket.gethostname(), watcher=waiting.pid, **ENDED)
    ranks.update()
    assert not ranks.is_over(0.0)
    ranks.close()


def ended(folder: Path, ranks: Ranks, then: Callable[[Report, subprocess.Popen[bytes]], None]) -> Report:
    """The last report of a rank that touches ``began``, to which ``then`` happens before the supervisor knows it."""
    command = [sys.executable, "-I", "-S", rank_program.__file__, folder, "RANK", "touch", folder / "began"]
    (folder / rank_program.SEEN).touch()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    try:
        process = subprocess.Popen(command, env={**os.environ, "RANK": "0"}, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        wait_for(folder / "rank-0.json")
        time.sleep(0.1)
        assert not (folder / "began").exists()
        then(read_reports(folder)[0], process)
        time.sleep(0.1)
        while process.poll() is None:
            ranks.hear()
            time.sleep(0.01)
        assert process.stderr is not None and not process.stderr.read()
    ranks.close()
    found = read_reports(folder)[0]
    assert found.state == "ended" and process.returncode == found.code
    return found


def test_a_program_starts_when_its_rank_is_known(tmp_path: Path) -> None:
    """So a rank that ends whoever watches it, first thing, is known for it."""
    assert ended(tmp_path, Ranks(tmp_path, 1), lambda report, process: None).code == 0
    assert (tmp_path / "began").exists()


@pytest.mark.parametrize(
    ("whom", "number"),
    [
        ("program", signal.SIGKILL),
        ("program", signal.SIGINT),
        ("watcher", signal.SIGTERM),
        ("watcher", signal.SIGINT),
    ],
)
def test_a_signal_before_a_rank_is_known_ends_it_as_any_other(whom: str, number: int, tmp_path: Path) -> None:
    end = lambda report, process: os.kill(report.pid if whom == "program" else report.watcher, number)  # noqa: E731
    found = ended(tmp_path, Ranks(tmp_path, 1), end)
    assert found.signal == number and found.told == (number if whom == "watcher" else 0)
    assert not (tmp_path / "began").exists()


def test_a_stopped_process_ends_the_job_when_it_is_time(tmp_path: Path, waiting: subprocess.Popen[bytes]) -> None:
    report(tmp_path, 0, 0.0, pid=os.getpid(), host=socket.gethostname(), watcher=waiting.pid)
    ranks = Ranks(tmp_path, 1)
    ranks.update()
    waiting.send_signal(signal.SIGSTOP)
    os.waitpid(waiting.pid, os.WUNTRACED)
    ranks.look()
    time.sleep(0.01)
    assert ranks.is_over(0.0) and not ranks.is_over(60.0)
    assert ranks.outcome("mpiexec", 9).code == 75
    waiting.send_signal(signal.SIGCONT)
    os.waitpid(waiting.pid, os.WCONTINUED)
    ranks.look()
    assert not ranks.is_over(0.0)
    ranks.close()
