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
from .rank import SEEN, die_with_parent
from .ranks import Outcome, Ranks
from .shared_memory import Segments

TICK = 0.1  # seconds between looks at what the ranks report
LOOK = 0.5  # and at the processes and what they have mapped
FAREWELL = 10.0  # seconds that a launcher of several hosts has to end what runs there
GRACE = 2.0  # seconds that the others have to say something once a rank has failed, or all have ended


@dataclass
class Attempt:
    """A job that runs: its ``command`` starts ``ranks``, which report to ``folder``.

    A rank that is stopped for ``timeout`` seconds ends the job.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    ranks: Ranks
    folder: Path
    timeout: float
    output: Output
    _segments: Segments = field(default_factory=Segments)
    _signals: list[int] = field(default_factory=list)
    _ending: float | None = None  # when all are ended, since somebody has failed or was stopped
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
                    code = self._end(process)
                    left = processes.kill(others)
                    self._segments.remove()
                    self.ranks.update()
                    self.ranks.close()
                self._read(selector, 0)  # last, for nobody may want to read it any more
                self.output.end()
        outcome = self.ranks.outcome(Path(self.command[0]).name, code)
        if self._signals:
            outcome = Outcome(128 + self._signals[0], "interrupted", self._signals[0])
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
            if self.ranks.hear():
                self.ranks.look()
            self.ranks.update()
            now = time.monotonic()
            due = self._ending is None and self._is_over()
            if due or now - self._looked > LOOK:
                self.ranks.look()
                self._segments.look(report.pid for report in self.ranks.here())
                self._looked = now
            if due and self._is_over():  # who was stopped may have gone on
                self._ending = now + self._grace()
                (self.folder / SEEN).touch()
                self._pass_on_signal()
            self._show(bar)
            if self._ending is not None and (now > self._ending or len(self._signals) > 1):
                return
        self._read(selector, 0)
        self.ranks.hear()
        self._show(bar)

    def _is_over(self) -> bool:
        """Is it time to end the others?"""
        return bool(self._signals) or self.ranks.is_over(self.timeout)

    def _grace(self) -> float:
        """Seconds for the others. Where one is stopped, what `is_over` kept for it: all end before the deadline."""
        return min(GRACE, self.timeout / 6) if self.ranks.is_stopped(0) else GRACE

    def _show(self, bar: Bar | None) -> None:
        """How far rank 0 is."""
        if bar and (progress := read_progress(self.folder)):
            bar(*progress)

    def _pass_on_signal(self) -> None:
        """To the programs, if somebody interrupts the job."""
        for report in self.ranks.here():
            if self._signals:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(report.pid, self._signals[0])

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code of the launcher, which is ended where it runs; it alone can end what is on other hosts."""
        if process.poll() is None and self.ranks.elsewhere():
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(FAREWELL)
        if process.poll() is None:
            process.kill()
        return process.wait()

    def _read(self, selector: selectors.BaseSelector, wait: float) -> None:
        """Pass on what the launcher prints; waits for its first bytes, or until a rank has ended."""
        ready = selector.select(wait)
        while printed := [key for key, _ in ready if key.data is not self.ranks]:
            for key in printed:
                data = os.read(key.fd, 1 << 16)
                if data:
                    self.output.take(key.data, data)
                else:
                    selector.unregister(key.fd)
            ready = [] if wait else selector.select(0)

    @contextlib.contextmanager
    def _streams(self, process: subprocess.Popen[bytes]) -> Iterator[selectors.BaseSelector]:
        """Both outputs of the launcher, and what the ranks say of themselves."""
        with process, selectors.DefaultSelector() as selector:
            for kind, stream in (("o", process.stdout), ("e", process.stderr)):
                assert stream is not None
                os.set_blocking(stream.fileno(), False)
                selector.register(stream.fileno(), selectors.EVENT_READ, kind)
            selector.register(self.ranks, selectors.EVENT_READ, self.ranks)
            yield selector

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """The first signal asks the ranks to end, the second one ends them; neither ends this process."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
            numbers.append(signal.SIGHUP)
        before = {n: signal.signal(n, lambda number, frame: self._signals.append(number)) for n in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
