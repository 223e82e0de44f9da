"""Runs one rank's program as its child: prefixes what it prints with frames, and writes down how it fares.

Usage: ``python rank.py FOLDER VARIABLE command...``. A launcher starts this on every host; it needs the standard
library alone, so that it costs little beside the program. VARIABLE is the launcher's own variable for the rank, which
the program finds in MLC_RANK. ``FOLDER/rank-R.json`` always holds the last `Report` of rank R.
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
from dataclasses import asdict, dataclass
from pathlib import Path

MARK = b"\x1e"  # begins a frame: MARK rank " " kind " " text "\n"; o and e are a line, O and E the begin of one
FRAME = 3900  # bytes of text in one: a frame is one write that a pipe takes whole
DRAIN = 0.5  # seconds in which what the program left running may still print
SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Report:
    """How a rank fares: ``state`` is running, stopped or ended; ``signal`` is what stopped or ended it, or 0."""

    rank: int
    pid: int
    host: str
    state: str
    code: int
    signal: int
    time: float  # seconds since 1970

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
    child = _start(command, rank, out_end, err_end)
    os.close(out_end)
    os.close(err_end)
    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: _pass_on(child, number))
    report = Report(rank, child, socket.gethostname(), "running", 0, 0, time.time())
    report.write(folder)
    return _watch(report, folder, waking, {out: _Frames(rank, b"o"), err: _Frames(rank, b"e")})


def _start(command: list[str], rank: int, out: int, err: int) -> int:
    """The child that runs ``command``. It inherits what the launcher opened for the program (PMI_FD)."""
    child = os.fork()
    if child:
        return child
    try:
        die_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ["MLC_RANK"] = str(rank)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _watch(report: Report, folder: Path, waking: int, frames: dict[int, _Frames]) -> int:
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
            changed = _look_at(report)
            if changed != report:
                report = changed
                report.write(folder)
            if report.state == "ended":
                deadline = time.monotonic() + DRAIN
    for frame in frames.values():
        frame.end()
    return report.code


def _look_at(report: Report) -> Report:
    """The report of what the child is now."""
    pid, status = os.waitpid(report.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
    if not pid:
        return report
    state, code, number = "running", 0, 0
    if os.WIFSTOPPED(status):
        state, number = "stopped", os.WSTOPSIG(status)
    elif os.WIFSIGNALED(status):
        state, number = "ended", os.WTERMSIG(status)
        code = 128 + number
    elif os.WIFEXITED(status):
        state, code = "ended", os.WEXITSTATUS(status)
    return Report(report.rank, report.pid, report.host, state, code, number, time.time())


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
