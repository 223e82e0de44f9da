"""Direct convolutions, over pixels and over taps, interpreted and compiled, against the meaning of the op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlc.ir.dims import Size, dim
from mlc.ir.graph import ADD, COMPARE, MAXIMUM, MULTIPLY, TANH, Graph, Node, broadcast_in_dim, constant
from mlc.ir.graph.convolution import convolution
from mlc.ir.target import X86_64_V4
from mlc.ir.types import BF16, F16, F32, F64, I8, I32, DType, TensorType
from mlc.passes.schedule import schedule_region
from mlc.passes.schedule.convolution_form import direct_kernel
from tests.schedule.running import TARGETS, body_of_types, check_in_place, check_region, random_array

NHWC = "b01f_01io->b01f"
TAPS = "f01b_i01o->01bf"  # the gradient of a kernel HWIO
Attributes = dict[str, Any]
Epilogue = Callable[..., list[Node]]


def body_of(
    lhs: tuple[Size, ...],
    rhs: tuple[Size, ...],
    labels: str,
    dtype: DType = F32,
    epilogue: Epilogue | None = None,
    more: tuple[tuple[Size, ...], ...] = (),
    **attributes: Any,
) -> Graph:
    def build(x: Node, w: Node, *rest: Node) -> list[Node]:
        y = convolution(x, w, labels, **attributes)
        return [y] if epilogue is None else epilogue(y, *rest)

    return body_of_types(build, *(TensorType(s, dtype) for s in (lhs, rhs, *more)))


def check(body: Graph, tolerance: float, symbols: dict[str, int] | None = None, interpreted: bool = True) -> None:
    arrays = []
    for k, p in enumerate(body.parameters):
        shape = [n if isinstance(n, int) else (symbols or {})["n"] for n in p.shape]
        arrays.append(random_array(shape, p.dtype, k))
    check_region("convolution", body, arrays, tolerance, interpreted=interpreted)


PIXELS: dict[str, tuple[tuple[int, ...], tuple[int, ...], str, Attributes]] = {
    "same": ((2, 6, 7, 3), (3, 3, 3, 5), NHWC, {"padding": ((1, 1), (1, 1))}),
    "valid": ((1, 9, 9, 16), (5, 5, 16, 33), NHWC, {}),
    "strides": ((2, 6, 7, 3), (3, 2, 3, 40), NHWC, {"padding": ((1, 0), (2, 1)), "window_strides": (2, 1)}),
    "one feature": ((3, 4, 4, 1), (5, 5, 1, 32), NHWC, {"padding": ((2, 2), (2, 2))}),
    "one output": ((2, 5, 20, 3), (3, 3, 3, 1), NHWC, {}),
    "one pixel": ((2, 3, 3, 4), (3, 3, 4, 7), NHWC, {}),
    "1x1, stride 2": ((2, 7, 9, 8), (1, 1, 8, 20), NHWC, {"window_strides": (2, 2)}),
    "dilated": ((1, 9, 12, 4), (3, 3, 4, 18), NHWC, {"padding": ((2, 2), (2, 2)), "rhs_dilation": (2, 3)}),
    "spread": ((2, 4, 5, 6), (3, 3, 6, 9), NHWC, {"padding": ((1, 2), (2, 1)), "lhs_dilation": (2, 3)}),
    "spread, one tap": ((2, 3, 4, 6), (1, 1, 7, 6), "b01f_01oi->b01f",
                        {"padding": ((0, 1), (0, 1)), "lhs_dilation": (2, 2), "window_reversal": (True, True)}),
    "spread and cut": ((1, 6, 4, 3), (4, 5, 3, 20), NHWC, {"padding": ((-1, 3), (3, -2)), "lhs_dilation": (3, 2)}),
    "spread and strided": ((1, 5, 5, 2), (2, 3, 2, 4), NHWC, {"lhs_dilation": (3, 2), "window_strides": (2, 1)}),
    "cut": ((1, 9, 9, 5), (3, 3, 5, 6), NHWC, {"padding": ((-2, 1), (1, -3))}),
    "far outside": ((1, 2, 2, 3), (2, 2, 3, 4), NHWC, {"padding": ((5, 4), (4, 6))}),
    "turned": ((2, 6, 7, 5), (3, 3, 9, 5), "b01f_01oi->b01f",
               {"padding": ((1, 1), (1, 1)), "window_reversal": (True, True)}),
    "kernel OIHW": ((1, 6, 6, 5), (17, 5, 2, 3), "b01f_oi01->b01f", {}),
    "many panels": ((1, 5, 5, 3), (2, 2, 3, 150), NHWC, {}),
    "groups": ((2, 6, 7, 12), (3, 3, 4, 15), NHWC, {"padding": ((1, 1), (1, 1)), "feature_group_count": 3}),
    "wide groups": ((1, 6, 7, 4), (2, 3, 2, 104), NHWC, {"feature_group_count": 2}),
    "depthwise": ((2, 6, 7, 20), (3, 3, 1, 20), NHWC, {"padding": ((1, 1), (1, 1)), "feature_group_count": 20}),
    "depthwise, strided": ((1, 9, 30, 40), (5, 5, 1, 40), NHWC,
                           {"padding": ((1, 1), (1, 1)), "window_strides": (2, 2), "feature_group_count": 40}),
    "depthwise, turned": ((2, 6, 7, 40), (3, 3, 40, 1), "b01f_01oi->b01f",
                          {"rhs_dilation": (1, 2), "window_reversal": (True, True), "feature_group_count": 40}),
    "depthwise, of many taps": ((1, 3, 20, 9), (2, 12, 1, 9), NHWC, {"feature_group_count": 9}),
    "a line": ((2, 30, 4), (5, 4, 8), "b0f_0io->b0f", {"padding": ((2, 2),), "window_strides": (2,)}),
    "batch within": ((6, 2, 7, 3), (3, 3, 3, 5), "0b1f_01io->0b1f", {"padding": ((1, 1), (1, 1))}),
    "turned image": ((2, 6, 7, 3), (3, 3, 3, 5), "b10f_01io->b10f", {"padding": ((1, 1), (1, 1))}),
}  # fmt: skip
GRADIENTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], str, Attributes]] = {
    "same": ((2, 6, 7, 9), (2, 6, 7, 5), TAPS, {"padding": ((1, 1), (1, 1))}),
    "strided": ((2, 9, 9, 16), (2, 3, 4, 40), TAPS, {"padding": ((1, 0), (2, 1)), "rhs_dilation": (2, 2)}),
    "valid": ((3, 9, 9, 16), (3, 5, 5, 33), TAPS, {}),
    "dilated": ((2, 9, 9, 8), (2, 5, 5, 6), TAPS, {"window_strides": (2, 3)}),
    "cut": ((2, 9, 9, 8), (2, 3, 3, 6), TAPS, {"rhs_dilation": (3, 3), "padding": ((0, -1), (-1, 0))}),
    "many panels": ((2, 5, 5, 9), (2, 4, 4, 150), TAPS, {}),
    "many lines": ((2, 40, 40, 8), (2, 40, 40, 8), TAPS, {"padding": ((1, 1), (1, 1))}),
    "thin": ((3, 9, 9, 1), (3, 9, 9, 37), TAPS, {"padding": ((2, 2), (2, 2))}),
    "thin, strided": ((3, 10, 10, 2), (3, 5, 5, 8), TAPS, {"padding": ((2, 2), (2, 2)), "rhs_dilation": (2, 2)}),
    "thin, spread": ((2, 4, 4, 3), (2, 6, 6, 5), TAPS, {"lhs_dilation": (2, 2)}),
    "thin, in parts": ((40, 14, 14, 3), (40, 14, 14, 24), TAPS, {"padding": ((2, 2), (2, 2))}),
    "a line": ((3, 20, 9), (3, 20, 8), "f0b_i0o->0bf", {"padding": ((2, 2),)}),
}

INTERPRETED = ("same", "cut", "spread", "groups", "depthwise", "a line", "thin, strided")  # the interpreter is slow


@pytest.mark.parametrize("name", PIXELS)
def test_pixels(name: str) -> None:
    lhs, rhs, labels, attributes = PIXELS[name]
    body = body_of(lhs, rhs, labels, **attributes)
    assert direct_kernel(body.results[0]) == "pixels"
    check(body, 1e-6, interpreted=name in INTERPRETED)


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    lhs, rhs, labels, attributes = GRADIENTS[name]
    body = body_of(lhs, rhs, labels, **attributes)
    assert direct_kernel(body.results[0]) == ("thin" if name.startswith("thin") else "taps")
    check(body, 1e-6, interpreted=name in INTERPRETED)


@pytest.mark.parametrize("dtype", (F64, F16, BF16, I8, I32), ids=lambda d: d.name)
@pytest.mark.parametrize("name", ("same", "spread", "turned"))
def test_element_types(name: str, dtype: DType) -> None:
    lhs, rhs, labels, attributes = PIXELS[name]
    check(
        body_of(lhs, rhs, labels, dtype, **attributes),
        {F64: 1e-14, F16: 2e-3, BF16: 2e-2}.get(dtype, 0.0),
        interpreted=False,
    )


@pytest.mark.parametrize("dtype", (F64, BF16, I32), ids=lambda d: d.name)
@pytest.mark.parametrize("name", ("same", "thin"))
def test_element_types_of_gradients(name: str, dtype: DType) -> None:
    lhs, rhs, labels, attributes = GRADIENTS[name]
    check(body_of(lhs, rhs, labels, dtype, **attributes), {F64: 1e-14, BF16: 2e-2}.get(dtype, 0.0), interpreted=False)


@pytest.mark.parametrize("batch", (0, 1, 5))
def test_symbolic_batch(batch: int) -> None:
    n = dim("n", 0, 64)
    attributes: Attributes = {"padding": ((1, 1), (1, 1))}
    check(body_of((n, 6, 5, 3), (3, 3, 3, 20), NHWC, **attributes), 1e-6, {"n": batch}, False)
    check(body_of((n, 6, 5, 9), (n, 6, 5, 20), TAPS, **attributes), 1e-6, {"n": batch}, False)
    check(body_of((n, 6, 5, 3), (n, 6, 5, 20), TAPS, **attributes), 1e-6, {"n": batch}, False)


def bias_relu_mask(y: Node, bias: Node, residual: Node) -> list[Node]:
    total = ADD(ADD(y, broadcast_in_dim(bias, y.shape, (len(y.shape) - 1,))), residual)
    zero = broadcast_in_dim(constant(0, y.dtype), y.shape, ())
    return [MAXIMUM(total, zero), COMPARE(total, zero, direction="GT")]


def heavy(y: Node, bias: Node, residual: Node) -> list[Node]:
    total = ADD(y, broadcast_in_dim(bias, y.shape, (len(y.shape) - 1,)))
    return [MULTIPLY(TANH(TANH(TANH(total))), residual)]


@pytest.mark.parametrize("epilogue", (bias_relu_mask, heavy), ids=lambda e: e.__name__)
def test_epilogues(epilogue: Epilogue) -> None:
    """Bias, residual, several results; as many operations as are not written out for every register."""
    attributes: Attributes = {"padding": ((1, 1), (1, 1)), "epilogue": epilogue}
    check(
        body_of((2, 6, 17, 3), (3, 3, 3, 20), NHWC, more=((20,), (2, 6, 17, 20)), **attributes), 1e-6, interpreted=False
    )
    check(
        body_of((2, 6, 5, 9), (2, 6, 5, 20), TAPS, more=((20,), (3, 3, 9, 20)), **attributes), 1e-6, interpreted=False
    )
    check(body_of((40, 14, 14, 1), (40, 14, 14, 37), TAPS, more=((37,), (3, 3, 1, 37)), **attributes), 1e-4,
          interpreted=False)  # fmt: skip


@pytest.mark.parametrize("features", (1, 9))
def test_an_update_in_place(features: int) -> None:
    """The gradient of a kernel and the step of the kernel itself, in the kernel's memory."""
    body = body_of(
        (40, 14, 14, features), (40, 14, 14, 37), TAPS, more=((3, 3, features, 37),), padding=((1, 1), (1, 1)),
        epilogue=lambda g, w: [ADD(w, MULTIPLY(g, broadcast_in_dim(constant(-0.5, F32), g.shape, ())))],
    )  # fmt: skip
    arrays = [random_array(p.shape, F32, k) for k, p in enumerate(body.parameters)]  # type: ignore[arg-type]
    check_in_place("convolution", body, arrays, {0: 2}, 1e-6)


def test_zeros_around_an_image_meet_infinities_of_the_kernel() -> None:
    """A tap outside of the image is a product with zero over pixels, as the op's meaning has it."""
    body = body_of((1, 4, 4, 2), (3, 3, 2, 3), NHWC, padding=((1, 1), (1, 1)))
    x, w = (random_array(p.shape, F32, k) for k, p in enumerate(body.parameters))  # type: ignore[arg-type]
    w[0, 0, 0, 0] = np.inf
    x[0, 2, 2, 1] = np.nan
    check_region("convolution", body, [x, w], 1e-6, interpreted=False)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_tiles_hold_pixels_of_several_rows(target: Any) -> None:
    """7x7 images: a tile of two rows where 14 pixels fit the registers."""
    body = body_of((1, 7, 7, 8), (3, 3, 8, 32), NHWC, padding=((1, 1), (1, 1)))
    (call,) = schedule_region("convolution", body, target).calls
    assert call.tasks[1][0] == (4 if target is X86_64_V4 else 7)
