"""The forward pass of the digit network, compiled once for every batch from 1 to 64, by JIT and from an artifact."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import mlc
from mlc.artifact.building import Options, build
from mlc.artifact.exporting import recording
from mlc.artifact.manifest import Source
from mlc.runtime import num_threads, set_num_threads

Array = npt.NDArray[Any]
RNG = np.random.default_rng(0)
SIZES = (784, 512, 512, 10)
LAYERS = [
    (
        (RNG.normal(size=(n, m)) * np.sqrt(2 / n)).astype(np.float32),
        (RNG.normal(size=m) * 0.1).astype(np.float32),
    )
    for n, m in itertools.pairwise(SIZES)
]
IMAGES = RNG.random((64, 784), dtype=np.float32)
SPEC = mlc.ShapeDtype((mlc.dim("batch", 1, 64), 784), "f32")


def forward(images: Any) -> dict[str, Any]:
    x = images
    for weight, bias in LAYERS[:-1]:
        x = mlc.nn.relu(x @ weight + bias)
    weight, bias = LAYERS[-1]
    logits = x @ weight + bias
    return {"logits": logits, "probs": mlc.nn.softmax(logits), "digits": logits.argmax(axis=1)}


def wanted(images: Array) -> tuple[Array, Array]:
    """Logits and probabilities in f64."""
    x = images.astype(np.float64)
    for weight, bias in LAYERS[:-1]:
        x = np.maximum(x @ weight + bias, 0)
    logits = x @ LAYERS[-1][0] + LAYERS[-1][1]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits, e / e.sum(axis=1, keepdims=True)


def results(function: Any, threads: int) -> list[dict[str, Array]]:
    """What the function gives for each batch."""
    before = num_threads()
    set_num_threads(threads)
    try:
        return [{k: np.array(v) for k, v in function(IMAGES[:n]).items()} for n in range(1, 65)]
    finally:
        set_num_threads(before)


def bits(found: list[dict[str, Array]]) -> list[dict[str, bytes]]:
    return [{k: v.tobytes() for k, v in one.items()} for one in found]


@pytest.fixture(scope="module")
def compiled() -> Any:
    return mlc.jit(forward).lower(SPEC).compile()


@pytest.fixture(scope="module")
def jitted(compiled: Any) -> list[dict[str, Array]]:
    return results(compiled, 1)


def test_every_batch_is_right(jitted: list[dict[str, Array]]) -> None:
    logits, probs = wanted(IMAGES)
    for n, found in enumerate(jitted, 1):
        np.testing.assert_allclose(found["logits"], logits[:n], atol=2e-5, rtol=1e-5, err_msg=f"batch {n}")
        np.testing.assert_allclose(found["probs"], probs[:n], atol=1e-6, rtol=2e-5, err_msg=f"batch {n}")
        np.testing.assert_array_equal(found["digits"], logits[:n].argmax(axis=1), err_msg=f"batch {n}")


def test_two_threads_give_the_same_bits(compiled: Any, jitted: list[dict[str, Array]]) -> None:
    assert bits(results(compiled, 2)) == bits(jitted)


def test_an_artifact_gives_the_same_bits(jitted: list[dict[str, Array]], tmp_path: Path) -> None:
    with recording() as exports:
        mlc.export("forward", forward, SPEC)
    build(exports, tmp_path / "m.mlc", Options(), Source("model.py", "0" * 64))
    loaded = mlc.load(tmp_path / "m.mlc").forward
    for threads in (1, 2):
        assert bits(results(loaded, threads)) == bits(jitted), threads
