"""Arrays in the memory of a GPU: where they are, how they come and go, what they share with other libraries."""

from __future__ import annotations

import copy
import ctypes
import pickle
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, DeletedError, TargetError
from tests.mock_cuda import MockDriver


@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16", "f16", "i8", "u64", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (5, 3), (2, 0, 3)], ids=str)
def test_there_and_back(mock: MockDriver, shape: tuple[int, ...], dtype: str) -> None:
    host = mnp.asarray(np.random.default_rng(0).integers(0, 2, shape)).astype(dtype)
    there = mlc.device_put(host, "gpu:0")
    assert (there.device, host.device, there.shape, there.dtype) == ("gpu:0", "cpu:0", shape, host.dtype)
    back = there.to_device("cpu:0")
    assert back.device == "cpu:0"
    assert np.asarray(back).tobytes() == np.asarray(there).tobytes() == np.asarray(host).tobytes()
    assert there.to_device("gpu") is there and back.to_device("cpu") is back


def test_more_than_one_pinned_block(mock: MockDriver) -> None:
    """More than all of them: they are used again."""
    host = np.random.default_rng(0).standard_normal((2200, 1001))
    there = mlc.device_put(host, "gpu:0")
    assert np.array_equal(np.asarray(there), host)
    assert mock.count("cuMemcpyHtoDAsync_v2") == mock.count("cuMemcpyDtoHAsync_v2") == 17


def test_what_reads_elements_in_python_copies_them(mock: MockDriver) -> None:
    x = mlc.device_put(np.array([[1.5, -2.0], [0.0, 4.0]], np.float32), "gpu:0")
    assert x.tolist() == [[1.5, -2.0], [0.0, 4.0]]
    assert repr(x) == repr(x.to_device("cpu"))
    assert float(x[0, 1]) == -2.0 and x[0, 1].device == "gpu:0"
    assert [row.device for row in x] == ["gpu:0", "gpu:0"]
    assert memoryview(x)[1, 1] == 4.0 and f"{x[1, 1]:.1f}" == "4.0"
    assert x.tobytes() == np.asarray(x).tobytes() and len(x) == 2
    assert pickle.loads(pickle.dumps(x)).tolist() == x.tolist()
    assert copy.copy(x).device == copy.deepcopy(x).device == "gpu:0"
    assert mnp.asarray(x, dtype="f64").device == "gpu:0"
    assert mnp.zeros_like(x).device == "gpu:0"


def test_trees_and_numbers_are_put(mock: MockDriver) -> None:
    found = mlc.device_put({"a": [1.0, np.arange(3)], "b": 2}, "gpu:0")
    assert [x.device for x in (*found["a"], found["b"])] == ["gpu:0"] * 3
    assert found["a"][1].tolist() == [0, 1, 2] and found["b"].dtype.name == "i64"


def test_operations_run_where_their_arguments_are(mock: MockDriver) -> None:
    x = mlc.device_put(np.arange(6, dtype=np.float32), "gpu:0")
    y = (x + 1) * np.float32(2)
    assert y.device == "gpu:0" and y.tolist() == [2, 4, 6, 8, 10, 12]
    assert sum(mock.launched.values()) == 2
    z = y.to_device("cpu:0") + 1
    assert z.device == "cpu:0" and sum(mock.launched.values()) == 2


def test_inside_of_a_device_arrays_are_made_and_calls_run_there(mock: MockDriver) -> None:
    f = mlc.jit(lambda x: x + 1)
    here = f(np.float32(1))
    with mlc.device("gpu:0"):
        made, there = mnp.zeros((2, 3)), f(np.float32(1))
        with mlc.device("cpu"):
            assert f(np.float32(1)).device == "cpu:0"
        assert mnp.arange(4).device == "gpu:0" and mnp.asarray([1, 2]).device == "gpu:0"
    assert (made.device, there.device, here.device) == ("gpu:0", "gpu:0", "cpu:0")
    assert f(np.float32(1)).device == "cpu:0"
    assert float(there) == float(here) == 2.0
    with mlc.device("gpu:0"), pytest.raises(ValueError, match="copied to gpu:0"):
        mnp.asarray(np.zeros(3), copy=False)


