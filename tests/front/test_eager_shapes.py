"""Operations outside traces on many shapes: compiled for the first, then for all where bits do not depend on it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import mlc
import mlc.numpy as mnp
from mlc.numpy import dispatch

F = npt.NDArray[np.float32]


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every run of LLVM."""
    from mlc import codegen

    runs: list[int] = []
    real = codegen.compile_object

    def counting(*args: Any, **kwargs: Any) -> bytes:
        runs.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(codegen, "compile_object", counting)
    dispatch.EAGER.clear()
    return runs


OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[[F, F], Any]]] = {
    "add": (lambda x, y: mnp.add(x, y), lambda x, y: x + y),
    "bias": (lambda x, y: mnp.maximum(x, mnp.asarray(np.asarray(y)[:1])), lambda x, y: np.maximum(x, y[:1])),
    "number": (lambda x, y: x * 2.5, lambda x, y: x * np.float32(2.5)),
    "where": (lambda x, y: mnp.where(x > y, x, 0.0), lambda x, y: np.where(x > y, x, 0)),
    "transpose": (lambda x, y: mnp.transpose(x), lambda x, y: x.T),
    "concatenate": (lambda x, y: mnp.concatenate([x, y]), lambda x, y: np.concatenate([x, y])),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_new_shapes_need_no_llvm(name: str, generated: list[int]) -> None:
    operation, expected = OPERATIONS[name]
    chance = np.random.default_rng(0)
    for shape in [(2, 3), (3, 5), (17, 9), (64, 33), (5, 1000), (1000, 7), (2, 3)]:
        before = len(generated)
        x, y = chance.normal(size=(2, *shape)).astype("f")
        got = operation(mnp.asarray(x), mnp.asarray(y))
        np.testing.assert_array_equal(np.asarray(got), expected(x, y))
        assert shape[0] <= 3 or len(generated) == before
    assert 0 < len(generated) <= 4  # two a called operation


def test_odd_shapes(generated: list[int]) -> None:
    """Axes of 1 and 0, equal extents, numbers of other types: each is right, whatever came before."""
    for shapes in [
        [(3, 4), (3, 4)], [(5, 6), (5, 6)], [(4, 4), (4, 4)], [(7, 7), (7, 7)], [(4, 1), (1, 4)], [(6, 1), (1, 6)],
        [(0, 3), (0, 3)], [(3,), ()], [(8,), ()], [(), ()], [(1,), (9,)], [(2, 3, 4), (4,)], [(5, 6, 7), (7,)],
        [(1 << 21,), (1,)], [(3,), (3,)],
    ]:  # fmt: skip
        x, y = (np.arange(np.prod(s), dtype=np.float32).reshape(s) + 1 for s in shapes)
        for _ in range(2):
            np.testing.assert_array_equal(np.asarray(mnp.divide(mnp.asarray(x), mnp.asarray(y))), x / y)
    for number in (2, 2.0, True):
        for n in (3, 4, 5):
            x = np.arange(n, dtype=np.float32)
            np.testing.assert_array_equal(np.asarray(mnp.asarray(x) * number), x * number)


def test_bits_do_not_depend_on_what_was_seen_before() -> None:
    x = np.random.default_rng(1).normal(size=(37, 41)).astype("f")

    def results() -> list[bytes]:
        a = mnp.asarray(x)
        return [
            np.asarray(y).tobytes()
            for y in (mnp.exp(a) / 3, mnp.sum(a), mnp.sum(a, axis=0), a @ a.T, mlc.nn.softmax(a))
        ]

    dispatch.EAGER.clear()
    first = results()
    dispatch.EAGER.clear()
    for n in (3, 5, 8):
        y = mnp.asarray(x[:n, : n + 1])
        mnp.exp(y) / 3, mnp.sum(y), mnp.sum(y, axis=0), y @ y.T, mlc.nn.softmax(y)
    assert results() == first


def test_as_many_signatures_as_one_likes() -> None:
    """Old entries go; what is asked for again is compiled again, and right."""
    traces: list[int] = []
    f = mlc.jit(lambda x, n: (traces.append(n), x + 1)[1], static_argnames="n")
    for n in (*range(4500), *range(16), 4499):  # a bucket holds 64, and hashes differ from run to run
        assert float(f(1.0, n)) == 2.0
    assert traces[:4500] == list(range(4500)) and 0 < len(traces[4500:]) <= 16


def test_an_operation_seen_before_runs_three_python_functions() -> None:
    """The operator, the lookup of its function, that function: the rest of a call is C."""
    x, y = mnp.ones((2, 2)), mnp.ones((2, 1))
    for call in (lambda: x + y, lambda: x * 2.0, lambda: x @ x, lambda: x.sum(axis=(0, 1)), lambda: mnp.exp(x)):
        call()
        called: list[str] = []
        sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)  # noqa: B023
        call()
        sys.setprofile(None)
        assert len(called) <= 4, called


def test_operands_and_options_by_name_and_in_lists() -> None:
    x = mnp.asarray([[3.0, 1.0], [2.0, 5.0]])
    for _ in range(2):
        assert mnp.clip(x, max=4.0, min=2.0).tolist() == [[3.0, 2.0], [2.0, 4.0]]
        assert mnp.clip(x, 2.0, max=4.0).tolist() == [[3.0, 2.0], [2.0, 4.0]]
        assert mnp.reshape(x, [4]).tolist() == mnp.reshape(x, shape=(4,)).tolist() == [3.0, 1.0, 2.0, 5.0]
        assert mnp.sum(x, axis=[0]).tolist() == [5.0, 6.0]
