"""Contractions and convolutions as PTX: right numbers, no spills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlc.codegen.nvptx import assemble_ptx, compile_ptx, find_ptxas
from mlc.ir.graph import CONVERT, Graph
from mlc.ir.graph.convolution import convolution
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.target import GPU_TARGETS, GpuTarget
from mlc.ir.types import BF16, F16, F32, F64, I8, I32, DType, TensorType
from mlc.passes.kernels import lower_kernel
from mlc.passes.schedule import schedule_region
from mlc.passes.schedule.gpu import product_call
from mlc.passes.schedule.gpu.tile import MATRIX_TILES
from tests.gpu.running import OnGpu
from tests.schedule.running import body_of_types, random_array
from tests.schedule.test_convolution import NHWC, TAPS, body_of

from .test_contraction import TILES, dot, layer

SAME: dict[str, Any] = {"padding": ((1, 1), (1, 1))}


def typed(function: Callable[..., Any], dtype: DType, *shapes: tuple[int, ...]) -> Graph:
    return body_of_types(function, *(TensorType(s, dtype) for s in shapes))


CASES: dict[str, Callable[[], Graph]] = {
    "whole tiles": lambda: typed(dot, F32, (32, 48), (48, 32)),
    "tails": lambda: typed(lambda x, y: dot(x, y, 0, 1), F32, (37, 33), (35, 37)),
    "batches of doubles": lambda: typed(lambda x, y: dot(x, y, batch=1), F64, (2, 5, 20), (2, 20, 6)),
    "a vector": lambda: typed(lambda x, y: dot(x, y, 1, 0), BF16, (3, 300), (300,)),
    "parts": lambda: typed(lambda x, y: dot(x, y, 0, 0), F32, (512, 5), (512, 7)),
    "a layer": lambda: typed(layer, F32, (35, 24), (24, 45), (45,)),
    "bf16": lambda: typed(dot, BF16, (40, 136), (136, 24)),
    "f16 through registers": lambda: typed(lambda x, y: dot(x, y, 0, 1), F16, (71, 33), (35, 71)),
    "f16 layer": lambda: typed(layer, F16, (35, 24), (24, 48), (48,)),
    "i8": lambda: typed(
        lambda x, y: dot(CONVERT(x, dtype=I32), CONVERT(y, dtype=I32), 1, 1), I8, (40, 144), (24, 144)
    ),
    "windows": lambda: body_of((2, 5, 6, 4), (3, 3, 4, 8), NHWC, **SAME),
    "windows of bf16": lambda: body_of((1, 5, 6, 8), (3, 3, 8, 8), NHWC, BF16, **SAME),
    "gradient of an image": lambda: body_of(
        (2, 3, 3, 4), (3, 3, 5, 4), "b01f_01oi->b01f", window_reversal=(True, True), lhs_dilation=(2, 2), **SAME
    ),
    "gradient of a kernel": lambda: body_of((2, 5, 6, 3), (2, 5, 6, 5), TAPS, **SAME),
}  # fmt: skip


def case(name: str) -> tuple[Graph, list[Any]]:
    graph = CASES[name]()
    return graph, [random_array(p.shape, p.dtype, k) for k, p in enumerate(graph.parameters)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_numbers(name: str) -> None:
    graph, arrays = case(name)
    assert_close(graph, arrays, OnGpu.of(graph)(arrays), name)


@pytest.mark.skipif(find_ptxas() is None, reason="there is no ptxas (pip install -e '.[ptxas]')")
@pytest.mark.parametrize("target", GPU_TARGETS.values(), ids=lambda t: t.name)
def test_nothing_spills(target: GpuTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tile, with tails on all sides and an epilogue; windows of images."""
    for tile in TILES:
        monkeypatch.setattr(product_call, "choose_tile", lambda *_, tile=tile: tile)
        check_registers("contraction", typed(layer, F32, (135, 70), (70, 145), (145,)), target)
    check_registers("convolution", body_of((8, 9, 9, 12), (3, 3, 12, 68), NHWC, **SAME), target)
    for matrix_tile in MATRIX_TILES:
        monkeypatch.setattr(product_call, "choose_matrix_tile", lambda *_, tile=matrix_tile: tile)
        check_registers("contraction", typed(layer, BF16, (135, 72), (72, 144), (144,)), target)
    monkeypatch.undo()
    check_registers("contraction", typed(dot, F64, (300, 300), (300, 300)), target)
    check_registers("convolution", body_of((8, 9, 9, 16), (3, 3, 16, 64), NHWC, BF16, **SAME), target)


def check_registers(kind: str, body: Graph, target: GpuTarget) -> None:
    kernels = [lower_kernel(call.kernel, target) for call in schedule_region(kind, body, target).calls]
    for name, usage in assemble_ptx(compile_ptx(kernels, target), target).usage.items():
        assert not usage.spills and usage.stack == 0, f"{name}: {usage}"


def test_a_convolution_means_what_it_says() -> None:
    """Against the evaluator is against our own code; here a sum is written out."""
    types = (TensorType(s, F32) for s in ((1, 4, 1), (2, 1, 1)))
    body = body_of_types(lambda x, w: convolution(x, w, "b0f_0io->b0f"), *types)
    x, w = np.array([1, 2, 3, 4], np.float32).reshape(1, 4, 1), np.array([10, 1], np.float32).reshape(2, 1, 1)
    np.testing.assert_array_equal(OnGpu.of(body)([x, w])[0].reshape(-1), [12, 23, 34])
