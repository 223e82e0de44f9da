"""The segments in /dev/shm that a job's processes have mapped, removed when all of them have ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from .processes import PROC, mapped_files, open_files

FOLDER = "/dev/shm/"
NAMES = ("mpich_shm_", "vader_segment.", "sm_segment.", "ucx_shm_posix_")  # begin those of MPICH, Open MPI and UCX


class Segments:
    """What the processes of a job have mapped so far. A library that is killed leaves its segments behind."""

    def __init__(self) -> None:
        self._before = set(os.listdir(FOLDER)) if os.path.isdir(FOLDER) else set()
        self._seen: set[str] = set()

    def look(self, pids: Iterable[int]) -> None:
        """Take note of what these processes have mapped now."""
        for pid in pids:
            self._seen |= mapped_files(pid, FOLDER)

    def remove(self) -> list[str]:
        """Remove those that are new since the beginning and that no living process uses; the paths of them.

        So are this user's that have an MPI's name: a process may have been killed before it was looked at.
        """
        ours = {path for path in (*self._seen, *_named()) if os.path.basename(path) not in self._before}
        ours = set(filter(os.path.exists, ours))
        if not ours:
            return []
        living = [int(name) for name in os.listdir(PROC) if name.isdigit()]
        for look in (open_files, mapped_files):  # in this order: who makes one maps it before it is closed
            for pid in living:
                ours -= look(pid, FOLDER)
        for path in ours:
            with contextlib.suppress(OSError):
                Path(path).unlink()
        return sorted(ours)


def _named() -> list[str]:
    """This user's segments that have the name of an MPI's."""
    found = []
    with contextlib.suppress(OSError), os.scandir(FOLDER) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.startswith(NAMES) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                    found.append(entry.path)
    return found
