"""What is known of a job's ranks: from their reports, and on this host from the processes themselves."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .attendance import Attendance
from .rank import Report, read_reports

WAITED_TOO_LONG = 75  # exit code of a rank whose collective ran into its deadline
MOST_EARLY = 3.0  # seconds to hear what the other ranks say of one that is stopped, and to end all: mlc_watch_early
AT_ONCE = 1.0  # seconds within which a launcher that misses a rank kills the others


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: exit code, in words what failed first, and the signal that interrupted it, or 0.

    ``by_launcher``: no rank has failed, so that what the launcher printed is all there is to know.
    """

    code: int
    reason: str = ""
    interrupted: int = 0
    by_launcher: bool = False


class Ranks:
    """The ``count`` ranks that report to ``folder``, and what the processes themselves show."""

    def __init__(self, folder: Path, count: int) -> None:
        self.reports: dict[int, Report] = {}
        self._folder, self._count, self._host = folder, count, socket.gethostname()
        self._attendance = Attendance(folder, count)
        self._ends: dict[int, float] = {}  # ranks of this host, in the order of their ends: when they were last there
        self._listened = time.time()
        self._seen: set[int] = set()  # ranks whose watcher this host has or had
        self._halted: dict[int, float] = {}  # since when a process of them is stopped

    def fileno(self) -> int:
        """Readable when `hear` has something to hear."""
        return self._attendance.fileno()

    def hear(self) -> bool:
        """Note which ranks of this host have ended; is there a new one?"""
        ended = self._attendance.hear()
        self._note_ends(ended)
        self._listened = time.time()
        return bool(ended)

    def update(self) -> None:
        """Read what they report."""
        self.reports = read_reports(self._folder)

    def look(self) -> None:
        """See which processes of this host are stopped, and which watchers that did not connect are gone."""
        now = time.time()
        for report in self.here():
            states = [processes.state(pid) for pid in (report.pid, report.watcher)]
            if "T" in states:
                self._halted.setdefault(report.rank, now)
            else:
                self._halted.pop(report.rank, None)
            if states[1] not in ("", "Z"):
                self._seen.add(report.rank)
            elif report.rank in self._seen and not self._attendance.heard(report.rank):
                self._note_ends([report.rank])

    def _note_ends(self, ranks: list[int]) -> None:
        for rank in ranks:
            self._ends.setdefault(rank, self._listened)

    def close(self) -> None:
        """Hear them no more."""
        self._attendance.close()

    def here(self) -> Iterator[Report]:
        """Those of this host that have not ended."""
        return (r for r in self.reports.values() if r.host == self._host and r.state != "ended")

    def elsewhere(self) -> bool:
        """Are there any on other hosts?"""
        return any(report.host != self._host for report in self.reports.values())

    def is_over(self, timeout: float) -> bool:
        """Has one failed, vanished or been stopped for so long that ``timeout`` seconds will be over when all are
        ended, or have all ended?"""
        ended = self._ended()
        return (
            any(r.code for r in ended)
            or len(ended) == self._count
            or self._vanished() is not None
            or self.is_stopped(timeout - min(timeout / 4, MOST_EARLY))
        )

    def is_stopped(self, seconds: float) -> bool:
        """Has one been stopped for longer than that?"""
        since = [r.stopped for r in self.reports.values() if r.state == "stopped"]
        since += [self._halted[r.rank] for r in self.here() if r.rank in self._halted]
        return time.time() - min(since, default=float("inf")) > seconds

    def outcome(self, launcher: str, code: int) -> Outcome:
        """What they and the exit code of the launcher come to, when all processes have ended."""
        ended = self._ended()
        failed = [r for r in ended if r.code and not (r.told and r.signal in (r.told, signal.SIGKILL))]
        if not failed or failed[0].code == WAITED_TOO_LONG:
            until = failed[0].time if failed else time.time()
            if stopped := self._stopped(until):
                return Outcome(WAITED_TOO_LONG, ", ".join(stopped))
        if (vanished := self._vanished()) is not None:
            at, before = self._ends[vanished], self._ended_before(vanished)
            if not any(r in failed or at - r.time < AT_ONCE for r in before):
                who = _who(self.reports[vanished]) if vanished in self.reports else f"rank {vanished}"
                return Outcome(128 + signal.SIGKILL, f"{who} was killed with what watched it")
        if failed:
            return Outcome(failed[0].code, _in_words(failed[0]))
        if ended and ended[0].code:  # told to, by the launcher or by others, before anything else had happened
            return Outcome(ended[0].code, _told_in_words(ended[0]))
        if len(ended) == self._count and not any(r.code for r in ended):
            return Outcome(0, by_launcher=True)
        how = f"{launcher} ended with code {code}"
        if first := [str(r.rank) for r in ended if not r.code]:
            how += f"; rank {', '.join(first)} had ended before the others"
        return Outcome(code if code > 0 else 128 - code if code else 1, how, by_launcher=True)

    def _ended(self) -> list[Report]:
        """Those that have reported their end, the first one first."""
        return sorted((r for r in self.reports.values() if r.state == "ended"), key=lambda r: r.time)

    def _vanished(self) -> int | None:
        """The first that has ended without a word. Others may be the launcher's answer to that."""
        ended = {report.rank for report in self._ended()}
        return next((rank for rank in self._ends if rank not in ended), None)

    def _ended_before(self, vanished: int) -> list[Report]:
        """Those that have reported their end, and had before that one vanished."""
        order = list(self._ends)
        here, at = order[: order.index(vanished)], self._ends[vanished]
        return [r for r in self._ended() if (r.rank in here if r.rank in order else r.time < at)]

    def _stopped(self, until: float) -> list[str]:
        """Words for each rank that was stopped at that time."""
        found = []
        for report in sorted(self.reports.values(), key=lambda r: r.rank):
            if report.was_stopped(until):
                found.append(f"{_who(report)} was stopped by {_name(report.stopped_by)}")
            elif self._halted.get(report.rank, until) < until:
                found.append(f"{_who(report)} was stopped, or what watches it (process {report.watcher})")
        return found


def _in_words(report: Report) -> str:
    """How a rank has ended."""
    if report.signal:
        return f"{_who(report)} was killed by {_name(report.signal)}"
    told = " after it had waited too long for another rank" if report.code == WAITED_TOO_LONG else ""
    return f"{_who(report)} ended with exit code {report.code}{told}"


def _told_in_words(report: Report) -> str:
    """How a rank has ended whose watcher was told to end."""
    told = f"what watches it (process {report.watcher}) was sent {_name(report.told)}"
    return f"{_who(report)} was the first to end: {told}"


def _who(report: Report) -> str:
    return f"rank {report.rank} (process {report.pid} on {report.host})"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
