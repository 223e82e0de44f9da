"""mlc.Array: host data in and out, views that keep memory alive, allocator reuse."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref

import ml_dtypes
import numpy as np
import pytest

from mlc.array import Array, asarray
from mlc.errors import ArgumentError, DTypeError
from mlc.ir.types import BF16, BOOL, DTYPES, F32, F64, I64, DType
from mlc.runtime import ArrayBase
from mlc.runtime._array import cached_bytes, trim


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (7,), (2, 3, 4, 5, 6)], ids=str)
def test_round_trip(dtype: DType, shape: tuple[int, ...]) -> None:
    host = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 5).astype(dtype.numpy)
    array = asarray(host)
    assert (array.shape, array.dtype, array.ndim, array.size) == (shape, dtype, len(shape), host.size)
    assert array.nbytes == host.nbytes
    assert array._address() % 64 == 0
    back = np.asarray(array)
    assert back.dtype == host.dtype
    np.testing.assert_array_equal(back, host)
    assert array.tolist() == host.tolist()


def test_default_types() -> None:
    assert asarray(1.5).dtype is F32
    assert asarray([1, 2]).dtype is I64
    assert asarray([True]).dtype is BOOL
    assert asarray([]).dtype is F32
    assert asarray([1.5], "f64").dtype is F64
    assert asarray(np.float64(1.5)).dtype is F64
    assert asarray(np.arange(3.0)).dtype is F64
    assert asarray([1.5, 2.5], BF16).tolist() == [1.5, 2.5]


@pytest.mark.parametrize("data", [["a"], [1j], np.array(["x"]), np.zeros(3, "datetime64[s]"), object()])
def test_elements_that_mlc_lacks(data: object) -> None:
    with pytest.raises(DTypeError):
        asarray(data)


def test_strides_and_byte_order_are_straightened() -> None:
    host = np.arange(24.0).reshape(4, 6)
    np.testing.assert_array_equal(np.asarray(asarray(host.T)), host.T)
    np.testing.assert_array_equal(np.asarray(asarray(host[::-2, ::3])), host[::-2, ::3])
    np.testing.assert_array_equal(np.asarray(asarray(host.astype(">f4"))), host.astype("f4"))
    np.testing.assert_array_equal(np.asarray(asarray(np.broadcast_to(np.float32(2), (3, 3)))), np.full((3, 3), 2))


def test_asarray_copies_unless_told_not_to() -> None:
    host = np.zeros(4, np.float32)
    copied, borrowed = asarray(host), asarray(host, copy=False)
    host[0] = 1
    assert copied.tolist() == [0, 0, 0, 0]
    assert borrowed.tolist() == [1, 0, 0, 0]
    assert borrowed.pinned and not copied.pinned
    assert asarray(copied) is copied
    assert asarray(copied, copy=True) is not copied
    assert asarray(copied, "f64").dtype is F64
    for data, dtype in ((host.astype("f8"), "f4"), ([1.0], None), (1.0, None), (host[::2], None)):
        with pytest.raises(ValueError):
            asarray(data, dtype, copy=False)


def test_borrowed_memory_lives_as_long_as_the_array() -> None:
    host = np.arange(1000.0)
    alive = weakref.ref(host)
    array = asarray(host, copy=False)
    del host
    gc.collect()
    assert alive() is not None
    assert array.tolist()[-1] == 999
    del array
    gc.collect()
    assert alive() is None


def test_borrowing_plain_bytes() -> None:
    array = asarray(memoryview(b"\1\2\3"), copy=False)
    assert (array.dtype.name, array.tolist()) == ("u8", [1, 2, 3])


def test_views_are_read_only_and_keep_the_memory() -> None:
    array = asarray(np.arange(10, dtype=np.int32))
    address = array._address()
    view = np.asarray(array)
    assert view.ctypes.data == address
    assert array.pinned
    with pytest.raises(ValueError):
        view[0] = 1
    with pytest.raises(ValueError):
        view.flags.writeable = True
    del array
    others = [asarray(np.full(10, i, np.int32)) for i in range(50)]
    assert view.tolist() == list(range(10)), others


def test_pins_follow_the_views() -> None:
    array = asarray([1.0, 2.0])
    first, second = np.asarray(array), memoryview(array)
    assert array.pinned
    del first
    assert array.pinned
    second.release()
    assert not array.pinned


def test_dlpack() -> None:
    array = asarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    view = np.from_dlpack(array)
    assert view.ctypes.data == array._address()
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert array.pinned
    assert array.__dlpack_device__() == (1, 0)


def test_memoryview_has_shape_and_strides() -> None:
    view = memoryview(asarray(np.zeros((2, 3, 4), np.int16)))
    assert (view.shape, view.strides, view.format, view.readonly) == ((2, 3, 4), (24, 8, 2), "h", True)


def test_numbers() -> None:
    assert float(asarray(1.5)) == 1.5
    assert int(asarray([3])) == 3
    assert bool(asarray(False)) is False
    assert [10, 20, 30][asarray(1)] == 20
    assert asarray(np.array(2.5, ml_dtypes.bfloat16)).item() == 2.5
    assert type(asarray(np.uint8(7)).item()) is int
    for convert in (float, int, bool):
        with pytest.raises(ArgumentError, match="it has 2 elements"):
            convert(asarray([1, 2]))
    with pytest.raises(TypeError, match="only integer arrays"):
        [1][asarray(0.0)]
    with pytest.raises(ArgumentError, match="not one"):
        asarray([1, 2]).item()


def test_sequence_protocol() -> None:
    array = asarray([[1, 2], [3, 4]])
    assert len(array) == 2
    assert [row.tolist() for row in array] == [[1, 2], [3, 4]]
    for use in (len, iter):
        with pytest.raises(TypeError):
            use(asarray(1))
    with pytest.raises(TypeError):
        hash(array)


def test_text() -> None:
    assert repr(asarray([1.5, 2.0])) == "Array([1.5, 2. ], dtype=f32)"
    assert repr(asarray(np.array([1, 2], ml_dtypes.bfloat16))) == "Array([1., 2.], dtype=bf16)"


def test_copies_and_pickles() -> None:
    for host in (np.arange(3.0), np.arange(3).astype(ml_dtypes.bfloat16), np.array(True)):
        array = asarray(host)
        for other in (copy.copy(array), copy.deepcopy(array), pickle.loads(pickle.dumps(array))):
            assert other is not array
            assert other.dtype is array.dtype
            np.testing.assert_array_equal(np.asarray(other), host)


def test_arrays_are_not_made_by_hand() -> None:
    for kind in (Array, ArrayBase):
        with pytest.raises(TypeError):
            kind()


def test_memory_is_reused_and_bounded() -> None:
    trim()
    assert cached_bytes() == 0
    array = asarray(np.zeros(1000, np.float32))
    address = array._address()
    del array
    assert 4000 <= cached_bytes() <= 5000
    again = asarray(np.ones(1001, np.float32))
    assert again._address() == address
    assert cached_bytes() == 0
    del again
    trim()
    assert cached_bytes() == 0


def test_many_sizes() -> None:
    """Neighbouring blocks of all size classes do not touch each other."""
    sizes = sorted({max(0, (1 << k) * m // 8 + d) for k in range(3, 18) for m in (8, 10, 12, 14) for d in (-1, 0, 1)})
    arrays = [asarray(np.full(n, i % 251, np.uint8)) for i, n in enumerate(sizes)]
    for i, array in enumerate(arrays):
        assert bool((np.asarray(array) == i % 251).all())


def test_no_references_are_lost() -> None:
    host = np.zeros(3, np.float32)
    before = sys.getrefcount(Array), sys.getrefcount(host)
    for _ in range(100):
        np.asarray(asarray(host, copy=False))
        asarray(host).shape  # noqa: B018
    assert sys.getrefcount(Array) - before[0] < 5
    assert sys.getrefcount(host) == before[1]
