"""The processes of a job as /proc has them: found whatever group or session they moved to, and ended for certain."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

SET_CHILD_SUBREAPER = 36  # prctl(2)
PROC = Path("/proc")


@contextlib.contextmanager
def adopting() -> Iterator[frozenset[int]]:
    """Orphans of this process's descendants become its children in this block, which is given the children it had."""
    prctl = ctypes.CDLL(None).prctl
    prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield frozenset(_children().get(os.getpid(), ()))
    finally:
        prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def descendants(others: frozenset[int]) -> list[int]:
    """The living processes below this one, parents first, but for those below its children ``others``."""
    children, found = _children(), [os.getpid()]
    for pid in found:
        found += [child for child in children.get(pid, ()) if child not in others]
    return found[1:]


def kill(others: frozenset[int], within: float = 10.0) -> list[int]:
    """SIGKILL and reap `descendants` until none is left. Those that are left after ``within`` seconds: waiting in the
    kernel for a device, they end when it answers."""
    deadline = time.monotonic() + within
    while left := descendants(others):
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap(others)
        if time.monotonic() > deadline:
            return left
        time.sleep(0.005)
    return []


def reap(others: frozenset[int], owned: int = 0) -> None:
    """Take leave of children that have ended, but for ``others`` and ``owned``, whose status somebody else wants."""
    for pid in _children().get(os.getpid(), ()):
        if pid not in others and pid != owned:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def state(pid: int) -> str:
    """R for a process that runs, S for one that waits, T for one that is stopped ... (proc(5)); empty for none."""
    try:
        status = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    return status[status.rindex(")") + 1 :].split()[0]


def mapped_files(pid: int, folder: str) -> set[str]:
    """The files of ``folder`` that the process has mapped."""
    found = set()
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "maps").read_text(errors="replace").splitlines():
            path = line.partition("/")
            name = path[1] + path[2]
            if name.startswith(folder) and not name.endswith(" (deleted)"):
                found.add(name)
    return found


def open_files(pid: int, folder: str) -> set[str]:
    """The files of ``folder`` that the process has open."""
    found = set()
    with contextlib.suppress(OSError):
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                name = os.readlink(descriptor)
                if name.startswith(folder):
                    found.add(name)
    return found


def _children() -> dict[int, list[int]]:
    """The children of every process."""
    found: dict[int, list[int]] = {}
    for name in os.listdir(PROC):
        if name.isdigit():
            with contextlib.suppress(OSError):
                status = (PROC / name / "stat").read_text(errors="replace")
                parent = int(status[status.rindex(")") + 1 :].split()[1])
                found.setdefault(parent, []).append(int(name))
    return found
