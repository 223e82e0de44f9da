"""Who of a job's ranks on this host is there, and in which order they ended."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
from pathlib import Path

from .rank import HEARD, supervisor_address

SPARE = 256  # descriptors that this process may need besides one for each rank
EACH_ONCE = select.EPOLLIN | select.EPOLLET


class Attendance:
    """Hears the watchers of the ranks: each connects before its program starts, and stays so while it lives.

    What a watcher says last, and its end, are queued by the kernel when they happen (epoll(7), edge-triggered), before
    its launcher can know of it and end the others. So the order is the true one, however late somebody listens, for
    ranks that have been answered: before that their programs do not start.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._count = count
        _allow_descriptors(count + SPARE)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._events = select.epoll()
        self._lines: dict[int, socket.socket] = {}
        self._ranks: dict[int, int] = {}  # of lines
        # A file system may have no sockets: then nobody connects.
        with contextlib.suppress(OSError), supervisor_address(folder) as address:
            self._listener.bind(address)
            self._listener.listen(4096)
            self._listener.setblocking(False)
            self._events.register(self._listener, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when there is something to hear."""
        return self._events.fileno()

    def heard(self, rank: int) -> bool:
        """Is its watcher connected?"""
        return rank in self._ranks.values()

    def hear(self) -> list[int]:
        """The ranks whose watcher has said that they ended, or has ended, since the last call; the first one first."""
        ended: list[int] = []
        while events := self._events.poll(0):
            for descriptor, _ in events:
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._ranks:
                    self._hear_end(descriptor, ended)
                else:
                    self._hear_begin(descriptor)
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
                self._lines[line.fileno()] = line
                self._events.register(line, EACH_ONCE)

    def _hear_begin(self, descriptor: int) -> None:
        """The first message is a rank, which is answered. What comes next takes its place in the queue from here."""
        line = self._lines[descriptor]
        message = _receive(line)
        if not message.isdigit() or int(message) >= self._count or self.heard(int(message)):
            self._drop(descriptor)
            return
        self._ranks[descriptor] = int(message)
        with contextlib.suppress(OSError):
            line.send(HEARD)
        self._events.modify(line, EACH_ONCE)

    def _hear_end(self, descriptor: int, ended: list[int]) -> None:
        """Any other message means the end, and so does that of the line."""
        message = _receive(self._lines[descriptor])
        ended.append(self._ranks[descriptor])
        if message:
            self._events.modify(descriptor, EACH_ONCE)
        else:
            self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        self._ranks.pop(descriptor, None)
        self._lines.pop(descriptor).close()


def _receive(line: socket.socket) -> bytes:
    try:
        return line.recv(64)
    except ConnectionResetError:  # it ended before it read what it was told
        return b""


def _allow_descriptors(count: int) -> None:
    """At least as many in this process, if the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count if hard < 0 else min(count, hard), hard))
