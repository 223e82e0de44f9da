"""Collectives of arrays on GPUs go through NCCL: all of the way on mocks, and as far as it goes on the real one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlc.devices import nccl_version
from tests.mock_cuda import build

from .launchers import ROOT, run

Run = Callable[..., subprocess.CompletedProcess[str]]
PROGRAM = "on_gpus.py"
SOURCES = ("mpi_library.c", "error.c", "size.c", "memory.c")


@pytest.fixture(scope="session")
def compiler() -> str:
    found = shutil.which("cc")
    if found is None:
        pytest.skip("needs the C compiler cc, which is not here")
    return found


@pytest.fixture(scope="session")
def mock_cuda(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mock driver that each rank has for itself."""
    return build(tmp_path_factory.mktemp("mock_cuda"), compiler)


@pytest.fixture(scope="session")
def mock_nccl(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library like libnccl.so.2, over the MPI of the ranks that load it."""
    runtime, library = ROOT / "runtime", tmp_path_factory.mktemp("mock_nccl") / "libnccl.so.2"
    flags = ["-std=gnu11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{runtime}"]
    sources = [Path(__file__).parent / "mock_nccl.c", *(runtime / name for name in SOURCES)]
    subprocess.run([compiler, *flags, "-o", library, *sources], check=True)
    return library


@pytest.fixture
def ranks_on_gpus(mock_cuda: Path, shared_cache: Path) -> Run:
    """Runs PROGRAM on as many ranks, with NCCL or without, in an environment: what it printed, and how it ended."""

    def run_them(ranks: int, nccl: bool, **environment: str) -> subprocess.CompletedProcess[str]:
        words = [PROGRAM, str(ranks), str(int(nccl)), mock_cuda]
        return run("mpich", ranks, words, {"MLC_CACHE": str(shared_cache), **environment})

    return run_them


def test_collectives_on_gpus(mock_nccl: Path, ranks_on_gpus: Run) -> None:
    ranks = 4
    done = ranks_on_gpus(ranks, True, MLC_NCCL=str(mock_nccl))
    assert done.returncode == 0, done.stdout
    for rank in range(ranks):
        assert f"rank {rank} is done" in done.stdout
    assert done.stdout.count("all_reduce on gpu:0 at tests/mpi/programs/on_gpus.py:") == ranks
    assert done.stdout.count("NCCL 2.23.4 says invalid (a mock's) (5)") == ranks  # it takes no f16


def test_without_nccl_they_go_through_the_host(ranks_on_gpus: Run) -> None:
    done = ranks_on_gpus(2, False, MLC_NCCL="/nowhere/libnccl.so.2")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("is done, after 0 waits") == 2


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("MOCK_NCCL_NO_ID", "an id for a group of GPUs: NCCL 2.23.4 says unhandled system error"),
        ("MOCK_NCCL_NO_COMM", "joining a group of GPUs: NCCL 2.23.4 says unhandled system error"),
    ],
)
def test_a_group_that_cannot_be_made_fails_on_all_ranks(
    failure: str, words: str, mock_nccl: Path, ranks_on_gpus: Run
) -> None:
    done = ranks_on_gpus(2, True, MLC_NCCL=str(mock_nccl), **{failure: "1"})
    assert done.returncode != 0
    for rank in range(2):
        assert f"rank {rank} of 2: all_reduce on gpu:0 at tests/mpi/programs/on_gpus.py:" in done.stdout
    assert done.stdout.count(words) == 2


def test_the_real_nccl_gets_as_far_as_its_driver(ranks_on_gpus: Run) -> None:
    """It is loaded, tells its version, makes an id that goes to the other rank, and then wants a GPU."""
    if not nccl_version():
        pytest.skip("needs NCCL, which is not here (pip install nvidia-nccl-cu12)")
    done = ranks_on_gpus(2, True)
    assert done.returncode != 0
    for rank in range(2):
        assert f"rank {rank} of 2: all_reduce on gpu:0 at tests/mpi/programs/on_gpus.py:" in done.stdout
    version = nccl_version()
    words = f"joining a group of GPUs: NCCL {version // 10000}.{version // 100 % 100}.{version % 100} says unhandled "
    assert done.stdout.count(words) == 2
