"""Outside of a trace: functions and operators of arrays run compiled at once, with the numbers NumPy has."""

from __future__ import annotations

import doctest
import importlib
import inspect
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import MlcError, Notice, ShapeError

RNG = np.random.default_rng(4)
X = RNG.standard_normal((3, 4)).astype(np.float32)
MODULES = [
    "mlc.tree", "mlc.random", "mlc.tracing.trace", "mlc.tracing.spec", "mlc.tracing.location", "mlc.numpy.promotion",
    "mlc.nn.activations", "mlc.nn.rows", "mlc.nn.losses", "mlc.optim.optimizer", "mlc.optim.descent",
    "mlc.optim.adaptive", "mlc.numpy.arithmetic", "mlc.numpy.comparison", "mlc.numpy.real", "mlc.numpy.manipulation",
    "mlc.numpy.reductions",
    "mlc.numpy.creation", "mlc.numpy.linear", "mlc.numpy.einsum", "mlc.numpy.indexing", "mlc.staging", "mlc.array",
    "mlc.artifact.exporting", "mlc.ir.dims", "mlc.errors",
]  # fmt: skip

CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "operators": (lambda x: (1 - x) * 2 / (x * x + 3), lambda x: (1 - x) * 2 / (x * x + 3)),
    "comparison": (lambda x: (x > 0) & ~(x >= 1), lambda x: (x > 0) & ~(x >= 1)),
    "power": (lambda x: x**3, lambda x: x**3),
    "matmul": (lambda x: x @ x.T, lambda x: x @ x.T),
    "index": (lambda x: x[1:, ::-2], lambda x: x[1:, ::-2]),
    "sum": (lambda x: x.sum(axis=1, keepdims=True), lambda x: x.sum(axis=1, keepdims=True)),
    "mean": (lambda x: x.mean(), lambda x: x.mean()),
    "argmax": (lambda x: x.argmax(-1), lambda x: x.argmax(-1)),
    "reshape": (lambda x: x.reshape(-1, 2), lambda x: x.reshape(-1, 2)),
    "concat": (lambda x: mnp.concat([x, x], axis=1), lambda x: np.concatenate([x, x], 1)),
    "split": (lambda x: mnp.split(x, 2, axis=1)[1], lambda x: np.split(x, 2, 1)[1]),
    "tile": (lambda x: mnp.tile(x, (2, 1)), lambda x: np.tile(x, (2, 1))),
    "astype": (lambda x: x.astype("i32"), lambda x: x.astype(np.int32)),
    "where": (lambda x: mnp.where(x > 0, x, 0.0), lambda x: np.where(x > 0, x, np.float32(0))),
    "einsum": (lambda x: mnp.einsum("ij,kj->ik", x, x), lambda x: np.einsum("ij,kj->ik", x, x)),
    "numpy on the left": (lambda x: X - x, lambda x: X - x),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_arrays_compute_what_numpy_computes(name: str) -> None:
    ours, theirs = CASES[name]
    got, want = ours(mnp.asarray(X)), np.asarray(theirs(X))
    assert isinstance(got, mlc.Array)
    assert np.asarray(got).dtype == want.dtype
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-5, atol=1e-6)


def test_numbers_beside_f64_arrays_keep_their_width_without_a_notice() -> None:
    x = mnp.asarray(np.zeros(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        assert (x + 0.1).tolist() == [0.1, 0.1]
        assert (0.1 - x).tolist() == [0.1, 0.1]


def test_a_static_number_is_told_from_another_of_its_value() -> None:
    x = mnp.asarray([1, 2])
    assert [(x**2).dtype, (x**2.0).dtype, (x**True).dtype] == [mnp.int64, mnp.float32, mnp.int64]


def test_eager_and_traced_functions_agree_on_random_numbers() -> None:
    key = mlc.random.key(42)
    assert mlc.random.bits(key, (2,)).tolist() == [2098992034, 2919706841]
    first, second = mlc.random.split(key)
    assert (first.tolist(), second.tolist()) == ([1832780943, 270669613], [64467757, 2916123636])
    assert mlc.random.fold_in(key, 7).tolist() == [2547012911, 1371500959]
    want = [float.fromhex(x) for x in ("-0x1.cfbe2ap-6", "0x1.de57dp-2", "0x1.2eccc2p-2", "0x1.3a7648p-3")]
    np.testing.assert_allclose(np.asarray(mlc.random.normal(key, (4,))), want, rtol=5e-7)


def test_errors_name_the_users_line() -> None:
    with pytest.raises(ShapeError) as caught:
        operator.add(mnp.asarray(X), mnp.asarray(X.T))  # the user's line
    assert "# the user's line" in str(caught.value)
    for bad in ("a", None, object()):
        with pytest.raises(MlcError, match=r"test_eager\.py"):
            mnp.asarray(X) + bad


def test_arrays_are_not_hashable_and_compare_by_element() -> None:
    x = mnp.asarray([1.0, 2.0])
    assert (x == mnp.asarray([1.0, 3.0])).tolist() == [True, False]
    with pytest.raises(TypeError):
        hash(x)


def test_a_training_step_learns() -> None:
    opt = mlc.optim.adam(1e-2)

    def loss(params: Any, x: Any, y: Any) -> Any:
        return mlc.nn.cross_entropy(mlc.nn.relu(x @ params["w1"]) @ params["w2"], y)

    @mlc.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        value, grads = mlc.value_and_grad(loss)(params, x, y)
        return *opt.update(params, grads, state), value

    keys = mlc.random.split(mlc.random.key(0))
    params: Any = {"w1": mlc.nn.init.he_normal()(keys[0], (4, 16)), "w2": mlc.nn.init.he_normal()(keys[1], (16, 3))}
    state = opt.init(params)
    x = RNG.standard_normal((64, 4)).astype(np.float32)
    y = x[:, :3].argmax(1)
    losses = []
    for _ in range(80):
        params, state, value = step(params, state, x, y)
        losses.append(float(value))
    assert losses[-1] < 0.35 * losses[0]
    assert int(state.step) == 80


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_the_documentation_run(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed


@pytest.mark.parametrize("module", ["mlc", "mlc.numpy", "mlc.nn", "mlc.optim", "mlc.random"])
def test_every_public_function_has_an_example(module: str) -> None:
    home = importlib.import_module(module)
    names = getattr(home, "__all__", None) or [n for n, f in vars(home).items() if _is_own_function(f, module)]
    functions = {n: getattr(home, n) for n in names if inspect.isfunction(getattr(home, n))}
    functions.pop("erf_inv", None)  # of tracers: no public function
    assert functions and not [n for n, f in functions.items() if ">>>" not in (inspect.getdoc(f) or "")]


def _is_own_function(x: object, module: str) -> bool:
    return inspect.isfunction(x) and x.__module__ == module and not x.__name__.startswith("_")
