"""Creation, manipulation and indexing against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, MlcError, ShapeError, UnsupportedError
from mlc.tracing import ShapeDtype, trace

from .harness import run, types

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
WIDTHS = ((1, 0), (0, 2), (3, 1))


def test_array_is_a_copy_that_outlives_a_donation() -> None:
    x = mnp.arange(4.0)
    copy = mnp.array(x)
    mlc.jit(lambda a: a * 0, donate_argnames="a")(x)
    np.testing.assert_array_equal(np.asarray(copy), np.arange(4.0, dtype=np.float32))
    np.testing.assert_array_equal(run(lambda a: mnp.array(a) + 1, X), X + 1)


MOVES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "reshape": (lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1)),
    "reshape to one": (lambda x: mnp.reshape(x, -1), lambda x: x.reshape(-1)),
    "ravel": (mnp.ravel, np.ravel),
    "T": (lambda x: x.T, lambda x: x.T),
    "mT": (lambda x: x.mT, lambda x: x.swapaxes(-1, -2)),
    "transpose": (lambda x: x.transpose(1, 2, 0), lambda x: x.transpose(1, 2, 0)),
    "moveaxis": (lambda x: mnp.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1)),
    "moveaxis of two": (lambda x: mnp.moveaxis(x, (0, 1), (2, 0)), lambda x: np.moveaxis(x, (0, 1), (2, 0))),
    "swapaxes": (lambda x: mnp.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1)),
    "expand_dims": (lambda x: mnp.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1))),
    "squeeze": (lambda x: mnp.squeeze(x[:1, :, :1]), lambda x: np.squeeze(x[:1, :, :1])),
    "squeeze one": (lambda x: x[:1, :, :1].squeeze(-1), lambda x: np.squeeze(x[:1, :, :1], -1)),
    "broadcast_to": (lambda x: mnp.broadcast_to(x[0, 0], (5, 3, 4)), lambda x: np.broadcast_to(x[0, 0], (5, 3, 4))),
    "concat": (lambda x: mnp.concat([x, x[:, :1]], axis=1), lambda x: np.concatenate([x, x[:, :1]], 1)),
    "concat flat": (lambda x: mnp.concat([x, x[0]], axis=None), lambda x: np.concatenate([x, x[0]], None)),
    "stack": (lambda x: mnp.stack([x, -x], axis=-1), lambda x: np.stack([x, -x], -1)),
    "split": (lambda x: mnp.split(x, 2, axis=-1)[1], lambda x: np.split(x, 2, -1)[1]),
    "split at": (lambda x: mnp.split(x, [1, 3], axis=2)[1], lambda x: np.split(x, [1, 3], 2)[1]),
    "flip": (lambda x: mnp.flip(x, (0, 2)), lambda x: np.flip(x, (0, 2))),
    "flip all": (mnp.flip, np.flip),
    "roll": (lambda x: mnp.roll(x, 5, axis=2), lambda x: np.roll(x, 5, 2)),
    "roll back": (lambda x: mnp.roll(x, -1, axis=0), lambda x: np.roll(x, -1, 0)),
    "tile": (lambda x: mnp.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3))),
    "tile more axes": (lambda x: mnp.tile(x[0, 0], (2, 3)), lambda x: np.tile(x[0, 0], (2, 3))),
    "repeat": (lambda x: mnp.repeat(x, 3, axis=1), lambda x: np.repeat(x, 3, 1)),
    "pad": (lambda x: mnp.pad(x, WIDTHS, constant_values=7), lambda x: np.pad(x, WIDTHS, constant_values=7)),
    "pad evenly": (lambda x: mnp.pad(x, 1), lambda x: np.pad(x, 1)),
    "tril": (lambda x: mnp.tril(x, -1), lambda x: np.tril(x, -1)),
    "triu": (mnp.triu, np.triu),
    "zeros_like": (lambda x: mnp.zeros_like(x, "i8"), lambda x: np.zeros_like(x, np.int8)),
    "full_like": (lambda x: mnp.full_like(x, 3), lambda x: np.full_like(x, 3)),
    "iteration": (lambda x: [row for row in x][1], lambda x: x[1]),  # noqa: C416
}  # fmt: skip

MAKES: dict[str, tuple[Callable[[], Any], Any]] = {
    "zeros": (lambda: mnp.zeros((2, 3)), np.zeros((2, 3), np.float32)),
    "zeros of one size": (lambda: mnp.zeros(3, "bool"), np.zeros(3, bool)),
    "ones": (lambda: mnp.ones((2,), "i32"), np.ones(2, np.int32)),
    "full": (lambda: mnp.full((2, 2), 7), np.full((2, 2), 7)),
    "full of an array": (lambda: mnp.full((2, 2), np.float32([1, 2])), np.full((2, 2), np.float32([1, 2]))),
    "arange": (lambda: mnp.arange(5), np.arange(5)),
    "arange backwards": (lambda: mnp.arange(10, -3, -4), np.arange(10, -3, -4)),
    "arange of floats": (lambda: mnp.arange(0.0, 1.0, 0.25), np.arange(0, 1, 0.25, np.float32)),
    "arange of nothing": (lambda: mnp.arange(3, 3), np.arange(0)),
    "arange in bf16": (lambda: mnp.arange(4, dtype="bf16").astype("f32"), np.arange(4, dtype=np.float32)),
    "linspace": (lambda: mnp.linspace(0, 1, 7), np.linspace(0, 1, 7, dtype=np.float32)),
    "linspace open": (lambda: mnp.linspace(-2, 5, 6, endpoint=False), np.linspace(-2, 5, 6, False, dtype=np.float32)),
    "eye": (lambda: mnp.eye(3), np.eye(3, dtype=np.float32)),
    "eye off": (lambda: mnp.eye(3, 4, 1, "i8"), np.eye(3, 4, 1, np.int8)),
    "asarray of floats": (lambda: mnp.asarray([[1.5, 2.0]]), np.float32([[1.5, 2]])),
    "asarray of ints": (lambda: mnp.asarray([1, 2]), np.array([1, 2])),
    "asarray converted": (lambda: mnp.asarray([1, 2], "u8"), np.uint8([1, 2])),
    "asarray of f64": (lambda: mnp.asarray(np.ones(2)), np.ones(2)),
    "asarray of values": (lambda: mnp.asarray([mnp.zeros(()), 2.5]), np.float32([0, 2.5])),
}  # fmt: skip

KEYS = [
    0, -1, np.s_[1, 2, 3], np.s_[..., 0], np.s_[:, 1], np.s_[0:1], np.s_[:, ::-1], np.s_[::-2, ::2, 3:0:-2],
    np.s_[None],
    np.s_[:, None, ..., None], np.s_[5:], np.s_[:, 2:1], np.s_[-1:], np.s_[:, -100:100], np.s_[...], np.s_[0, ..., 1],
    np.int32(1), np.s_[:, :, -3:-1],
]  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_moves(name: str) -> None:
    ours, theirs = MOVES[name]
    want = np.asarray(theirs(X))
    got = run(ours, X)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", MAKES)
def test_makes(name: str) -> None:
    ours, want = MAKES[name]
    got = run(ours)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing(key: Any) -> None:
    np.testing.assert_array_equal(run(lambda x: x[key], X), X[key])


@pytest.mark.parametrize(("key", "words"), [
    (2, "index 2 is outside of axis 0"), ((0, 0, 0, 0), "4 indices of operand f32.2,3,4., which has 3 axes"),
    (np.s_[..., ...], "more than one"), (np.s_[::0], "step 0"), (np.array([0.5]), "an index of f64"),
    ([0, 7], "index 7 is outside of axis 0"), (1.0, "index of type float"), (True, "index of type bool"),
    ("a", "index of type str"),
])  # fmt: skip
def test_bad_indices(key: Any, words: str) -> None:
    with pytest.raises(MlcError, match=words):
        trace(lambda x: x[key], [ShapeDtype((2, 3, 4))])


@pytest.mark.parametrize("function", [
    lambda x: x.reshape(5, -1), lambda x: x.reshape(-1, -1), lambda x: x.reshape(23), lambda x: x.transpose(0, 1),
    lambda x: x.transpose(0, 1, 1), lambda x: mnp.concat([x, x[0]]), lambda x: mnp.concat([x, x[:, :2]], axis=2),
    lambda x: mnp.stack([x, x[0]]), lambda x: mnp.squeeze(x, 0), lambda x: mnp.split(x, 5, axis=1),
    lambda x: mnp.broadcast_to(x, (2, 3, 5)), lambda x: mnp.broadcast_to(x, (3, 4)), lambda x: x.sum(3),
    lambda x: x.sum((0, -3)), lambda x: x[0, 0].mT[0].mT,
])  # fmt: skip
def test_shapes_that_do_not_fit(function: Callable[[Any], Any]) -> None:
    with pytest.raises(ShapeError):
        trace(function, [ShapeDtype((2, 3, 4))])


def test_symbolic_axes_are_taken_whole_or_without_what_is_always_there() -> None:
    spec = ShapeDtype((mlc.dim("batch", 1, 8), 4))
    assert types(lambda x: (x[:], x[::-1], x[:, 1], x[..., None]), spec) == [
        "f32[batch,4]", "f32[batch,4]", "f32[batch]", "f32[batch,4,1]"]  # fmt: skip
    assert types(lambda x: (x[0], x[-1]), spec) == ["f32[4]", "f32[4]"]  # there is one, whatever the size
    for key in (1, -2, np.s_[2:], np.s_[::2], np.s_[:-2]):
        with pytest.raises(UnsupportedError, match=r"axis 0 of operand .* is symbolic"):
            trace(lambda x: x[key], [spec])  # noqa: B023
    with pytest.raises(TypeError, match="symbolic"):
        trace(lambda x: list(x), [spec])


def test_arguments_that_are_no_arrays_are_refused() -> None:
    for bad in ("text", object(), [1.0, "a"], None):
        with pytest.raises(MlcError):
            trace(lambda: mnp.asarray(bad))  # noqa: B023
        with pytest.raises(ArgumentError):
            trace(lambda x: x + bad, [ShapeDtype(2)])  # noqa: B023
