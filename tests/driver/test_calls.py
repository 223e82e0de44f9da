"""Calls as users make them: any layout, empty arrays, results that are not computed, long programs, several threads."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 8)).astype(np.float32)
SCALE = float(np.float32(1.0001))
LAYOUTS = {
    "transposed": X.T,
    "strided": X[::2, 1::3],
    "reversed": X[::-1, ::-1],
    "fortran": np.asfortranarray(X),
    "repeated": np.broadcast_to(X[0], (4, 8)),
    "bytes swapped": X.astype(">f4"),
    "empty": X[:0],
    "no axes": X[0, 0],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_inputs_of_any_layout(name: str) -> None:
    x = LAYOUTS[name]
    got = np.asarray(mlc.jit(lambda a: a * 2 + 1)(x))
    np.testing.assert_array_equal(got, np.asarray(x * 2 + 1, np.float32))


def test_results_that_are_inputs_constants_and_each_other() -> None:
    def f(a: Any) -> Any:
        b = a + 1
        return {
            "same": (a, a),
            "constant": X,
            "number": 3,
            "none": None,
            "twice": [b, b],
            "flat": mnp.reshape(b, (48,)),
        }

    out = mlc.jit(f)(X)
    assert out["none"] is None and int(out["number"]) == 3
    for got, want in ((out["same"][0], X), (out["same"][1], X), (out["constant"], X), (out["twice"][1], X + 1)):
        np.testing.assert_array_equal(np.asarray(got), want)
    np.testing.assert_array_equal(np.asarray(out["flat"]), (X + 1).ravel())


def test_sums_over_nothing() -> None:
    e = np.zeros((0, 4), np.float32)
    np.testing.assert_array_equal(np.asarray(mlc.jit(lambda a: mnp.sum(a, axis=0))(e)), np.zeros(4))
    np.testing.assert_array_equal(np.asarray(mlc.jit(lambda a: a.T @ a)(e)), np.zeros((4, 4)))


def test_a_chain_of_five_thousand_operations() -> None:
    """Deeper than Python's stack."""

    def f(x: Any) -> Any:
        for i in range(2500):
            x = x * SCALE + i
        return x

    want = X.astype(np.float64)
    for i in range(2500):
        want = want * SCALE + i
    np.testing.assert_allclose(np.asarray(mlc.jit(f)(X)), want, rtol=2500 * 2 * 2.0**-24)


def test_several_threads_compile_and_call() -> None:
    w = RNG.normal(size=(8, 8)).astype(np.float32)
    f = mlc.jit(lambda a: mnp.tanh(a @ w) @ w + mnp.sum(a))
    inputs = [RNG.normal(size=(n, 8)).astype(np.float32) for n in range(1, 7)]
    found: list[tuple[int, bytes]] = []

    def work(k: int) -> None:
        for n in range(60):
            i = (n + k) % len(inputs)
            found.append((i, np.asarray(f(inputs[i])).tobytes()))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 360 and len(set(found)) == len(inputs)
    for i, got in set(found):
        x = inputs[i].astype(np.float64)
        np.testing.assert_allclose(
            np.frombuffer(got, np.float32).reshape(x.shape), np.tanh(x @ w) @ w + x.sum(), rtol=1e-5, atol=2e-5
        )
