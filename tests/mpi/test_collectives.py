"""Collectives through each MPI that is here, each run started once for many checks."""

from __future__ import annotations

import pytest

from .launchers import LIBRARIES, MPIS, launcher, run


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("name", MPIS)
def test_every_collective(name: str, ranks: int) -> None:
    done = run(name, ranks, ["every_collective.py"])
    assert done.returncode == 0, done.stdout
    for rank in range(ranks):
        assert f"rank {rank} of {ranks} is done" in done.stdout


@pytest.mark.parametrize("name", MPIS)
def test_collectives_that_are_too_large_for_a_call_are_done_in_several(name: str) -> None:
    """As those of more than 2^31 - 1 elements are where MPI counts in an int, here of more than 300."""
    done = run(name, 4, ["every_collective.py"], {"MLC_MPI_MOST": "300"})
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("of 4 is done") == 4


def test_the_library_that_mpich_had_before_the_standard_abi() -> None:
    library = LIBRARIES / "libmpi.so.12"
    if not library.exists():
        pytest.skip("needs the wheel mpich, which is not here")
    done = run("mpich", 2, ["every_collective.py"], {"MLC_MPI": str(library)})
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("name", "other"), [MPIS, MPIS[::-1]])
def test_a_library_under_another_launcher_is_refused(name: str, other: str) -> None:
    """It would run each rank in a world of its own, or end the process within MPI_Init."""
    library = launcher(other).environment.get("MLC_MPI")
    if library is None:
        pytest.skip(f"needs the library of {other} beside its launcher, where it is not")
    done = run(name, 2, ["join.py"], {"MLC_MPI": library})
    assert done.returncode != 0
    assert f"{library} is" in done.stdout
    assert "it is not the MPI of this launcher" in done.stdout


REFUSED = {
    "MLC_MPI=/nowhere/libmpi.so": "no MPI library opens under the name that MLC_MPI gives",
    "MLC_MPI=libc.so.6": "libc.so.6 has no MPI_Initialized",
    **{
        f"MLC_COLLECTIVE_TIMEOUT={text}": f'MLC_COLLECTIVE_TIMEOUT is "{text}": it takes a positive number of seconds'
        for text in ("soon", "0", "-1s")
    },
}


def test_libraries_that_are_no_mpi_and_timeouts_that_are_none_are_refused() -> None:
    done = run("mpich", 1, ["refused.py", *REFUSED])
    assert done.returncode == 0, done.stdout
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    for setting, error in REFUSED.items():
        assert error in said[setting] and setting.partition("=")[2] in said[setting]
