"""Ranks that meet under `mlc launch`: what goes wrong between them is named at once, on every MPI."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mlc.launch import find
from tests.launch.launching import MPIS, here, needs, start

Run = Callable[..., tuple[int, str, str]]
PROGRAM = """
import os, sys, time
import numpy as np
import mlc
from mlc import distributed

trouble, folder = sys.argv[1:]
mine = distributed.rank() == 1


@mlc.jit
def step(x):
    return mlc.all_reduce(x * 2)


if trouble == "exception" and mine:
    raise ValueError("so it is")
if trouble == "none" and mine and os.fork() == 0:
    sys.exit(distributed.rank() - 1)  # as a process that ends in order: it does not leave the world for its parent
print(step(np.ones(3 + (trouble == "program" and mine), np.float32)).tolist())
checkpoints = mlc.train.Checkpoints(folder + "/mine" if trouble == "folder" and mine else folder)
print(checkpoints.restore([1.5]))
checkpoints.save(8, [2.5])
step(np.ones(3, np.float32))
print(checkpoints.restore([1.5]))

distributed.finalize()
distributed.finalize()
again = lambda: mlc.all_reduce(np.ones(4))
for ask in (distributed.rank, distributed.size, distributed.init, again):
    try:
        ask()
    except mlc.errors.DistributedError as error:
        assert "this process has left its world" in str(error)
        print("has left it")
try:
    step(np.ones(3, np.float32))
except mlc.MlcError:
    pass
else:
    raise AssertionError("it runs")
"""


@pytest.fixture
def run(shared_cache: Path, tmp_path: Path) -> Run:
    """Runs PROGRAM with a trouble on two ranks of an MPI: its exit code, output and errors."""

    def run(mpi: str, trouble: str, **environment: str) -> tuple[int, str, str]:
        path = tmp_path / "program.py"
        path.write_text(PROGRAM)
        options = ("-n", "2", "--mpi", mpi, "--timeout", "300")
        words = trouble, tmp_path / "checkpoints"
        return start(path, *words, options=options, MLC_CACHE=str(shared_cache), **environment).end()

    return run


@pytest.mark.parametrize("mpi", MPIS)
def test_rank_0_writes_and_all_read_and_a_world_that_was_left_is_not_asked_any_more(
    mpi: str, run: Run, tmp_path: Path
) -> None:
    code, out, err = run(mpi, "none")
    assert code == 0, err
    for rank in "01":
        lines = [line.partition(" ")[2] for line in out.splitlines() if line.startswith(f"[{rank}] ")]
        assert lines == ["[4.0, 4.0, 4.0]", "(0, [1.5])", "(8, [2.5])", *["has left it"] * 4]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000008.safetensors"]


@needs("mpich")
def test_ranks_that_find_different_checkpoints_do_not_go_on(run: Run) -> None:
    code, _, err = run("mpich", "folder")
    assert code == 1
    assert re.search(r"\[1\] .*DataError: checkpoints: rank 1 finds step 0 in .*/mine, others 0 to 8", err)
    assert "must be on a file system that all ranks share" in err


@pytest.mark.parametrize("mpi", MPIS)
def test_a_rank_with_a_different_program_is_named(mpi: str, run: Run) -> None:
    code, _, err = run(mpi, "program")
    found = re.search(r"rank 0: step, schedule (\w+).*\n.*rank 1: step, schedule (\w+)", err)
    assert code == 1 and "about to run different programs" in err and found and found[1] != found[2]
    assert "program.py:" in err and "mlc launch: rank " in err


@pytest.mark.parametrize("mpi", MPIS)
def test_an_exception_of_one_rank_ends_those_that_wait_for_it(mpi: str, run: Run) -> None:
    code, _, err = run(mpi, "exception")
    assert code == 1 and "[1] ValueError: so it is" in err and "mlc launch: rank 1 (process" in err


@pytest.mark.skipif(not (here("mpich") and here("openmpi")), reason="needs mpich and openmpi")
@pytest.mark.parametrize(("mpi", "other"), [("mpich", "openmpi"), ("openmpi", "mpich")])
def test_another_mpi_than_the_launcher_s_is_refused(mpi: str, other: str, run: Run) -> None:
    code, out, err = run(mpi, "none", MLC_MPI=find(other).environment["MLC_MPI"])
    assert code == 1 and not out and "it is not the MPI of this launcher" in err
