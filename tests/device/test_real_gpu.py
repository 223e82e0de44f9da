"""On a machine with a GPU: every op row and the larger products mean there what the evaluator says."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

import mlc
from mlc.compiler import Options, compile_function, link
from mlc.devices import with_devices
from mlc.errors import DeviceError
from mlc.ir.graph import OPS, Graph
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.types import BF16, BOOL, F16, F32, F64, I8, I64, U32
from mlc.runtime import Device
from tests.rows.cases import CASES, EVERY
from tests.rows.test_rows import together

pytestmark = pytest.mark.gpu
ONE_OF_A_KIND = (BOOL, I8, U32, I64, F16, BF16, F32, F64)


def on_gpu(graph: Graph, arrays: list[Any]) -> list[Any]:
    options = with_devices(Options.from_environment(), graph, "gpu:0")
    return [np.asarray(r) for r in link(compile_function(graph, options))(arrays)]


@pytest.mark.parametrize("name", CASES)
def test_row(real_gpu: Device, name: str) -> None:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for dtype in EVERY if OPS[name].elementwise else ONE_OF_A_KIND:
        cases = CASES[name](dtype)
        if cases:
            graph, arrays = together(name, cases, rng)
            assert_close(graph, arrays, on_gpu(graph, arrays), f"{name} {dtype}")


@pytest.mark.parametrize("dtype, tolerance", [("f32", 1e-4), ("f16", 2e-3), ("bf16", 1.6e-2)])
@pytest.mark.parametrize("m, k, n", [(512, 512, 512), (1000, 777, 333), (129, 4097, 64), (4096, 64, 4096)])
def test_large_products(real_gpu: Device, m: int, k: int, n: int, dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    a, b = (mlc.numpy.asarray(rng.standard_normal(s).astype(np.float32)).astype(dtype) for s in ((m, k), (k, n)))
    found = np.asarray(mlc.jit(lambda a, b: a @ b, device="gpu:0")(a, b)).astype(np.float64)
    wide = [np.asarray(x.astype("f64")) for x in (a, b)]
    assert np.abs(found - wide[0] @ wide[1]).max() < tolerance * np.sqrt(k) * 4


def test_the_same_bits_in_every_run(real_gpu: Device) -> None:
    x = np.random.default_rng(0).standard_normal((1000, 3000)).astype(np.float32)
    f = mlc.jit(lambda x: (x.sum(), x.sum(axis=0), mlc.nn.softmax(x, axis=1), x @ x.T), device="gpu:0")
    first = [np.asarray(r).tobytes() for r in f(x)]
    assert all([np.asarray(r).tobytes() for r in f(x)] == first for _ in range(5))


def test_memory_beyond_the_device_is_an_error_and_nothing_is_lost(real_gpu: Device) -> None:
    rows = real_gpu.info["memory_bytes"] // 4 // 1024 + 1
    with pytest.raises(MemoryError, match="gpu:0: out of memory"):
        mlc.jit(lambda x: mlc.numpy.broadcast_to(x, (rows, 1024)) * 2, device="gpu:0")(np.ones(1024, np.float32))
    assert mlc.jit(lambda x: x + 1, device="gpu:0")(np.zeros(3, np.float32)).tolist() == [1.0] * 3


def test_torch_shares_memory_through_dlpack(real_gpu: Device) -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which is not here")
    if not torch.cuda.is_available():
        pytest.skip("needs a torch with CUDA, which is not here")
    there = torch.arange(12, dtype=torch.float32, device="cuda").reshape(3, 4)
    x = mlc.numpy.from_dlpack(there)
    assert x.device == "gpu:0" and x._address() == there.data_ptr()
    back = torch.from_dlpack(x * 2)
    assert back.is_cuda and torch.equal(back, there * 2)


def test_code_that_is_none_is_refused_with_the_assemblers_words(
    real_gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlc import compiler

    good = compiler._ptx_of
    monkeypatch.setattr(compiler, "_ptx_of", lambda *args: good(*args).replace("ret;", "return!"))
    with pytest.raises(DeviceError, match=r"gpu:0: it does not take the code: ptxas"):
        mlc.jit(lambda x: x * 3, device="gpu:0")(np.zeros(3, np.float32))
