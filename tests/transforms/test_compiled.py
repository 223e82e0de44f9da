"""Derivatives outside of traces: compiled, run, and compared with NumPy in float64; the examples of the docstrings."""

from __future__ import annotations

import doctest
import importlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import DifferentiationError


def network(params: Any, x: Any, labels: Any) -> Any:
    for weight, bias in params[:-1]:
        x = mlc.nn.relu(x @ weight + bias)
    weight, bias = params[-1]
    return mlc.nn.cross_entropy(x @ weight + bias, labels)


def reference(params: Any, x: Any, labels: Any) -> Any:
    """The loss and its gradient by hand, in float64."""
    inputs, x = [], x.astype(np.float64)
    for i, (weight, bias) in enumerate(params):
        inputs.append(x)
        x = x @ weight.astype(np.float64) + bias
        if i < len(params) - 1:
            x = np.maximum(x, 0)
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -np.log(p[rows, labels]).mean()
    p[rows, labels] -= 1
    c, found = p / len(labels), []
    for i in reversed(range(len(params))):
        found.append((inputs[i].T @ c, c.sum(0)))
        c = (c @ params[i][0].T.astype(np.float64)) * (inputs[i] > 0)
    return loss, found[::-1]


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("sizes", [(5, 3), (64, 33, 10), (17, 64, 1, 10)], ids=str)
def test_networks(sizes: tuple[int, ...], batch: int) -> None:
    random = np.random.default_rng(batch)
    params = [
        (random.normal(size=(n, m)).astype(np.float32) / np.float32(n) ** 0.5, random.normal(size=m).astype(np.float32))
        for n, m in pairwise(sizes)
    ]
    x = random.normal(size=(batch, sizes[0])).astype(np.float32)
    labels = random.integers(0, sizes[-1], batch).astype(np.int32)
    value, slope = mlc.value_and_grad(network)(params, x, labels)
    want, slopes = reference(params, x, labels)
    np.testing.assert_allclose(float(value), want, rtol=1e-5)
    for got, exact in zip(mlc.tree.leaves(slope), mlc.tree.leaves(slopes), strict=True):
        np.testing.assert_allclose(np.asarray(got), exact, rtol=1e-4, atol=1e-5)


def test_the_same_gradient_every_time() -> None:
    random = np.random.default_rng(0)
    params = [(random.normal(size=(40, 10)).astype(np.float32), np.zeros(10, np.float32))]
    x, labels = random.normal(size=(30, 40)).astype(np.float32), random.integers(0, 10, 30)
    slope = mlc.grad(network)
    first = [np.asarray(g).tobytes() for g in mlc.tree.leaves(slope(params, x, labels))]
    for _ in range(5):
        assert [np.asarray(g).tobytes() for g in mlc.tree.leaves(slope(params, x, labels))] == first


def test_products_and_orders() -> None:
    value, pullback, aux = mlc.vjp(lambda x, y: (x * y, x + y), 3.0, 4.0, has_aux=True)
    assert (float(value), float(aux)) == (12.0, 7.0)
    assert [float(c) for c in pullback(2.0)] == [8.0, 6.0]
    assert [float(v) for v in mlc.jvp(mlc.grad(lambda x: x**4), (2.0,), (1.0,))] == [32.0, 48.0]
    assert float(mlc.grad(mlc.grad(mlc.grad(lambda x: x**4)))(2.0)) == 48.0
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    np.testing.assert_allclose(np.asarray(mlc.grad(lambda v: mnp.sin(v).sum())(x)), np.cos(x), rtol=1e-6)


def test_an_error_names_the_users_line() -> None:
    with pytest.raises(DifferentiationError) as error:
        mlc.grad(lambda x: x.sum())(np.ones(3, np.int32))
    first, second, _ = str(error.value).splitlines()
    assert first.endswith("mlc.grad(lambda x: x.sum())(np.ones(3, np.int32))")
    assert second == "grad of <lambda>: argument x is i32[3], which has no derivative"


@pytest.mark.parametrize(
    "name", ["transforms.gradients", "transforms.products", "transforms.stop", "data.sets", "data.minibatches"]
)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"mlc.{name}"))
    assert result.attempted and not result.failed
