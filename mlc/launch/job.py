"""Runs a program on N processes, and again from its last checkpoint when a process is lost."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import rank
from .launchers import Launcher
from .output import Output, progress_bar
from .ranks import Outcome, Ranks
from .supervisor import Attempt

FINAL = (2, 3, 5)  # usage, unsupported, target unavailable: the same again at every start
DEADLINE = 600.0  # seconds that a rank waits for another one


@dataclass(frozen=True)
class Job:
    """``program``, the words of a command, on ``ranks`` processes, which wait ``timeout`` seconds for each other."""

    launcher: Launcher
    program: Sequence[str]
    ranks: int
    restarts: int = 0
    timeout: float = DEADLINE

    def run(self, environment: Mapping[str, str] = os.environ) -> int:
        """The exit code of the last attempt's first failure, 0 where it ended well."""
        for attempt in range(self.restarts + 1):
            outcome = self._attempt(attempt, environment)
            if outcome.reason:
                _say(outcome.reason)
            if not outcome.code or outcome.interrupted or outcome.code in FINAL:
                break
            if attempt < self.restarts:
                _say(f"starting again from the last checkpoint ({attempt + 1} of {self.restarts})")
        return outcome.code

    def _attempt(self, attempt: int, environment: Mapping[str, str]) -> Outcome:
        """One start, in a run folder of its own."""
        folder = Path(tempfile.mkdtemp(prefix="mlc-launch-", dir=_shared_folder(self.launcher)))
        try:
            variables = self._variables(folder, attempt, environment)
            wrapper = [sys.executable, "-I", "-S", rank.__file__, str(folder), self.launcher.rank_variable]
            command = self.launcher.command(self.ranks, [*wrapper, *self.program], folder, sorted(variables))
            output, ranks = Output(self.ranks), Ranks(folder, self.ranks)
            with progress_bar() as bar:
                run = Attempt(command, {**environment, **variables}, ranks, folder, self.timeout, output)
                outcome = run.run(bar)
            if output.launcher and outcome.by_launcher:
                print("\n".join(output.launcher), file=sys.stderr)
            return outcome
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _variables(self, folder: Path, attempt: int, environment: Mapping[str, str]) -> dict[str, str]:
        """What the ranks find in their environment besides the user's."""
        own = {
            "MLC_RUN_FOLDER": str(folder),
            "MLC_WORLD_SIZE": str(self.ranks),
            "MLC_RESTART": str(attempt),
            "MLC_COLLECTIVE_TIMEOUT": f"{self.timeout:g}",
            "PYTHONUNBUFFERED": "1",
        }
        if threads := _threads(self.launcher, self.ranks, environment):
            own["MLC_NUM_THREADS"] = str(threads)
        chosen = {k: v for k, v in self.launcher.environment.items() if k != "MLC_MPI" or k not in environment}
        return {**own, **chosen}


def _threads(launcher: Launcher, ranks: int, environment: Mapping[str, str]) -> int:
    """The CPUs of a host by the ranks on it; 0 where the user says how many, or Slurm binds ranks to theirs."""
    if "MLC_NUM_THREADS" in environment:
        return 0
    if launcher.kind == "srun":
        return int(environment.get("SLURM_CPUS_PER_TASK", 0))
    from mlc.runtime import num_threads

    return max(1, num_threads() // ranks)


def _shared_folder(launcher: Launcher) -> Path | None:
    """Where the run folder goes: for several hosts where the program is started, which they share."""
    return Path.cwd() if launcher.kind == "srun" else None


def _say(text: str) -> None:
    print(f"mlc launch: {text}", file=sys.stderr, flush=True)
