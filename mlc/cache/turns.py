"""Processes that are about to make the same file take turns: one makes it, and the others wait until it is there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlc.errors import notice

PATIENCE = 120.0  # seconds that one process waits for another: longer than almost every program takes to compile
LEAD = 0.1  # seconds that a process that had to wait once leaves to the others, which have a compiler at hand
SHORTEST, LONGEST = 0.001, 0.01  # seconds from one look at a lock to the next


class Turns:
    """Locks on the names of files in ``folder``, each flock(2) on a file that is there while somebody holds it.

    A lock is free when its holder dies; its file then stays. No lock is certain: the blocks under it must be right
    without. Threads of one process are told apart as processes are.
    """

    PREFIX = ".lock-"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waited = False

    @contextmanager
    def take(self, name: str, ready: bool = True) -> Iterator[None]:
        """A block that one process is in at a time; who waited for another to leave it looks what that has made.

        A process that is not ``ready`` lets others begin, once it has met any. One goes on without the lock where
        the file system has none; after a holder that has left, for nothing is to be made any more; and, with a
        notice, when PATIENCE is over: the holder may be stopped.
        """
        path = self.folder / f"{self.PREFIX}{name}"
        if self._waited and not ready:
            _wait_for(path, self.folder / name)
        handle = self._acquire(path)
        try:
            yield
        finally:
            if handle is not None:
                _release(handle, path)

    def _acquire(self, path: Path) -> int | None:
        """A descriptor that holds the lock, once it is free; None for going on without."""
        handle = None
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if self._lock(handle, path) and os.fstat(handle).st_nlink:  # who leaves removes it
                held, handle = handle, None
                return held
        except OSError:
            pass
        finally:
            if handle is not None:
                os.close(handle)
        return None

    def _lock(self, handle: int, path: Path) -> bool:
        """Wait for the lock of an open file; whether it is held then. Raises OSError where there are no locks."""
        import fcntl  # not for a warm start

        deadline, pause = time.monotonic() + PATIENCE, SHORTEST
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                self._waited = True
            if time.monotonic() > deadline:
                notice(f"waited {PATIENCE:g} s for the process that has {path} open, which may be stopped; going on")
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST)


def _wait_for(*paths: Path) -> None:
    """Until one of them is there, or for a while."""
    deadline = time.monotonic() + LEAD
    while not any(path.exists() for path in paths) and time.monotonic() < deadline:
        time.sleep(SHORTEST)


def _release(handle: int, path: Path) -> None:
    """Let the next ones in."""
    import fcntl

    with suppress(OSError):
        path.unlink()
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)  # also for a process that was forked from this one meanwhile
    os.close(handle)
