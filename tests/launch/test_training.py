"""The models on several processes: the parameters of one process, the same bits again, and after a lost rank."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.launch.launching import MPIS, start

PROGRAM = Path(__file__).resolve().parent / "programs" / "train.py"
WITHIN = 1e-9  # of parameters in f64 after 100 steps
MLP = ("mlp", "mnist_mlp.py 100 --dtype float64 --batch 20")
CNN = ("cnn", "mnist_cnn.py 100 --dtype float64 --batch 8")
LOST = {  # in f32: the command, steps between checkpoints, the step that a rank is lost before
    "mlp": ("mnist_mlp.py 30 --batch 20", 10, 17),
    "cnn": ("mnist_cnn.py 12 --batch 8", 4, 7),
}
DEADLINE = "8"  # seconds; more than ranks may begin apart on a busy machine


@dataclass(frozen=True)
class Place:
    """Where the runs of this file find their data (none but the digits) and what was compiled before."""

    folder: Path
    cache: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"MLC_DATA": str(self.folder / "none"), "MLC_CACHE": str(self.cache)}

    def launch(self, out: str, mpi: str, ranks: int, *models: tuple[str, str], options: tuple[str, ...] = (),
               **environment: str) -> tuple[int, str]:  # fmt: skip
        """Run the models on that many ranks; the exit code and what was printed to standard error."""
        words = [word for model in models for word in model]
        (self.folder / out).mkdir()
        options = ("-n", str(ranks), "--mpi", mpi, "--timeout", "120", *options)
        job = start(PROGRAM, self.folder / out, *words, options=options, **self.environment, **environment)
        code, _, err = job.end(timeout=400)
        return code, err

    def first(self, out: str, model: str) -> int:
        """The step that rank 0 began with."""
        return int(json.loads((self.folder / out / f"{model}-0.json").read_text())["first"])

    def hashes(self, out: str, model: str, ranks: int) -> set[str]:
        """Of parameters and optimizer state on all ranks."""
        files = [self.folder / out / f"{model}-{rank}.json" for rank in range(ranks)]
        return {json.loads(file.read_text())["hash"] for file in files}

    def parameters(self, out: str, model: str) -> list[npt.NDArray[np.float64]]:
        with np.load(self.folder / out / f"{model}.npz") as file:
            return [file[name] for name in file.files]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Place:
    return Place(tmp_path_factory.mktemp("training"), shared_cache)


@pytest.fixture(scope="module")
def alone(place: Place) -> str:
    """The folder of both models on one process, without a launcher."""
    (place.folder / "alone").mkdir()
    command = [sys.executable, str(PROGRAM), str(place.folder / "alone"), *MLP, *CNN]
    subprocess.run(command, env={**os.environ, **place.environment}, check=True, capture_output=True)
    return "alone"


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("mpi", MPIS)
def test_the_parameters_of_one_process(mpi: str, ranks: int, place: Place, alone: str) -> None:
    out = f"{mpi}-{ranks}"
    code, err = place.launch(out, mpi, ranks, MLP, CNN)
    assert code == 0, err
    for model in ("mlp", "cnn"):
        assert len(place.hashes(out, model, ranks)) == 1  # the same bits on every rank
        got, expected = place.parameters(out, model), place.parameters(alone, model)
        worst = max(float(np.abs(a - b).max()) for a, b in zip(got, expected, strict=True))
        assert worst < WITHIN, f"{model} on {ranks} ranks: {worst}"


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> Callable[[str, str], set[str]]:
    """The hash of parameters and state after a model of LOST on two ranks of an MPI that nothing happened to."""

    @functools.cache
    def run(mpi: str) -> str:
        out = f"undisturbed-{mpi}"
        code, err = place.launch(out, mpi, 2, *((model, words) for model, (words, _, _) in LOST.items()))
        assert code == 0, err
        return out

    return lambda mpi, model: place.hashes(run(mpi), model, 2)


@pytest.mark.parametrize("mpi", MPIS)
@pytest.mark.parametrize("fault", ["SIGKILL", "SIGSTOP"])
def test_a_lost_rank_is_named_and_the_restart_ends_with_the_same_bits(
    mpi: str, fault: str, place: Place, undisturbed: Callable[[str, str], set[str]]
) -> None:
    """Each model meets each fault and each MPI."""
    model = "mlp" if (fault == "SIGKILL") == (mpi == "mpich") else "cnn"
    words, every, step = LOST[model]
    expected = undisturbed(mpi, model)  # first, so that ranks with a short deadline have nothing to compile
    out, folder = f"lost-{mpi}-{fault}", place.folder / f"checkpoints-{mpi}-{fault}"
    code, err = place.launch(
        out, mpi, 2, (model, f"{words} --checkpoint {folder} --every {every}"),
        options=("--restarts", "1", "--timeout", DEADLINE), FAULT=f"{fault}:1:{step}",
    )  # fmt: skip
    assert code == 0, err
    how = "killed" if fault == "SIGKILL" else "stopped"
    assert re.search(rf"mlc launch: rank 1 \(process \d+ on .+\) was {how} by {fault}", err)
    assert "starting again from the last checkpoint (1 of 1)" in err
    steps = [every, 2 * every, 3 * every]
    assert sorted(path.name for path in folder.iterdir()) == [f"step-{step:08}.safetensors" for step in steps]
    assert place.first(out, model) == step // every * every + 1
    assert place.hashes(out, model, 2) == expected and len(expected) == 1


@pytest.mark.parametrize("model", ["mnist_mlp", "mnist_cnn"])
def test_the_batch_of_each_model_is_cut_among_two_and_four(model: str) -> None:
    words = (PROGRAM.parents[3] / "models" / f"{model}.py").read_text()
    default = re.search(r'"--batch", type=int, default=(\d+)', words)
    assert default and int(default[1]) % 4 == 0