def test_dlpack_shares_the_memory_of_the_device(mock: MockDriver) -> None:
    x = mlc.device_put(np.arange(6, dtype=np.float32).reshape(2, 3), "gpu:0")
    assert x.__dlpack_device__() == (2, 0)
    shared = mnp.from_dlpack(_Other(x))
    assert shared.device == "gpu:0" and shared._address() == x._address()
    assert (shared + 1).tolist() == (x + 1).tolist()
    assert mnp.from_dlpack(_Other(x), copy=True)._address() != x._address()
    on_host = x.__dlpack__(dl_device=(1, 0), max_version=(1, 0))
    assert np.from_dlpack(_Capsule(on_host, (1, 0))).tolist() == x.tolist()
    with pytest.raises(BufferError, match="not on the DLPack device"):
        x.__dlpack__(dl_device=(2, 1))
    with pytest.raises(ValueError, match="it is a copy"):
        x.__dlpack__(dl_device=(1, 0), copy=False)
    with pytest.raises(ArgumentError, match="not on cpu"):
        mnp.from_dlpack(_Other(x), device="cpu")


def test_lent_memory_that_is_not_aligned_is_copied(mock: MockDriver) -> None:
    """Kernels read 16 bytes at once."""
    x = mlc.device_put(np.arange(9, dtype=np.float32), "gpu:0")

    class Shifted(_Other):
        def __dlpack__(self, **options: Any) -> object:
            capsule = super().__dlpack__(**options)
            get = ctypes.pythonapi.PyCapsule_GetPointer
            get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
            managed = get(capsule, b"dltensor")  # DLManagedTensor begins with DLTensor
            pointer = ctypes.c_uint64.from_address(managed)
            pointer.value += 4
            shape = ctypes.c_int64.from_address(ctypes.c_uint64.from_address(managed + 24).value)
            shape.value = 8
            return capsule

    found = mnp.from_dlpack(Shifted(x))
    assert found._address() % 16 == 0 and found.tolist() == list(range(1, 9))
    assert (found * 2).tolist() == list(range(2, 18, 2))
    with pytest.raises(ValueError, match="needs a copy"):
        mnp.from_dlpack(Shifted(x), copy=False)


def test_lent_memory_outlives_its_array_and_is_not_donated(mock: MockDriver) -> None:
    shared = mnp.from_dlpack(_Other(mlc.device_put(np.arange(3, dtype=np.float32), "gpu:0")))
    double = mlc.jit(lambda x: x * 2, donate_argnames="x")
    with pytest.warns(mlc.Notice, match="borrowed"):
        assert double(shared).tolist() == [0, 2, 4]
    assert shared.tolist() == [0, 1, 2]


def test_names_of_devices_that_are_not_there(mock: MockDriver) -> None:
    x = mnp.zeros(3)
    for name in ("tpu:0", "gpu:x", "", "gpu:0:0"):
        with pytest.raises(ArgumentError, match="is no device"):
            x.to_device(name)
    with pytest.raises(TargetError, match="gpu:1 is not there: the CUDA driver lists 1 device"):
        x.to_device("gpu:1")
    with pytest.raises(ArgumentError, match="takes no stream"):
        x.to_device("gpu:0", stream=3)


def test_arguments_on_two_devices_are_refused(mock: MockDriver) -> None:
    mock.reset(devices=2)
    x, y = (mlc.device_put(np.zeros(3, np.float32), f"gpu:{i}") for i in range(2))
    with pytest.raises(ArgumentError, match="gpu:0 and gpu:1"):
        x + y
    assert (x + x).device == "gpu:0" and (y + y).device == "gpu:1"
    assert y.to_device("gpu:0").device == "gpu:0"


def test_a_donated_array_is_deleted_and_its_block_is_the_results(mock: MockDriver) -> None:
    step = mlc.jit(lambda p, g: p - 0.5 * g, donate_argnames="p")
    p, g = (mlc.device_put(np.full(5, v, np.float32), "gpu:0") for v in (1.0, 2.0))
    before = p._address()
    q = step(p, g)
    assert q._address() == before and q.tolist() == [0.0] * 5
    with pytest.raises(DeletedError):
        np.asarray(p)
    with pytest.raises(DeletedError):
        step(p, g)


def test_freed_memory_is_used_again(mock: MockDriver) -> None:
    x = mlc.device_put(np.zeros(1000, np.float32), "gpu:0")
    on, address = x.on, x._address()
    assert on is not None
    used = on.memory[0]
    del x
    assert on.memory[0] < used
    assert mlc.device_put(np.zeros(1000, np.float32), "gpu:0")._address() == address
    allocated = mock.used
    on.trim()
    assert mock.used < allocated and on.memory[1] == 0


class _Other:
    """An array of another library: DLPack is all it has, and it checks what it is asked."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.x.__dlpack_device__()

    def __dlpack__(self, *, stream: object = None, max_version: tuple[int, int] | None = None) -> object:
        assert isinstance(stream, int) and stream > 2
        return self.x.__dlpack__(stream=stream, max_version=max_version)


class _Capsule:
    def __init__(self, capsule: object, device: tuple[int, int]) -> None:
        self.capsule, self.device = capsule, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **unused: object) -> object:
        return self.capsule
