"""A folder of files by name that several processes share: private, of bounded size, damaged files ignored."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from mlc.errors import notice

from .turns import Turns

MAGIC = b"mlc cache 1\n"
MOST_BYTES = 1 << 30
STALE_SECONDS = 3600.0  # a temporary file or a lock of this age belongs to a process that was killed
TEMPORARY = ".new-"
_DIGEST_BYTES = 32


class Folder:
    """``get`` and ``put`` of bytes by name; what cannot be read or written is as if it were not there.

    The folder is made for its owner alone, and one that another user owns or may write to is not used, with a notice:
    its files hold machine code. Files appear at once and whole. When they exceed ``most_bytes``, those that
    were used least recently go, down to three quarters of it.
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self.most_bytes = most_bytes
        self.turns = Turns(path)
        self.refusal = _make_private(path)  # why the folder is not used, or ""

    def get(self, name: str) -> bytes | None:
        """The bytes that were put under ``name``; None where there are none or they are damaged."""
        if self.refusal:
            return None
        path = self.path / name
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with os.fdopen(handle, "rb") as file:
                content = file.read()
            os.utime(path)  # used now
        except OSError:
            return None
        begin = len(MAGIC) + _DIGEST_BYTES
        payload = content[begin:]
        if content[: len(MAGIC)] != MAGIC or hashlib.sha256(payload).digest() != content[len(MAGIC) : begin]:
            return None
        return payload

    def has(self, name: str) -> bool:
        """Whether there is a file for ``name``, damaged or not."""
        return (self.path / name).exists()

    def put(self, name: str, payload: bytes) -> None:
        """Store ``payload`` under ``name``, in place of what was there."""
        import tempfile  # and compressors of archives with it: not for a warm start

        if self.refusal:
            return
        try:
            handle, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=self.path)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(MAGIC + hashlib.sha256(payload).digest())
                    file.write(payload)
                os.replace(temporary, self.path / name)
            except OSError:
                os.unlink(temporary)
                raise
            self._bound()
        except OSError as error:
            self.refusal = f"{self.path} cannot be written: {error.strerror}"

    def _bound(self) -> None:
        """Remove the files that were used least recently, where all together are too large."""
        files = []
        for entry in os.scandir(self.path):
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # another process was faster
                continue
            files.append((found.st_mtime, found.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        goal = self.most_bytes if total <= self.most_bytes else self.most_bytes * 3 // 4
        long_ago = time.time() - STALE_SECONDS
        for used, size, path in sorted(files):
            stale = used < long_ago and os.path.basename(path).startswith((TEMPORARY, Turns.PREFIX))
            if stale or total > goal:
                with suppress(FileNotFoundError):
                    os.unlink(path)
                total -= size


def _make_private(path: Path) -> str:
    """Make the folder, mode 0700; why it may not be used, or "" where it may."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(path)
    except OSError as error:
        return f"{path} cannot be made: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode):
        return f"{path} is no folder"
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        why = "belongs to another user" if found.st_uid != os.geteuid() else "can be written by other users"
        notice(f"the cache of compiled code is not used: {path} {why}; hint: chmod 700 it, or set MLC_CACHE")
        return f"{path} {why}"
    return ""
