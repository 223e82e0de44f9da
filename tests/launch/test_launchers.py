"""Which launcher is found, and the words it is given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlc.errors import ArgumentError, TargetError
from mlc.launch import Launcher, find

HYDRA = "HYDRA build details:"
PRRTE = "prterun (PRRTE) 3.0.13"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the path, and has no launcher yet."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none" / "python"))
    return tmp_path


def put(folder: Path, name: str, says: str = "") -> Path:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_the_first_mpi_with_its_own_library(machine: Path) -> None:
    environment = {"PATH": str(machine / "bin")}
    with pytest.raises(TargetError, match="pip install mpich"):
        find(None, environment)
    prterun = put(machine, "prterun")
    assert find(None, environment).path == prterun
    put(machine, "mpiexec", HYDRA)
    (machine / "lib").mkdir()
    (machine / "lib" / "libmpi_abi.so.1").touch()
    found = find(None, environment)
    assert (found.kind, found.path.name) == ("mpich", "mpiexec")
    assert found.environment["MLC_MPI"] == str(machine / "lib" / "libmpi_abi.so.1")
    assert find("openmpi", environment).path == prterun


def test_an_mpiexec_is_asked_whose_it_is(machine: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin"}
    assert find(str(put(machine, "mpiexec", PRRTE)), environment).kind == "openmpi"
    assert find(str(put(machine, "mpiexec", HYDRA)), environment).kind == "mpich"
    assert find(str(put(machine, "srun")), environment).kind == "srun"
    with pytest.raises(ArgumentError, match="neither MPICH's nor Open MPI's"):
        find(str(put(machine, "mpiexec", "something else")), environment)
    with pytest.raises(ArgumentError, match="no such program"):
        find("mpitch", environment)


def test_srun_in_a_job_of_slurm_only(machine: Path) -> None:
    search = {"PATH": str(machine / "bin")}
    put(machine, "mpiexec.hydra")
    with pytest.raises(TargetError, match="srun is not here"):
        find("srun", search)
    put(machine, "srun")
    assert find(None, search).kind == "mpich"
    assert find(None, {**search, "SLURM_JOB_ID": "1"}).kind == "srun"
    assert find("mpich", {**search, "SLURM_JOB_ID": "1"}).kind == "mpich"


def test_command_lines() -> None:
    program, folder = ["python", "a.py"], Path("/run")
    assert Launcher("mpich", Path("/m/mpiexec")).command(4, program, folder, ["A"]) == [
        "/m/mpiexec", "-n", "4", "python", "a.py",
    ]  # fmt: skip
    words = Launcher("openmpi", Path("/o/prterun")).command(2, program, folder, ["A", "B"])
    assert words[:3] == ["/o/prterun", "-n", "2"] and words[-6:] == ["-x", "A", "-x", "B", "python", "a.py"]
    assert words[3:8] == ["--personality", "ompi", "--prtemca", "prte_tmpdir_base", "/run"]
    assert "--personality" not in Launcher("openmpi", Path("/o/mpiexec.openmpi")).command(2, program, folder, [])
    assert "--kill-on-bad-exit=1" in Launcher("srun", Path("srun")).command(2, program, folder, [])
