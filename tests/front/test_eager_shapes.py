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
from mlc.errors import MlcError, ShapeError
from mlc.numpy import dispatch
from mlc.runtime import Function

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


class Fixed(Function):
    """A function that has one program for every signature, and notes which it was asked for."""

    def __init__(self) -> None:
        compiled = mlc.jit(lambda x: x + 1).lower(1.0).compile()
        self.asked: list[Any] = []
        self.code = compiled.executable, compiled.out_tree
        self._configure(("x", "n"), ("n",), hash, [])

    def _compile_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.asked.append(args[1])
        return self.code


def test_as_many_signatures_as_one_likes() -> None:
    """Old entries go; what is asked for again is compiled again, and right."""
    f = Fixed()
    for n in (*range(4500), *range(16), 4499):  # a bucket holds 64, and hashes differ from run to run
        assert float(f(1.0, n)) == 2.0
    assert f.asked[:4500] == list(range(4500)) and 0 < len(f.asked[4500:]) <= 16


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


KEYS: list[Any] = [
    0, -1, (1, 2), (1, 2, 3), slice(1, None), (..., slice(None, None, -2)), (None, 0), (slice(5, 2),), ...,
]  # fmt: skip


def test_keys_of_ints_and_slices_and_filled_arrays_need_no_llvm(generated: list[int]) -> None:
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for dtype in ("f32", "f64", "f16", "bf16", "i8", "u64", "bool"):
        x = mnp.asarray(data, dtype)
        host = np.asarray(x)
        for key in KEYS:
            part = x[key]
            assert part.dtype == x.dtype and part.shape == host[key].shape
            np.testing.assert_array_equal(np.asarray(part), host[key])
        assert x[1, 2, 3].item() == host[1, 2, 3].item() and float(x[0, 0, 1]) == 1.0
    assert mnp.full((2,), 7, "u8").tolist() == mnp.full_like(mnp.zeros(2, "u8"), 7).tolist() == [7, 7]
    assert mnp.arange(2, 9, 3).tolist() == [2, 5, 8] and mnp.eye(2, 3, 1).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert mnp.ones_like(mnp.zeros((0, 2), "bf16")).dtype == mnp.bfloat16
    assert mnp.linspace(0, 1, 3).tolist() == [0, 0.5, 1]
    assert not generated


def test_parts_are_copies_and_wrong_keys_are_refused() -> None:
    x = mnp.zeros(3)
    step = mlc.jit(lambda x: x + 1, donate_argnames="x")
    part = x[1:]
    assert step(x).tolist() == [1, 1, 1] and part.tolist() == [0, 0]
    for wrong, error in ((3, ShapeError), ((0, 0), ShapeError), (1.5, MlcError), (True, MlcError)):
        with pytest.raises(error, match="getitem"):
            part[wrong]


def test_sums_of_new_shapes_need_no_llvm(generated: list[int]) -> None:
    chance = np.random.default_rng(2)
    operations: list[tuple[Callable[..., Any], Callable[[F, F], Any]]] = [
        (lambda x, y: mnp.sum(x, axis=1), lambda x, y: x.sum(1)),
        (lambda x, y: mnp.mean(x, axis=0), lambda x, y: x.mean(0)),
        (lambda x, y: mnp.max(x), lambda x, y: x.max()),
        (lambda x, y: x @ y, lambda x, y: x @ y),
    ]
    for ours, theirs in operations:
        generated.clear()
        for m, k, n in ((3, 4, 5), (40, 30, 20), (7, 129, 64)):
            x, y = chance.normal(size=(m, k)).astype("f"), chance.normal(size=(k, n)).astype("f")
            got = ours(mnp.asarray(x), mnp.asarray(y))
            want = theirs(x.astype(np.float64), y.astype(np.float64))
            np.testing.assert_allclose(np.asarray(got), want, rtol=1e-5, atol=1e-5)
        assert len(generated) <= 1  # none where another test had the same kernels
