"""Methods of arrays and questions about element types: NumPy's answers."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, TargetError

X = np.asarray([[3.25, -1.5, 2.0], [0.5, 4.75, -6.0]], np.float32)

METHODS: dict[str, Callable[[Any], Any]] = {
    "cumsum": lambda x: (x.cumsum(), x.cumsum(1)),
    "cumprod": lambda x: (x.cumprod(), x.cumprod(axis=0)),
    "take": lambda x: (x.take(np.asarray([4, 0])), x.take(np.asarray([1, 1, 0]), axis=1)),
    "repeat": lambda x: (x.repeat(2), x.repeat(2, axis=0)),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "argsort": lambda x: (x.argsort(), x.argsort(axis=0)),
    "round": lambda x: (x.round(), x.round(1)),
    "copy": lambda x: x.copy(),
    "tobytes": lambda x: np.frombuffer(x.tobytes(), np.float32),
    "contains": lambda x: (4.75 in x, 9.0 in x),
    "reversed": lambda x: list(reversed(x)),
    "trunc": lambda x: (math.trunc(float(x[0, 1])), math.floor(x[0, 1]), math.ceil(x[0, 1])),
    "divmod": lambda x: (*divmod(x, 2), *divmod(7.0, x)),
    "sums of rows": lambda x: sum(x),
    "unpacked": lambda x: [*x][1],
    "ufunc": lambda x: np.negative(x),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_numpys(name: str) -> None:
    got, want = (METHODS[name](x) for x in (mnp.asarray(X), X))
    many = isinstance(want, tuple | list)
    for g, w in zip(got if many else [got], want if many else [want], strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-6)


def test_sorting_gives_another_array() -> None:
    x = mnp.asarray(X)
    assert x.sort().tolist() == np.sort(X).tolist() and x.tolist() == X.tolist()


def test_assignments_in_place_make_new_arrays() -> None:
    x = before = mnp.asarray(X)
    y = X.copy()
    x += 1
    x *= 2
    x -= 3
    x /= 4
    x **= 2
    x @= X.T
    y += 1
    y *= 2
    y -= 3
    y /= 4
    y **= 2
    np.testing.assert_allclose(np.asarray(x), y @ X.T, rtol=1e-5)
    assert before.tolist() == X.tolist() and math.trunc(before[0, 1]) == -1


def test_arrays_and_functions_are_copied_and_pickled() -> None:
    x = mnp.asarray(X, "bf16")
    for y in (copy.copy(x), copy.deepcopy([x])[0], pickle.loads(pickle.dumps(x)), x.to_device("cpu")):
        assert y.dtype == x.dtype and y.tolist() == x.tolist()
    assert pickle.loads(pickle.dumps(doubled)) is doubled and copy.deepcopy(doubled) is doubled
    with pytest.raises(ArgumentError, match="to_device: 'tpu:0' is no device"):
        x.to_device("tpu:0")
    with pytest.raises(TargetError, match="device 'gpu:99'"):
        x.to_device("gpu:99")


@mlc.jit
def doubled(x: Any) -> Any:
    return 2 * x
