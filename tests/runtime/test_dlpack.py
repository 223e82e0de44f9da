"""DLPack both ways: every element type, strides, pins, and capsules that are wrong."""

from __future__ import annotations

import gc
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.array import Array, asarray, from_dlpack
from mlc.errors import ArgumentError, DTypeError
from mlc.ir.types import DTYPES


class Foreign:
    """An array of another library, of before or after DLPack 1.0."""

    def __init__(self, array: Any, old: bool = False, device: int = 1) -> None:
        self.array, self.old, self.device = array, old, device

    def __dlpack__(self, **options: Any) -> object:
        if self.old and options:
            raise TypeError("unexpected keyword arguments")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", DTYPES)
def test_every_type_both_ways(name: str, old: bool) -> None:
    host = np.arange(6).reshape(2, 3).astype(DTYPES[name].numpy)
    out = from_dlpack(Foreign(asarray(host), old))
    assert (out.dtype, out.shape) == (DTYPES[name], (2, 3))
    assert np.asarray(out).tobytes() == host.tobytes()
    if name != "bf16":  # NumPy has none
        assert from_dlpack(Foreign(host.copy(), old)).tolist() == host.tolist()
        np.testing.assert_array_equal(np.from_dlpack(asarray(host)), host)


SHAPES: list[Any] = [(), (0,), (3, 0, 2), (1,), (4, 5), (2, 1, 3, 1, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: tuple[int, ...]) -> None:
    host = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    got = from_dlpack(asarray(host))
    assert got.shape == shape and np.asarray(got).tolist() == host.tolist()
    assert from_dlpack(host).shape == shape


def test_memory_is_shared_where_it_can_be() -> None:
    host = np.arange(12, dtype=np.float32).reshape(3, 4)
    shared = from_dlpack(host)
    assert shared.pinned and np.shares_memory(np.asarray(shared), host)
    assert not np.shares_memory(np.asarray(from_dlpack(host, copy=True)), host)
    for view in (host.T, host[:, ::2], host[::-1]):
        np.testing.assert_array_equal(np.asarray(from_dlpack(view)), view)
        with pytest.raises(ValueError, match="needs a copy"):
            from_dlpack(view, copy=False)
    x = asarray(host)
    assert np.shares_memory(np.from_dlpack(x), np.asarray(x)) and not np.from_dlpack(x).flags.writeable
    assert from_dlpack(x) is x


def test_exports_pin_until_they_are_let_go() -> None:
    x = asarray(np.ones(4, np.float32))
    before = sys.getrefcount(x)
    for versioned in (None, (1, 0)):
        capsule: object = x.__dlpack__(max_version=versioned)
        assert x.pinned and sys.getrefcount(x) == before + 1
        del capsule  # nobody took it
        assert not x.pinned and sys.getrefcount(x) == before
        y = from_dlpack(Foreign(x, old=versioned is None))
        assert x.pinned and y.tolist() == [1.0] * 4
        del y
        gc.collect()
        assert not x.pinned and sys.getrefcount(x) == before


def test_a_donated_export_is_copied() -> None:
    x = asarray(np.ones(4, np.float32))
    view = np.from_dlpack(x)
    with pytest.warns(mlc.Notice, match="is donated, but is copied: it is in use elsewhere"):
        mlc.jit(lambda x: x + 1, donate_argnames="x")(x)
    assert view.tolist() == [1.0] * 4 and not x.is_deleted()


def test_what_is_refused() -> None:
    x = asarray(np.ones(4, np.float32))
    with pytest.raises(ArgumentError, match="of type list does not speak DLPack"):
        from_dlpack([1.0])
    with pytest.raises(ArgumentError, match="only arrays on the CPU"):
        from_dlpack(Foreign(x, device=10))  # kDLROCM
    with pytest.raises(DTypeError, match="DLPack type 5 with 64 bits"):
        from_dlpack(np.ones(3, np.complex64))
    capsule = x.__dlpack__()
    fixed = type("Fixed", (Foreign,), {"__dlpack__": lambda self: capsule})(x)
    assert from_dlpack(fixed).tolist() == [1.0] * 4
    with pytest.raises(ArgumentError, match="no DLPack capsule, or one that was used"):
        from_dlpack(fixed)
    for options in ({"stream": 1}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError, match="is on the CPU"):
            x.__dlpack__(**options)  # type: ignore[arg-type]


def test_a_copy_for_who_wants_one() -> None:
    x = asarray(np.ones(4, np.float32))
    y = from_dlpack(type("Copying", (Foreign,), {"__dlpack__": lambda self, **_: x.__dlpack__(copy=True)})(x))
    assert y.tolist() == x.tolist() and not x.pinned and isinstance(y, Array)


def test_python_protocols_of_values() -> None:
    """round, divmod: of arrays and inside traces, as Python and NumPy have them."""
    x = np.array([2.5, -7.25, 1234.567, 0.125], np.float32)
    for f in (lambda v: v, mlc.jit):
        for digits in (0, 1, 2, -2):
            got = f(lambda v, d=digits: round(v, d))(mnp.asarray(x))
            np.testing.assert_allclose(np.asarray(got), np.round(x.astype(np.float64), digits), rtol=1e-6)
        np.testing.assert_array_equal(np.asarray(f(lambda v: round(v))(mnp.asarray(x))), np.round(x))
        q, r = f(lambda v: divmod(v, 2))(mnp.asarray(x))
        np.testing.assert_array_equal(np.asarray(q), x // 2)
        np.testing.assert_array_equal(np.asarray(r), x % 2)
        q, r = f(lambda v: divmod(7, v))(mnp.asarray(np.array([2, 3, -4])))
        assert (np.asarray(q).tolist(), np.asarray(r).tolist()) == ([3, 2, -2], [1, 1, -1])
    whole = np.array([150, 250, -150, 149, -1, 7, 10**9 + 50], np.int64)
    assert np.asarray(round(mnp.asarray(whole), -2)).tolist() == [round(int(n), -2) for n in whole]
    assert np.asarray(round(mnp.asarray(whole), 2)).tolist() == whole.tolist()
    assert mnp.asarray(x).__array_namespace__() is mnp


def test_bf16_survives() -> None:
    host = np.array([1.5, -2.25, np.inf, np.nan], ml_dtypes.bfloat16)
    again = from_dlpack(Foreign(asarray(host)))
    assert np.asarray(again).tobytes() == host.tobytes()
