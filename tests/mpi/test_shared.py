"""Another library in the process starts or ends MPI: its own is used, or refused in words; nothing aborts."""

from __future__ import annotations

import pytest

from .launchers import run

SERIALIZED = {"libmpi_abi.so.1": 2048, "libmpi.so.12": 2, "libmpi.so.40": 2}  # as each of them numbers it


@pytest.mark.parametrize(
    ("name", "library", "what"),
    [
        ("mpich", "libmpi_abi.so.1", "started"),
        ("mpich", "libmpi.so.12", "started"),  # not the one that MLC_MPI names
        ("mpich", "libmpi_abi.so.1", "started for one thread"),
        ("mpich", "libmpi_abi.so.1", "ended before"),
        ("mpich", "libmpi_abi.so.1", "ended between"),
        ("openmpi", "libmpi.so.40", "ended between"),
        ("mpich", "libmpi_abi.so.1", "ended before the exit"),
    ],
)
def test_mpi_of_another_library(name: str, library: str, what: str) -> None:
    done = run(name, 2, ["shared.py", what, library, str(SERIALIZED[library])], {"MLC_COLLECTIVE_TIMEOUT": "30"})
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("done") == 2, done.stdout
