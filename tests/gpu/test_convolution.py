"""Convolutions for a GPU, interpreted: the cases of the CPU's, both gradients among them, against the op's meaning."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir.dims import dim
from mlc.ir.graph import Graph
from mlc.ir.target import SM_80
from mlc.ir.types import BF16, F16, F32, F64, I8, I32, DType, TensorType
from mlc.passes.schedule import schedule_region
from tests.schedule.running import check_region, random_array
from tests.schedule.test_convolution import GRADIENTS, NHWC, PIXELS, TAPS, bias_relu_mask, body_of, heavy

LONG = ("many lines", "thin, in parts")  # for the interpreter


def check(body: Graph, tolerance: float = 1e-6, n: int = 0) -> None:
    arrays = []
    for k, p in enumerate(body.parameters):
        assert isinstance(p.type, TensorType)
        arrays.append(random_array([s if isinstance(s, int) else n for s in p.type.shape], p.dtype, k))
    check_region("convolution", body, arrays, tolerance, targets=(SM_80,), compiled=False)


@pytest.mark.parametrize("name", PIXELS)
def test_pixels(name: str) -> None:
    lhs, rhs, labels, attributes = PIXELS[name]
    check(body_of(lhs, rhs, labels, **attributes))


@pytest.mark.parametrize("name", [n for n in GRADIENTS if n not in LONG])
def test_gradients(name: str) -> None:
    lhs, rhs, labels, attributes = GRADIENTS[name]
    check(body_of(lhs, rhs, labels, **attributes))


@pytest.mark.parametrize("dtype", (F64, F16, BF16, I8, I32), ids=lambda d: d.name)
def test_element_types(dtype: DType) -> None:
    body = body_of((1, 4, 5, 3), (3, 3, 3, 5), NHWC, dtype, padding=((1, 1), (1, 1)), lhs_dilation=(2, 1))
    check(body, {F64: 1e-14, F16: 2e-3, BF16: 2e-2}.get(dtype, 0.0))


@pytest.mark.parametrize("batch", (0, 1, 5))
def test_symbolic_batch(batch: int) -> None:
    n = dim("n", 0, 64)
    check(body_of((n, 6, 5, 3), (3, 3, 3, 20), NHWC, padding=((1, 1), (1, 1))), 1e-6, batch)
    check(body_of((n, 6, 5, 9), (n, 6, 5, 20), TAPS, padding=((1, 1), (1, 1))), 1e-6, batch)


@pytest.mark.parametrize("epilogue", (bias_relu_mask, heavy), ids=lambda e: e.__name__)
def test_epilogues(epilogue) -> None:  # type: ignore[no-untyped-def]
    attributes = {"padding": ((1, 1), (1, 1)), "epilogue": epilogue}
    check(body_of((2, 6, 7, 3), (3, 3, 3, 20), NHWC, more=((20,), (2, 6, 7, 20)), **attributes))
    check(body_of((2, 6, 5, 9), (2, 6, 5, 20), TAPS, more=((20,), (3, 3, 9, 20)), **attributes))


def test_zeros_around_an_image_meet_infinities_of_the_kernel() -> None:
    body = body_of((1, 4, 4, 2), (3, 3, 2, 3), NHWC, padding=((1, 1), (1, 1)))
    x, w = (random_array(p.shape, F32, k) for k, p in enumerate(body.parameters))  # type: ignore[arg-type]
    w[0, 0, 0, 0] = np.inf
    x[0, 2, 2, 1] = np.nan
    check_region("convolution", body, [x, w], 1e-6, targets=(SM_80,), compiled=False)


def test_features_are_read_16_bytes_at_a_time() -> None:
    same = {"padding": ((1, 1), (1, 1))}
    for body in (body_of((2, 8, 8, 16), (3, 3, 16, 32), NHWC, **same),
                 body_of((2, 8, 8, 16), (3, 3, 32, 16), "b01f_01oi->b01f", window_reversal=(True, True), **same),
                 body_of((2, 8, 8, 16), (2, 8, 8, 32), TAPS, **same)):  # fmt: skip
        lines = str(schedule_region("convolution", body, SM_80).calls[0].kernel).splitlines()
        assert {line.split(" : ")[-1] for line in lines if " = load %x" in line} == {"f32x4"}


@pytest.mark.parametrize("dtype, tolerance", [(F32, 1e-6), (BF16, 2e-2)], ids=str)
def test_features_by_themselves(dtype: DType, tolerance: float) -> None:
    """No tile would be used twice; a thread has as many features as lie side by side."""
    body = body_of((2, 5, 6, 8), (3, 3, 1, 8), NHWC, dtype, padding=((1, 1), (1, 1)), feature_group_count=8,
                   epilogue=bias_relu_mask, more=((8,), (2, 5, 6, 8)))  # fmt: skip
    check(body, tolerance)
    kernel = str(schedule_region("convolution", body, SM_80).calls[0].kernel)
    assert "shared" not in kernel and f"{dtype.name}x4" in kernel


@pytest.mark.parametrize("dtype, tolerance", [(F32, 1e-6), (BF16, 2e-2)], ids=str)
@pytest.mark.parametrize("taps", [1, 3, 4])
def test_gradients_of_strides_meet_no_zeros(taps: int, dtype: DType, tolerance: float) -> None:
    """Each phase of the results is a product of its own, of the taps that meet an element."""
    body = body_of((2, 4, 5, 8), (taps, taps, 6, 8), "b01f_01oi->b01f", dtype, lhs_dilation=(2, 2),
                   padding=((2, 2), (1, 2)), window_reversal=(True, True), epilogue=bias_relu_mask,
                   more=((6,), (2, 12 - taps, 13 - taps, 6)))  # fmt: skip
    check(body, tolerance)
    (call,) = schedule_region("convolution", body, SM_80).calls
    rows = 2 * -(-(12 - taps) // 2) * -(-(13 - taps) // 2)
    assert [extent for extent, _ in call.tasks][:3] == [4, rows, 6]
