"""Runs one attempt of a job under its launcher, from its start until none of its processes is left."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import processes
from .output import Bar, Output, read_progress
from .rank import SEEN, Report, die_with_parent, read_reports
from .shared_memory import Segments

TICK = 0.1  # seconds between looks at what the ranks report
LOOK_AT_MEMORY = 0.5  # and at what they have mapped
GRACE = 2.0  # seconds that the others have to say something once a rank has failed, or all have ended
WAITED_TOO_LONG = 75  # exit code of a rank whose collective ran into its deadline


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: exit code, in words what failed first, and the signal that interrupted it, or 0.

    ``by_launcher``: no rank has failed, so that what the launcher printed is all there is to know.
    """

    code: int
    reason: str = ""
    interrupted: int = 0
    by_launcher: bool = False


@dataclass
class Attempt:
    """A job that runs: its ``command`` starts ``ranks`` ranks, which report to ``folder``.

    A rank that is stopped for ``timeout`` seconds ends the job.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    ranks: int
    folder: Path
    timeout: float
    output: Output
    _segments: Segments = field(default_factory=Segments)
    _signals: list[int] = field(default_factory=list)
    _ending: float | None = None  # when somebody failed, or the launcher ended
    _looked: float = 0.0

    def run(self, bar: Bar | None = None) -> Outcome:
        """Run it to its end. Afterwards no process of it lives and no shared memory of it is left on this host."""
        with processes.adopting() as others, self._handling_signals():
            process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
            with self._streams(process) as selector:
                try:
                    self._watch(process, selector, bar, others)
                finally:
                    if process.poll() is None:
                        process.kill()
                    code = process.wait()
                    left = processes.kill(others)
                    self._read(selector, 0)
                    self.output.end()
            self._segments.remove()
        outcome = self._outcome(code, read_reports(self.folder))
        if left:
            words = ", ".join(map(str, left))
            return replace(outcome, code=outcome.code or 1, reason=f"{outcome.reason}; processes {words} do not end")
        return outcome

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        selector: selectors.BaseSelector,
        bar: Bar | None,
        others: frozenset[int],
    ) -> None:
        """Pass on what is printed, until the launcher has ended or has had its time to."""
        while process.poll() is None:
            self._read(selector, TICK)
            processes.reap(others, process.pid)
            reports = read_reports(self.folder)
            now = time.monotonic()
            first_end = self._ending is None and self._is_over(reports)
            if first_end or now - self._looked > LOOK_AT_MEMORY:
                self._segments.look(report.pid for report in reports.values() if report.state != "ended")
                self._looked = now
            if first_end:
                self._ending = now
                (self.folder / SEEN).touch()
                for report in reports.values():
                    if self._signals and report.state == "running":
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(report.pid, self._signals[0])
            if bar and (progress := read_progress(self.folder)):
                bar(*progress)
            if self._ending is not None and (now - self._ending > GRACE or len(self._signals) > 1):
                return
        self._read(selector, 0)

    def _is_over(self, reports: Mapping[int, Report]) -> bool:
        """Has a rank failed or been stopped for too long, have all ended, or has somebody interrupted the job?"""
        ended = [report for report in reports.values() if report.state == "ended"]
        return bool(
            self._signals
            or any(report.code for report in ended)
            or len(ended) == self.ranks
            or any(_stopped_for(report) > self.timeout for report in reports.values())
        )

    def _read(self, selector: selectors.BaseSelector, wait: float) -> None:
        """Pass on what the launcher prints, for which nothing but its first bytes is waited."""
        while selector.get_map():
            ready = selector.select(wait)
            if not ready:
                return
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                if data:
                    self.output.take(key.data, data)
                else:
                    selector.unregister(key.fd)
            if wait:
                return
        if wait:
            time.sleep(wait)

    def _outcome(self, code: int, reports: Mapping[int, Report]) -> Outcome:
        """What the ranks' reports and the launcher's exit code come to."""
        if self._signals:
            return Outcome(128 + self._signals[0], "interrupted", self._signals[0])
        ended = sorted((r for r in reports.values() if r.state == "ended"), key=lambda r: r.time)
        failed = [r for r in ended if r.code and not (r.told and r.signal in (r.told, signal.SIGKILL))]
        if not failed or failed[0].code == WAITED_TOO_LONG:
            until = failed[0].time if failed else time.time()
            stopped = sorted((r for r in reports.values() if r.was_stopped(until)), key=lambda r: r.stopped)
            if stopped:
                words = (f"{_who(r)} was stopped by {_name(r.stopped_by)}" for r in stopped)
                return Outcome(WAITED_TOO_LONG, ", ".join(words))
        if failed:
            return Outcome(failed[0].code, _in_words(failed[0]))
        if len(ended) == self.ranks and not any(r.code for r in ended):
            return Outcome(0, by_launcher=True)
        how = f"{Path(self.command[0]).name} ended with code {code}"
        if first := [str(r.rank) for r in ended if not r.code]:
            how += f"; rank {', '.join(first)} had ended before the others"
        return Outcome(code if code > 0 else 128 - code if code else 1, how, by_launcher=True)

    @contextlib.contextmanager
    def _streams(self, process: subprocess.Popen[bytes]) -> Iterator[selectors.BaseSelector]:
        """Both outputs of the launcher."""
        with process, selectors.DefaultSelector() as selector:
            for kind, stream in (("o", process.stdout), ("e", process.stderr)):
                assert stream is not None
                os.set_blocking(stream.fileno(), False)
                selector.register(stream.fileno(), selectors.EVENT_READ, kind)
            yield selector

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """The first signal asks the ranks to end, the second one ends them; neither ends this process."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {n: signal.signal(n, lambda number, frame: self._signals.append(number)) for n in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _stopped_for(report: Report) -> float:
    return time.time() - report.time if report.state == "stopped" else 0.0


def _in_words(report: Report) -> str:
    """How a rank has ended."""
    if report.signal:
        return f"{_who(report)} was killed by {_name(report.signal)}"
    told = " after it had waited too long for another rank" if report.code == WAITED_TOO_LONG else ""
    return f"{_who(report)} ended with exit code {report.code}{told}"


def _who(report: Report) -> str:
    return f"rank {report.rank} (process {report.pid} on {report.host})"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
