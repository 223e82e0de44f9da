"""Products of f16 and bf16 by matrix units, interpreted: operands as they lie, tails, epilogues, windows of images."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.errors import VerifyError
from mlc.ir.graph import CONVERT, MULTIPLY, Graph
from mlc.ir.kernel import Instruction, Kernel, Loop
from mlc.ir.target import SM_80, named_gpu_target
from mlc.ir.types import BF16, F16, F32, I8, I32, DType, TensorType
from mlc.passes.schedule import schedule_region
from mlc.passes.schedule.gpu import product_call
from mlc.passes.schedule.gpu.tile import MATRIX_TILES, MatrixTile
from tests.schedule.running import body_of_types, check_region, interpret, random_array
from tests.schedule.test_convolution import GRADIENTS, NHWC, PIXELS, TAPS, bias_relu_mask, body_of

from .test_contraction import dot, layer

HALVES = {F16: 2e-3, BF16: 1.6e-2}


def check(kind: str, body: Graph, dtype: DType) -> None:
    arrays = [random_array(p.shape, p.dtype, k) for k, p in enumerate(body.parameters)]  # type: ignore[arg-type]
    check_region(kind, body, arrays, HALVES[dtype], targets=(SM_80,), compiled=False)


def product(m: int, n: int, k: int, left: int, right: int, dtype: DType, batch: tuple[int, ...] = ()) -> Graph:
    x, y = (m, k) if left else (k, m), (n, k) if right else (k, n)
    types = (TensorType((*batch, *shape), dtype) for shape in (x, y))
    return body_of_types(lambda a, b: dot(a, b, left, right, len(batch)), *types)


def only_kernel(body: Graph, kind: str = "contraction") -> Kernel:
    (call,) = schedule_region(kind, body, SM_80).calls
    return call.kernel


@pytest.mark.parametrize("left, right", [(1, 0), (1, 1), (0, 0), (0, 1)], ids=["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("m, n, k", [(64, 64, 32), (72, 40, 104), (8, 8, 8), (33, 17, 40), (1, 5, 7), (3, 4, 0)])
def test_products(m: int, n: int, k: int, left: int, right: int) -> None:
    check("contraction", product(m, n, k, left, right, BF16), BF16)


@pytest.mark.parametrize("tile", MATRIX_TILES, ids=lambda t: f"{t.rows}x{t.columns}")
@pytest.mark.parametrize("left, right", [(1, 0), (0, 1)], ids=["nn", "tt"])
def test_every_tile(tile: MatrixTile, left: int, right: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_call, "choose_matrix_tile", lambda *_: tile)
    check("contraction", product(136, 144, 72, left, right, F16), F16)


def test_operands_in_memory_are_copied_asynchronously() -> None:
    text = str(only_kernel(product(64, 64, 64, 1, 0, BF16)))
    assert text.count("async_copy[16] %rows[") == text.count("async_copy[16] %columns[") > 0
    assert "load_matrix %rows[" in text and "load_matrix.transposed %columns[" in text and "load %x" not in text
    text = str(only_kernel(product(64, 64, 60, 1, 0, BF16)))
    assert "async_copy[8] %rows[" in text and "async_copy[16] %columns[" in text and "load %x" not in text
    text = str(only_kernel(product(64, 64, 61, 1, 0, BF16)))
    assert "async_copy[16] %columns[" in text and "load %x0" in text


def test_batches_and_epilogues() -> None:
    check("contraction", product(40, 24, 16, 1, 0, BF16, (2, 3)), BF16)
    types = TensorType((35, 24), F16), TensorType((24, 48), F16), TensorType((48,), F16)
    check("contraction", body_of_types(layer, *types), F16)


def test_operands_that_are_computed() -> None:
    """f32 parameters multiplied as bf16: converted on their way to shared memory."""
    body = body_of_types(
        lambda x, y: dot(CONVERT(x, dtype=BF16), MULTIPLY(y, y)), TensorType((40, 32), F32), TensorType((32, 24), BF16)
    )
    kernel = str(only_kernel(body))
    assert "mma" in kernel and "async" not in kernel
    check("contraction", body, BF16)


@pytest.mark.parametrize("name", ["valid", "1x1, stride 2", "spread", "turned", "groups"])
def test_convolutions(name: str) -> None:
    lhs, rhs, labels, attributes = PIXELS[name]
    check("convolution", body_of(lhs, rhs, labels, BF16, **attributes), BF16)


def test_gradients_of_kernels() -> None:
    for name in ("strided", "thin, strided"):
        lhs, rhs, labels, attributes = GRADIENTS[name]
        check("convolution", body_of(lhs, rhs, labels, BF16, **attributes), BF16)


def test_images_are_copied_asynchronously() -> None:
    """Windows, too: what lies outside of the image is zeros that no copy reads."""
    same = {"padding": ((1, 1), (1, 1))}
    for body in (
        body_of(
            (2, 6, 7, 16), (3, 3, 16, 24), NHWC, BF16, epilogue=bias_relu_mask, more=((24,), (2, 6, 7, 24)), **same
        ),
        body_of((2, 6, 7, 16), (2, 6, 7, 24), TAPS, BF16, **same),
    ):
        text = str(only_kernel(body, "convolution"))
        assert "async_copy[16] %rows[" in text and "async_copy[16] %columns[" in text and "load %x0" not in text
        check("convolution", body, BF16)


TF32 = named_gpu_target("sm_80-tf32")


@pytest.mark.parametrize("left, right", [(1, 0), (1, 1), (0, 0), (0, 1)], ids=["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("m, n, k", [(64, 64, 32), (72, 40, 100), (33, 17, 9), (5, 7, 130)])
def test_products_in_tf32_on_request(m: int, n: int, k: int, left: int, right: int) -> None:
    """Small whole numbers are exact, others are rounded to 19 bits."""
    body = product(m, n, k, left, right, F32)
    assert TF32 is not None and "mma" not in str(only_kernel(body))
    arrays = [random_array(p.shape, F32, k) for k, p in enumerate(body.parameters)]  # type: ignore[arg-type]
    check_region("contraction", body, arrays, 3e-3, targets=(TF32,), compiled=False)
    whole = [np.rint(np.asarray(a) * 4) for a in arrays]
    check_region("contraction", body, whole, 1e-7, targets=(TF32,), compiled=False)
    (call,) = schedule_region("contraction", body, TF32).calls
    assert "mma" in str(call.kernel) and "transposed" not in str(call.kernel)


def test_convolutions_in_tf32() -> None:
    for name in ("same", "turned", "spread"):
        lhs, rhs, labels, attributes = PIXELS[name]
        body = body_of(lhs, rhs, labels, **attributes)
        arrays = [random_array(p.shape, F32, k) for k, p in enumerate(body.parameters)]  # type: ignore[arg-type]
        check_region("convolution", body, arrays, 3e-3, targets=(TF32,), compiled=False)


@pytest.mark.parametrize("left, right", [(1, 0), (1, 1), (0, 0), (0, 1)], ids=["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("m, n, k", [(64, 64, 64), (72, 40, 208), (33, 17, 9)])
def test_whole_numbers_of_8_bits(m: int, n: int, k: int, left: int, right: int) -> None:
    """What was widened for its sums is multiplied as it was before."""
    x, y = (m, k) if left else (k, m), (n, k) if right else (k, n)
    types = TensorType(x, I8), TensorType(y, I8)
    body = body_of_types(lambda a, b: dot(CONVERT(a, dtype=I32), CONVERT(b, dtype=I32), left, right), *types)
    check_region("contraction", body, [random_array(t.shape, I8, k) for k, t in enumerate(types)], 0.0,
                 targets=(SM_80,), compiled=False)  # fmt: skip
    kernel = str(only_kernel(body))
    assert "fragment(16 x 8, i32, accumulator)" in kernel and ("async_copy[16]" in kernel) == (
        k % 16 == 0 and left + right > 0
    )


@pytest.mark.parametrize("op", ["barrier", "wait"])
def test_what_a_loop_needs_is_missed(op: str) -> None:
    body = product(64, 64, 128, 1, 0, BF16)
    region = schedule_region("contraction", body, SM_80)
    (call,) = region.calls
    loop = next(s for s in call.kernel.body if isinstance(s, Loop))
    kept = tuple(s for s in loop.body if not (isinstance(s, Instruction) and s.op == op))
    assert len(kept) == len(loop.body) - 1
    object.__setattr__(loop, "body", kept)  # of this schedule alone
    values = [np.asarray(random_array(shape, BF16, k)) for k, shape in enumerate(((64, 128), (128, 64)))]
    if op == "wait":  # what has not arrived is no number
        assert np.isnan(interpret(region, body, values, {})[0].astype(np.float32)).any()
        return
    with pytest.raises(VerifyError, match="another thread"):
        interpret(region, body, values, {})
