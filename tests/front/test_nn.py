"""Networks' functions against formulas in float64 NumPy: values, stability, symbolic batches, composites."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import numpy as np
import pytest

import mlc
from mlc import nn
from mlc.errors import DTypeError, ShapeError
from mlc.ir.graph.evaluate import evaluate_graph
from mlc.tracing import ShapeDtype, trace

from .harness import run, types

RNG = np.random.default_rng(2)
X = np.concatenate([RNG.uniform(-6, 6, 60), [0.0, -0.0, 90.0, -90.0]]).astype(np.float32)
Array = np.ndarray[Any, Any]

ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "relu": (nn.relu, lambda x: np.maximum(x, 0)),
    "relu6": (nn.relu6, lambda x: np.clip(x, 0, 6)),
    "leaky_relu": (lambda x: nn.leaky_relu(x, 0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "elu": (nn.elu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    "gelu": (lambda x: nn.gelu(x, False), lambda x: x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2),
    "gelu by tanh": (nn.gelu, lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    "silu": (nn.silu, lambda x: x / (1 + np.exp(-x))),
    "softplus": (nn.softplus, lambda x: np.logaddexp(x, 0)),
    "log_sigmoid": (nn.log_sigmoid, lambda x: -np.logaddexp(-x, 0)),
    "softsign": (nn.softsign, lambda x: x / (1 + np.abs(x))),
    "hard_tanh": (nn.hard_tanh, lambda x: np.clip(x, -1, 1)),
    "sigmoid": (nn.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
}


def _log_softmax(x: Array, axis: int = -1) -> Array:
    wide = x.astype(np.float64)
    below = wide - wide.max(axis, keepdims=True)
    return below - np.log(np.exp(below).sum(axis, keepdims=True))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    ours, formula = ACTIVATIONS[name]
    np.testing.assert_allclose(run(ours, X), formula(X.astype(np.float64)), rtol=2e-6, atol=1e-6)


def test_relu_keeps_nan_and_integers() -> None:
    assert np.isnan(run(nn.relu, np.float32(np.nan)))
    np.testing.assert_array_equal(run(nn.relu, np.array([-2, 3])), [0, 3])


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_and_log_softmax(axis: int) -> None:
    x = (RNG.standard_normal((3, 4, 5)) * 10).astype(np.float32)
    np.testing.assert_allclose(run(lambda v: nn.softmax(v, axis), x), np.exp(_log_softmax(x, axis)), rtol=5e-6)
    np.testing.assert_allclose(run(lambda v: nn.log_softmax(v, axis), x), _log_softmax(x, axis), rtol=1e-6, atol=1e-6)


def test_rows_of_large_numbers_are_stable() -> None:
    x = np.array([[1e4, 1e4 - 1, -1e4], [-3e38, 3e38, 0], [-np.inf, 0, 0]], np.float32)
    np.testing.assert_allclose(run(nn.softmax, x), np.exp(_log_softmax(x)), rtol=1e-6)
    got = run(lambda v: nn.logsumexp(v, -1), x)
    np.testing.assert_allclose(got, [1e4 + np.log1p(np.exp(-1)), 3e38, np.log(2)], rtol=1e-6)
    assert run(nn.logsumexp, np.full(3, -np.inf, np.float32)) == -np.inf
    np.testing.assert_allclose(run(lambda v: nn.logsumexp(v, (0, 2), keepdims=True), np.ones((2, 3, 4), np.float32)),
                               np.full((1, 3, 1), 1 + np.log(8)), rtol=1e-6)  # fmt: skip


def test_half_floats_are_computed_in_f32() -> None:
    x = (RNG.standard_normal((4, 300)) * 3).astype(np.float16)
    got = run(nn.softmax, x)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, np.exp(_log_softmax(x)), rtol=1e-3, atol=6e-8)


def test_one_hot() -> None:
    labels = np.array([[0, 2], [3, -1]])
    want = (labels[..., None] == np.arange(3)).astype(np.float32)
    np.testing.assert_array_equal(run(lambda v: nn.one_hot(v, 3), labels), want)
    np.testing.assert_array_equal(run(lambda v: nn.one_hot(v, 3, axis=0), labels.astype(np.uint8)), np.moveaxis(
        (labels.astype(np.uint8)[..., None] == np.arange(3)), -1, 0))  # fmt: skip
    with pytest.raises(DTypeError, match="labels are f32"):
        trace(lambda v: nn.one_hot(v, 3), [ShapeDtype(2)])


@pytest.mark.parametrize("lead", [(6,), (2, 3), ()])
def test_cross_entropy_of_classes_and_probabilities(lead: tuple[int, ...]) -> None:
    logits = (RNG.standard_normal((*lead, 5)) * 4).astype(np.float32)
    labels = RNG.integers(0, 5, lead)
    rows = -np.take_along_axis(_log_softmax(logits), np.asarray(labels)[..., None], -1)[..., 0]
    for dtype in (np.int64, np.int32, np.uint8):
        np.testing.assert_allclose(run(nn.cross_entropy, logits, np.asarray(labels, dtype)), rows.mean(), rtol=1e-6)
    np.testing.assert_allclose(run(lambda x, y: nn.cross_entropy(x, y, "none"), logits, labels), rows, rtol=1e-5)
    np.testing.assert_allclose(run(lambda x, y: nn.cross_entropy(x, y, "sum"), logits, labels), rows.sum(), rtol=1e-6)
    p = RNG.dirichlet(np.ones(5), lead).astype(np.float32)
    want = -(p * _log_softmax(logits)).sum(-1).mean()
    np.testing.assert_allclose(run(nn.cross_entropy, logits, p), want, rtol=1e-6)


def test_a_label_that_is_no_class_gives_nan() -> None:
    got = run(lambda x, y: nn.cross_entropy(x, y, "none"), np.zeros((3, 4), np.float32), np.array([0, 4, -1]))
    np.testing.assert_allclose(got, [np.log(4), np.nan, np.nan], rtol=1e-6)


def test_a_masked_class_costs_nothing() -> None:
    logits = np.array([[0, -np.inf, 0]], np.float32)
    np.testing.assert_allclose(run(nn.cross_entropy, logits, np.array([2])), np.log(2), rtol=1e-6)


def test_symbolic_batch() -> None:
    batch = mlc.dim("batch", 1, 64)
    specs = [ShapeDtype((batch, 10)), ShapeDtype((batch,), "i64")]
    graph = trace(lambda x, y: (nn.cross_entropy(x, y), nn.softmax(x)), specs).graph
    for n in (1, 7):
        x, y = RNG.standard_normal((n, 10)).astype(np.float32), RNG.integers(0, 10, n)
        loss, probabilities = evaluate_graph(graph, [x, y])
        np.testing.assert_allclose(loss, -_log_softmax(x)[np.arange(n), y].mean(), rtol=1e-6)
        np.testing.assert_allclose(probabilities.sum(1), np.ones(n), rtol=1e-6)


def test_rows_are_composites() -> None:
    graph = trace(
        lambda x, y: nn.cross_entropy(nn.log_softmax(nn.softmax(x)), y), [ShapeDtype((2, 3)), ShapeDtype(2, "i64")]
    ).graph
    made = [(n["name"], dict(n["options"])) for n in graph.nodes if n.op.name == "composite"]
    assert made == [("softmax", {"axis": 1}), ("log_softmax", {"axis": 1}), ("cross_entropy", {})]


def test_labels_that_do_not_fit_are_refused_with_a_hint() -> None:
    logits = ShapeDtype((2, 3))
    for labels, hint in (
        (ShapeDtype((2,)), "astype..i64"), (ShapeDtype((2, 3), "i32"), "astype..f32"),
        (ShapeDtype((2, 1), "i32"), "squeeze"),
    ):  # fmt: skip
        with pytest.raises(ShapeError, match=hint):
            trace(nn.cross_entropy, [logits, labels])
    with pytest.raises(DTypeError):
        trace(nn.cross_entropy, [logits, ShapeDtype(2, "bool")])
    assert types(nn.softmax, ShapeDtype((2, 3), "i8")) == ["f32[2,3]"]
