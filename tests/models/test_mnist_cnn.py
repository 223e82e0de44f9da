"""The convolutional network as its users have it: trained, as an artifact, in a C program; the same bits everywhere."""

from __future__ import annotations

import contextlib
import io
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import mlc
from mlc.artifact.building import Options, build
from mlc.artifact.exporting import recording
from mlc.artifact.manifest import Source
from mlc.data.fetching import is_present
from mlc.ir.target import host_target
from tests.artifact.test_library import needs_cc, run_command

PROGRAM = Path(__file__).resolve().parents[2] / "models" / "mnist_cnn.py"
SOURCE = Source("mnist_cnn.py", "0" * 64)
HERE = (host_target().name,)


def run(arguments: list[str], **environment: str) -> tuple[SimpleNamespace, list[Any], str]:
    """The names of the program after it ran, what it exports, and the last line that it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed), recording() as exports:
        patch.setattr("sys.argv", [str(PROGRAM), *arguments])
        for name, value in environment.items():
            patch.setenv(name, value)
        names = runpy.run_path(str(PROGRAM))
    return SimpleNamespace(**names), exports, printed.getvalue().splitlines()[-1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SimpleNamespace, Path, float]]:
    """The program's names, the folder of m.mlc and libm.so, and its accuracy on the digits."""
    folder = tmp_path_factory.mktemp("cnn")
    names, exports, last = run([], MLC_DATA=str(folder))
    for name in ("m.mlc", "libm.so"):
        build(exports, folder / name, Options(name.rpartition(".")[2], HERE), SOURCE)
    yield names, folder, float(last.removeprefix("test accuracy "))


def bits(array: Any) -> bytes:
    return np.asarray(array).tobytes()


def classes(predict: Any, images: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The class of each image, asked for in batches of 64 and what is left."""
    parts = [np.asarray(predict(x=images[i : i + 64])["probs"]) for i in range(0, len(images), 64)]
    return np.concatenate(parts).argmax(axis=1)


def expected(params: Any, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The logits in float64, by loops over the positions of each kernel."""
    side = round(images.shape[1] ** 0.5)
    x = images.astype(np.float64).reshape(-1, side, side, 1)
    first, second, hidden, last = ({k: np.asarray(v, np.float64) for k, v in p.items()} for p in params)
    for layer in (first, second):
        n, side = x.shape[:2]
        padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
        taps = ((i, j, padded[:, i : i + side, j : j + side]) for i in range(5) for j in range(5))
        total = sum(part @ layer["weight"][i, j] for i, j, part in taps) + layer["bias"]
        even = np.maximum(total, 0)[:, : side // 2 * 2, : side // 2 * 2]
        x = even.reshape(n, side // 2, 2, side // 2, 2, -1).max(axis=(2, 4))
    x = np.maximum(x.reshape(len(x), -1) @ hidden["weight"] + hidden["bias"], 0)
    return np.asarray(x @ last["weight"] + last["bias"])


def test_it_learns_the_digits(trained: tuple[SimpleNamespace, Path, float]) -> None:
    names, _, accuracy = trained
    assert accuracy >= 0.98
    right = expected(names.params, names.data.test_images).argmax(axis=1) == names.data.test_labels
    assert abs(right.mean() - accuracy) < 1e-4


def test_the_artifact_names_pythons_classes(trained: tuple[SimpleNamespace, Path, float]) -> None:
    names, folder, _ = trained
    images = names.data.test_images
    got = classes(mlc.load(folder / "m.mlc").predict, images)
    assert np.array_equal(got, np.asarray(names.forward(names.params, images)).argmax(axis=1))
    assert np.array_equal(got, expected(names.params, images).argmax(axis=1))


def test_the_artifact_has_jits_bits_at_every_batch(trained: tuple[SimpleNamespace, Path, float]) -> None:
    names, folder, _ = trained
    artifact = mlc.load(folder / "m.mlc")
    spec = mlc.ShapeDtype((mlc.dim("batch", 1, 64), names.data.features), "f32")
    jitted = mlc.jit(lambda x: mlc.nn.softmax(names.forward(names.params, x))).lower(x=spec).compile()
    for n in (1, 2, 3, 31, 64):
        images = names.data.test_images[:n]
        want = bits(artifact.predict(x=images)["probs"])
        for threads in (1, 2):
            with mlc.threads(threads):
                assert bits(jitted(x=images)) == want


@needs_cc
@pytest.mark.parametrize("threads", [1, 2])
def test_c_prints_pythons_probabilities(
    trained: tuple[SimpleNamespace, Path, float], tmp_path: Path, threads: int
) -> None:
    names, folder, _ = trained
    images = names.data.test_images[:37]
    got = run_command(folder / "libm.so", tmp_path, images, 10, threads=threads)
    assert bits(got) == bits(mlc.load(folder / "m.mlc").predict(x=images)["probs"])


def test_a_step_has_the_same_bits_on_one_and_two_threads_and_in_an_artifact(
    trained: tuple[SimpleNamespace, Path, float],
) -> None:
    names, folder, _ = trained
    data, key = names.data, mlc.random.key(3)
    batches = [(data.train_images[i : i + 50], data.train_labels[i : i + 50]) for i in (0, 50)]

    def train(step: Any) -> list[bytes]:
        params = names.init(mlc.random.key(7))
        state = names.optimizer.init(params)
        for images, labels in batches:
            params, state, loss = step(params, state, images, labels, key)
        return [bits(x) for x in (loss, *mlc.tree.leaves((params, state)))]

    with recording() as exports:
        params = names.init(key)
        mlc.export("step", names.step, params, names.optimizer.init(params), *batches[0], key)
    build(exports, folder / "step.mlc", Options("mlc", HERE), SOURCE)
    ends = []
    for threads in (1, 2):
        with mlc.threads(threads):
            ends += [train(names.step), train(mlc.load(folder / "step.mlc").step)]
    assert all(end == ends[0] for end in ends[1:])


@pytest.mark.skipif(not is_present("mnist"), reason="needs `mlc data fetch mnist`")
def test_the_artifact_names_pythons_classes_of_all_of_mnist(tmp_path: Path) -> None:
    names, exports, last = run(["100"])
    assert float(last.removeprefix("test accuracy ")) > 0.9
    build(exports, tmp_path / "m.mlc", Options("mlc", HERE), SOURCE)
    images = names.data.test_images
    got = classes(mlc.load(tmp_path / "m.mlc").predict, images)
    logits = mlc.jit(lambda x: names.forward(names.params, x))
    want = [np.asarray(logits(images[i : i + 500])).argmax(axis=1) for i in range(0, len(images), 500)]
    assert got.shape == (10_000,) and np.array_equal(got, np.concatenate(want))
