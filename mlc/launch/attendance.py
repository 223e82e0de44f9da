"""Who of a job's ranks on this host is there, and in which order they ended."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from pathlib import Path

from .rank import HEARD, supervisor_address

CREDENTIALS = struct.Struct("iII")  # pid, uid, gid: struct ucred, unix(7)


class Attendance:
    """Hears the watchers of the ranks: each connects before its program starts, and stays so while it lives.

    What a watcher says last, and its end, are queued by the kernel when they happen (epoll(7), edge-triggered), before
    its launcher can know of it and end the others. So the order is the true one, however late somebody listens.
    """

    def __init__(self, folder: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(supervisor_address(folder))
        self._listener.listen(4096)
        self._listener.setblocking(False)
        self._events = select.epoll()
        self._events.register(self._listener, select.EPOLLIN)
        self._lines: dict[int, socket.socket] = {}
        self._ranks: dict[int, int] = {}  # of lines

    def fileno(self) -> int:
        """Readable when there is something to hear."""
        return self._events.fileno()

    def hear(self) -> list[int]:
        """The ranks whose watcher has said that they ended, or has ended, since the last call; the first one first."""
        ended: list[int] = []
        while events := self._events.poll(0):
            for descriptor, _ in events:
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._read(descriptor, ended)
        return ended

    def close(self) -> None:
        """Nobody is heard any more."""
        for line in (self._listener, *self._lines.values()):
            line.close()
        self._lines.clear()
        self._events.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                line, _ = self._listener.accept()
                line.setblocking(False)
                size = CREDENTIALS.size
                _, user, _ = CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
                if user != os.getuid():
                    line.close()
                    continue
                self._lines[line.fileno()] = line
                self._events.register(line, select.EPOLLIN | select.EPOLLET)

    def _read(self, descriptor: int, ended: list[int]) -> None:
        """All that is to be read. The first message is a rank, which may begin; any other, and the end, is its end."""
        line = self._lines[descriptor]
        with contextlib.suppress(BlockingIOError):
            while True:
                message = _receive(line)
                if message and descriptor not in self._ranks:
                    self._ranks[descriptor] = int(message)
                    with contextlib.suppress(OSError):
                        line.send(HEARD)
                    continue
                if descriptor in self._ranks:
                    ended.append(self._ranks[descriptor])
                if not message:
                    del self._lines[descriptor]
                    self._ranks.pop(descriptor, None)
                    line.close()
                    return


def _receive(line: socket.socket) -> bytes:
    try:
        return line.recv(64)
    except ConnectionResetError:  # it ended before it read what it was told
        return b""
