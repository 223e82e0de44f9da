"""Processes that want the same program at once: one compiles it, the others wait, and none for ever."""

from __future__ import annotations

import errno
import fcntl
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
from mlc.cache import Folder, turns
from mlc.cache.turns import Turns
from mlc.errors import Notice

X = np.arange(6, dtype=np.float32)
NEW = (False, "not in the cache: no function of this name and file was compiled before")
HOLDER = """
import sys, time
from pathlib import Path
import numpy as np
import mlc
from mlc.program import Program

folder, compile = Path(sys.argv[1]), Program._compile

def wait(self):
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return compile(self)

Program._compile = wait
assert not mlc.jit(lambda x: x * 9 - 4).lower(np.arange(6, dtype=np.float32)).compile().origin.cached
"""


def origin() -> tuple[bool, str]:
    """How the program that the holder compiles came to this process."""
    found = mlc.jit(lambda x: x * 9 - 4).lower(X).compile().origin
    return found.cached, found.why


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def holder(cache: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is compiling, and goes on when there is a file ``go``."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)]) as process:
        try:
            until((tmp_path / "begun").exists)
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def when_it_waits(then: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Call ``then`` at the first pause of this process while it waits; the pauses."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            then()
        time.sleep(seconds)

    class Clock:
        monotonic = staticmethod(time.monotonic)

    Clock.sleep = staticmethod(sleep)  # type: ignore[attr-defined]
    monkeypatch.setattr(turns, "time", Clock)
    return pauses


def locks(cache: Path) -> list[Path]:
    return list(cache.glob(".lock-*"))


def test_the_others_load_what_one_compiles(
    cache: Path, tmp_path: Path, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(locks(cache)) == 1
    pauses = when_it_waits((tmp_path / "go").touch, monkeypatch)
    assert origin() == (True, "") and pauses
    assert holder.wait(60) == 0 and not locks(cache)


def test_the_next_one_compiles_when_the_holder_is_killed(
    cache: Path, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = when_it_waits(holder.kill, monkeypatch)
    assert origin() == NEW and pauses
    assert origin() == (True, "") and not locks(cache)


def test_a_stopped_holder_is_not_waited_for_for_ever(
    cache: Path, tmp_path: Path, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(turns, "PATIENCE", 0.05)
    with pytest.warns(Notice, match=r"waited 0.05 s for the process that has .*\.lock-program-.*may be stopped"):
        assert origin() == NEW
    assert origin() == (True, "")
    (tmp_path / "go").touch()
    holder.send_signal(signal.SIGCONT)
    assert holder.wait(60) == 0 and origin() == (True, "") and not locks(cache)


def test_a_hit_takes_no_turn(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert origin() == NEW and not locks(cache)
    monkeypatch.setattr(Turns, "take", None)
    assert origin() == (True, "")


def test_a_program_that_does_not_compile_keeps_nobody_out(cache: Path) -> None:
    with pytest.raises(ZeroDivisionError), Folder(cache).turns.take("a"):
        raise ZeroDivisionError
    assert not locks(cache)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(number: int, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert origin() == NEW and origin() == (True, "")


def test_a_folder_in_which_no_file_can_be_made(tmp_path: Path) -> None:
    entered = False
    with Turns(tmp_path / "none").take("a"):
        entered = True
    assert entered


def test_threads_take_turns_and_those_that_waited_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first leaves nothing that could be looked for: the others are all in the block at the same time."""
    left, entered, together = threading.Event(), [], threading.Barrier(2)

    def wait() -> None:
        with Turns(tmp_path).take("a"):
            entered.append(left.is_set())
            together.wait(60)

    threads = [threading.Thread(target=wait) for _ in range(2)]
    with Turns(tmp_path).take("a"), Turns(tmp_path).take("b"):  # another name is free
        pauses = when_it_waits(lambda: None, monkeypatch)
        for thread in threads:
            thread.start()
        until(lambda: pauses.count(turns.SHORTEST) == 2)  # the first of each
        left.set()
    for thread in threads:
        thread.join(60)
    assert entered == [True, True] and not list(tmp_path.iterdir())


def test_who_had_to_wait_lets_others_begin_until_it_is_ready_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "LEAD", 0.3)
    here = Turns(tmp_path)
    (tmp_path / "made").touch()

    def pauses(name: str, ready: bool) -> bool:
        found = when_it_waits(lambda: None, monkeypatch)
        with here.take(name, ready):
            return bool(found)

    assert not pauses("a", ready=False)  # it has met nobody
    held, other = threading.Event(), threading.Event()

    def hold() -> None:
        with Turns(tmp_path).take("a"):
            held.set()
            other.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    when_it_waits(other.set, monkeypatch)
    with here.take("a"):
        thread.join(60)
    assert pauses("b", ready=False) and not pauses("b", ready=True)
    assert not pauses("made", ready=False)  # somebody was faster
