"""The segments in /dev/shm that a job's processes have mapped, removed when all of them have ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from .processes import PROC, mapped_files

FOLDER = "/dev/shm/"


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
        """Remove those that are new since the beginning and that no living process has mapped; the paths of them."""
        ours = {path for path in self._seen if os.path.basename(path) not in self._before and os.path.exists(path)}
        if not ours:
            return []
        for name in os.listdir(PROC):
            if name.isdigit():
                ours -= mapped_files(int(name), FOLDER)
        for path in ours:
            with contextlib.suppress(OSError):
                Path(path).unlink()
        return sorted(ours)
