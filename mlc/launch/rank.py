"""Runs one rank's program as its child: prefixes what it prints with frames, and writes down how it fares.

Usage: ``python rank.py FOLDER VARIABLE command...``. A launcher starts this on every host; it needs the standard
library alone, so that it costs little beside the program. VARIABLE is the launcher's own variable for the rank, which
the program finds in MLC_RANK. ``FOLDER/rank-R.json`` always holds the last `Report` of rank R. A supervisor on this
host is told when the rank is there, before the program starts, and when it has ended (`Attendance`).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

MARK = b"\x1e"  # begins a frame: MARK rank " " kind " " text "\n"; o and e are a line, O and E the begin of one
FRAME = 3900  # bytes of text in one: a frame is one write that a pipe takes whole
SEEN = "seen"  # a file in the run folder: the supervisor knows that a rank has failed, and has looked at the others
LINGER = 2.0  # seconds that a rank waits for it
DRAIN = 0.5  # seconds in which what the program left running may still print
HEARD = b"heard"  # what the supervisor answers to a rank that says that it is there
SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Report:
    """How a rank fares: ``state`` is running, stopped or ended; ``signal`` is what ended it, or 0.

    ``stopped_by`` is what stopped it last, at ``stopped``, until ``continued``. ``told`` is the last signal that its
    launcher sent, which it passed on to the program. Times are in seconds since 1970, 0 for never.
    """

    rank: int
    pid: int
    watcher: int  # the process that writes this
    host: str
    state: str = "running"
    code: int = 0
    signal: int = 0
    time: float = 0.0  # of the last change of state
    stopped_by: int = 0
    stopped: float = 0.0
    continued: float = 0.0
    told: int = 0

    def was_stopped(self, time: float) -> bool:
        """Was it stopped at that time?"""
        return 0 < self.stopped <= time and not self.stopped <= self.continued < time

    def write(self, folder: Path) -> None:
        """Put it in the place of the rank's last report, at once."""
        written = folder / f".rank-{self.rank}.json"
        written.write_text(json.dumps(asdict(self)), encoding="utf-8")
        written.replace(folder / f"rank-{self.rank}.json")


def read_reports(folder: Path) -> dict[int, Report]:
    """The last report of every rank that has begun."""
    found = [Report(**json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("rank-*.json")]
    return {report.rank: report for report in found}


def die_with_parent() -> None:
    """Have this process killed when the thread that started it ends, however that happens."""
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


@contextlib.contextmanager
def supervisor_address(folder: Path) -> Iterator[str]:
    """Of the socket in the run folder at which the supervisor hears the ranks of its host, however long the path is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/supervisor"
    finally:
        os.close(descriptor)


def main(folder: Path, variable: str, command: list[str]) -> int:
    """Run ``command`` to its end. Its exit code, or 128 and the signal that killed it."""
    die_with_parent()
    rank = int(os.environ[variable])
    os.set_blocking(1, True)
    waking, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    begin, begin_end = os.pipe()
    child = _start(command, rank, out_end, err_end, begin, begin_end)
    for descriptor in (out_end, err_end, begin):
        os.close(descriptor)
    told: list[int] = []
    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: _pass_on(child, number, told))
    report = Report(rank, child, os.getpid(), socket.gethostname(), time=time.time())
    with _supervisor(folder, rank) as supervisor:
        report.write(folder)
        _wait_until_known(supervisor)
        with contextlib.suppress(BrokenPipeError):  # somebody has killed the child
            os.write(begin_end, b"b")
        os.close(begin_end)
        return _watch(report, folder, told, waking, supervisor, {out: _Frames(rank, b"o"), err: _Frames(rank, b"e")})


def _supervisor(folder: Path, rank: int) -> socket.socket:
    """A line to the supervisor, which is told of this rank; one to nobody on another host, or where it has ended."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.suppress(OSError), supervisor_address(folder) as address:
        line.connect(address)
        line.send(b"%d" % rank)
    return line


def _wait_until_known(supervisor: socket.socket) -> None:
    with contextlib.suppress(OSError):
        supervisor.recv(len(HEARD))


def _start(command: list[str], rank: int, out: int, err: int, begin: int, begin_end: int) -> int:
    """The child that runs ``command`` once there is something to read from the pipe ``begin``.

    It inherits what the launcher opened for the program (PMI_FD).
    """
    child = os.fork()
    if child:
        return child
    try:
        die_with_parent()
        os.close(begin_end)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ["MLC_RANK"] = str(rank)
        if not os.read(begin, 1):
            os._exit(127)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _pass_on(child: int, number: int, told: list[int]) -> None:
    told.append(number)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _watch(
    report: Report,
    folder: Path,
    told: list[int],
    waking: int,
    supervisor: socket.socket,
    frames: dict[int, _Frames],
) -> int:
    """Pass on what the child prints and report its stops until it has ended and both its outputs are closed."""
    selector = selectors.DefaultSelector()
    for descriptor in (waking, *frames):
        selector.register(descriptor, selectors.EVENT_READ)
    deadline = float("inf")
    while len(selector.get_map()) > 1 or report.state != "ended":
        left = deadline - time.monotonic()
        if left <= 0:
            break
        for key, _ in selector.select(None if left == float("inf") else left):
            if key.fd == waking:
                os.read(waking, 4096)
            elif not frames[key.fd].read(key.fd):
                selector.unregister(key.fd)
        if report.state != "ended":
            changed = _look_at(report, told[-1] if told else 0)
            if changed != report:
                report = changed
                report.write(folder)
            if report.state == "ended":
                with contextlib.suppress(OSError):
                    supervisor.send(b"ended")
                deadline = time.monotonic() + DRAIN
    for frame in frames.values():
        frame.end()
    if report.code:
        _wait_for(folder / SEEN)
    return report.code


def _wait_for(path: Path) -> None:
    """Until it is there or for a while: once this process ends, the launcher kills the other ranks."""
    deadline = time.monotonic() + LINGER
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def _look_at(report: Report, told: int) -> Report:
    """The report of what the child is now."""
    pid, status = os.waitpid(report.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
    if not pid:
        return report
    now = time.time()
    if os.WIFSTOPPED(status):
        return replace(report, state="stopped", stopped_by=os.WSTOPSIG(status), stopped=now, time=now)
    continued = now if report.state == "stopped" else report.continued
    if os.WIFCONTINUED(status):
        return replace(report, state="running", continued=continued, time=now)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 128 + number if number else os.WEXITSTATUS(status)
    return replace(report, state="ended", code=code, signal=number, told=told, continued=continued, time=now)


class _Frames:
    """Cuts one output of the program into frames on standard output."""

    def __init__(self, rank: int, kind: bytes) -> None:
        self.whole = MARK + b"%d %b " % (rank, kind)
        self.part = MARK + b"%d %b " % (rank, kind.upper())
        self.rest = b""

    def read(self, descriptor: int) -> bool:
        """Pass on what can be read now; false at the end."""
        data = os.read(descriptor, 1 << 16)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self._write(line)
        while len(self.rest) > FRAME:
            _write_all(self.part + self.rest[:FRAME] + b"\n")
            self.rest = self.rest[FRAME:]
        return bool(data)

    def end(self) -> None:
        """Pass on the line that did not end."""
        if self.rest:
            self._write(self.rest)
            self.rest = b""

    def _write(self, line: bytes) -> None:
        while len(line) > FRAME:
            _write_all(self.part + line[:FRAME] + b"\n")
            line = line[FRAME:]
        _write_all(self.whole + line + b"\n")


def _write_all(data: bytes) -> None:
    """Write to standard output, unless nobody reads it any more."""
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(1, data) :]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
