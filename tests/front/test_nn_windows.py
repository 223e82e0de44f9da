"""Convolutions, pools, dropout and layer norm of mlc.nn against loops and formulas in NumPy, and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import nn
from mlc.errors import ArgumentError, ShapeError

from ..graph.test_convolution import NCHW, NHWC, NWC, full, reference
from .harness import run, types

RNG = np.random.default_rng(4)
Array = np.ndarray[Any, Any]


def numbers(*shape: int) -> Array:
    return RNG.integers(-4, 5, shape).astype(np.float32)


def written_out(x: Array, kernel: Array, labels: str, **attributes: Any) -> dict[tuple[int, ...], float]:
    return reference(x, kernel, full(labels, attributes))


@pytest.mark.parametrize(
    ("arguments", "attributes"),
    [
        ({}, {"padding": ((1, 1), (0, 1))}),
        ({"padding": "VALID"}, {}),
        ({"strides": 2, "padding": "same"}, {"window_strides": (2, 2), "padding": ((1, 1), (0, 0))}),
        ({"strides": (1, 3), "padding": 1}, {"window_strides": (1, 3), "padding": ((1, 1), (1, 1))}),
        ({"padding": ((0, 2), 1), "dilation": (2, 1)}, {"padding": ((0, 2), (1, 1)), "rhs_dilation": (2, 1)}),
        ({"padding": [[2, 0], [0, 0]], "dilation": 2}, {"padding": ((2, 0), (0, 0)), "rhs_dilation": (2, 2)}),
    ],
    ids=str,
)
def test_conv(arguments: dict[str, Any], attributes: dict[str, Any]) -> None:
    x, kernel = numbers(2, 7, 6, 3), numbers(3, 2, 3, 4)
    got = run(lambda x, w: nn.conv(x, w, **arguments), x, kernel)
    want = written_out(x, kernel, NHWC, **attributes)
    assert len(want) == got.size and all(got[i] == v for i, v in want.items())


def test_conv_of_other_layouts_and_groups() -> None:
    x, kernel = numbers(2, 4, 5, 6), numbers(6, 2, 2, 3)
    got = run(lambda x, w: nn.conv(x, w, groups=2, padding="VALID", data_format="NCHW"), x, kernel)
    assert all(got[i] == v for i, v in written_out(x, kernel, NCHW, feature_group_count=2).items())
    x, kernel = numbers(2, 9, 3), numbers(4, 3, 2)
    got = run(lambda x, w: nn.conv(x, w, 2, data_format="NWC"), x, kernel)
    want = written_out(x, kernel, NWC, window_strides=(2,), padding=((1, 2),))
    assert got.shape == (2, 5, 2) and all(got[i] == v for i, v in want.items())
    assert types(lambda x, w: nn.conv(x, w, data_format="NCDHW"), numbers(1, 2, 3, 4, 5), numbers(7, 2, 1, 3, 3)) == [
        "f32[1,7,3,4,5]"
    ]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2), (2, 3), (4, 1)])
def test_conv_transpose_undoes_the_sizes_of_conv(window: int, stride: int, padding: str) -> None:
    x = mlc.ShapeDtype((1, 5 * stride, 4 * stride, 2), "f32")
    kernel = mlc.ShapeDtype((window, window, 2, 2), "f32")
    small = types(lambda x, w: nn.conv(x, w, stride, padding), x, kernel)[0]
    if padding == "SAME":
        assert small == "f32[1,5,4,2]"
        assert types(lambda x, w: nn.conv_transpose(x, w, stride), mlc.ShapeDtype((1, 5, 4, 2), "f32"), kernel) == [
            f"f32[1,{5 * stride},{4 * stride},2]"
        ]


def test_conv_transpose_puts_the_turned_kernel_at_every_element() -> None:
    x = np.zeros((1, 3, 1), np.float32)
    x[0, 1] = 1
    kernel = np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1)
    got = run(lambda x, w: nn.conv_transpose(x, w, 2, "VALID", data_format="NWC"), x, kernel)
    np.testing.assert_array_equal(got.ravel(), [0, 0, 4, 3, 2, 1, 0, 0])


def test_conv_keeps_a_symbolic_batch() -> None:
    x, kernel = mlc.ShapeDtype((mlc.dim("n", 1, 9), 8, 8, 3), "f32"), mlc.ShapeDtype((3, 3, 3, 5), "f32")
    assert types(lambda x, w: nn.conv(x, w, 2), x, kernel) == ["f32[n,4,4,5]"]
    assert types(lambda x: nn.max_pool(x, 2), x) == ["f32[n,4,4,3]"]
    wide = mlc.ShapeDtype((1, 8, mlc.dim("w", 4, 9), 3), "f32")
    assert types(nn.conv, wide, kernel) == ["f32[1,8,w,5]"]
    with pytest.raises(ArgumentError, match="SAME padding of the symbolic size w needs a stride of 1, not 2"):
        types(lambda x, w: nn.conv(x, w, 2), wide, kernel)


def test_pools() -> None:
    x = numbers(2, 4, 7, 3)
    blocks = x[:, :, :6].reshape(2, 2, 2, 3, 2, 3)
    np.testing.assert_array_equal(run(lambda x: nn.max_pool(x, 2), x), blocks.max((2, 4)))
    np.testing.assert_array_equal(run(lambda x: nn.avg_pool(x, 2), x), blocks.mean((2, 4)))
    turned = x.transpose(0, 3, 1, 2)
    got = run(lambda x: nn.max_pool(x, (2, 3), (2, 3), data_format="NCHW"), turned)
    want = turned[..., :6].reshape(2, 3, 2, 2, 2, 3).max((3, 5))
    np.testing.assert_array_equal(got, want)


def test_pools_of_integers() -> None:
    x = np.array([[[3], [-5], [4]]], np.int8)
    got = run(lambda x: nn.max_pool(x, 2, 1, data_format="NWC"), x)
    assert got.dtype == np.int8 and got.ravel().tolist() == [3, 4]
    assert run(lambda x: nn.max_pool(x, 2, 1, "SAME", data_format="NWC"), -abs(x)).ravel().tolist() == [-3, -4, -4]
    got = run(lambda x: nn.avg_pool(x, 2, 1, data_format="NWC"), x)
    assert got.dtype == np.float32 and got.ravel().tolist() == [-1, -0.5]


def test_padding_of_a_mean_counts_or_not() -> None:
    x = np.array([2, 4, 6], np.float32).reshape(1, 3, 1)

    def pool(**arguments: Any) -> list[float]:
        found: Array = run(lambda x: nn.avg_pool(x, 2, 2, ((0, 1),), data_format="NWC", **arguments), x)
        return found.ravel().tolist()

    assert pool() == [3, 3] and pool(count_include_pad=False) == [3, 6]


def test_gradient_of_a_pool_goes_to_the_first_of_the_largest() -> None:
    x = np.array([1, 3, 3, 0, -1, -1], np.float32).reshape(1, 6, 1)

    def loss(x: Any) -> Any:
        return mnp.sum(nn.max_pool(x, 3, data_format="NWC") * mnp.asarray([[[2.0], [5.0]]]))

    assert mlc.jit(mlc.grad(loss))(x).tolist() == [[[0.0], [2.0], [0.0], [5.0], [0.0], [0.0]]]


def test_dropout_of_all_is_zero_and_so_is_its_derivative() -> None:
    key, x = mlc.random.key(0), np.array([1.0, np.inf], np.float32)
    assert np.asarray(nn.dropout(key, 1.0, x)).tolist() == [0, 0]
    assert np.asarray(mlc.grad(lambda x: nn.dropout(key, 1, x).sum())(x)).tolist() == [0, 0]
    assert nn.dropout(key, 1, np.ones(2, np.int32)).dtype_name == "f32"
    with pytest.raises(ArgumentError, match="at most 1"):
        nn.dropout(key, 1.5, x)


def test_one_and_three_spatial_axes_are_named_where_the_layout_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="data_format='NWC' has the axes of this one"):
        nn.conv(np.ones((2, 7, 4), np.float32), np.ones((3, 4, 5), np.float32))
    with pytest.raises(ShapeError, match="data_format='NCDHW' has"):
        nn.max_pool(np.ones((1, 2, 3, 4, 5), np.float32), 2, data_format="NCHW")
    assert nn.conv(np.ones((2, 7, 4), np.float32), np.ones((3, 4, 5), np.float32), data_format="NWC").shape == (2, 7, 5)


def test_dropout() -> None:
    x = np.full((100, 100), 3, np.float32)
    key = mlc.random.key(3)
    got = np.asarray(nn.dropout(key, 0.25, x))
    assert set(np.unique(got)) == {0, np.float32(4)} and abs((got == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(nn.dropout(key, 0.0, x), x)
    np.testing.assert_array_equal(mlc.jit(nn.dropout)(key, 0.25, x), got)
    slope = np.asarray(mlc.grad(lambda x: mnp.sum(nn.dropout(key, 0.25, x)))(x))
    np.testing.assert_allclose(slope, got / 3, rtol=1e-6)
    for rate in (-0.1, 1.01, 2):
        with pytest.raises(ArgumentError, match="at least 0 and at most 1"):
            nn.dropout(key, rate, x)


@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16"])
def test_layer_norm(dtype: str) -> None:
    x, w, b = RNG.normal(size=(3, 5, 8)) * 3 + 1, RNG.normal(size=8), RNG.normal(size=8)
    x = np.asarray(mnp.asarray(x).astype(dtype)).astype(np.float64)
    want = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    tolerance = {"f32": 2e-6, "f64": 1e-13, "bf16": 1e-2}[dtype]
    given = mnp.asarray(x).astype(dtype)
    np.testing.assert_allclose(np.asarray(nn.layer_norm(given)).astype(float), want, rtol=tolerance, atol=tolerance)
    got = np.asarray(nn.layer_norm(given, mnp.asarray(w).astype(dtype), mnp.asarray(b).astype(dtype))).astype(float)
    np.testing.assert_allclose(got, want * w + b, rtol=4 * tolerance, atol=4 * tolerance)
    over = run(lambda x: nn.layer_norm(x, axis=(0, 2)), x.astype(np.float32))
    np.testing.assert_allclose(over.mean((0, 2)), 0, atol=1e-6)


def test_errors() -> None:
    x, kernel = numbers(1, 5, 5, 3), numbers(3, 3, 3, 2)
    for arguments, words in (
        ({"data_format": "NHCW"}, "data_format is 'NHCW'; it is one of"),
        ({"padding": "FULL"}, "padding is 'FULL'; it is SAME, VALID"),
        ({"padding": (1, 2, 3)}, "a number or a pair for each of 2 axes"),
        ({"strides": 0}, "strides is 0; it is a positive number"),
        ({"dilation": (1, 2, 3)}, r"dilation is \(1, 2, 3\); it is a positive number, or one for each of 2 axes"),
    ):
        with pytest.raises(ArgumentError, match=words):
            run(lambda x, w, a=arguments: nn.conv(x, w, **a), x, kernel)
    with pytest.raises(ShapeError, match=r"the operand is f32\[5,5,3\]; NHWC has 4 axes\nhint: a batch of one"):
        run(nn.conv, x[0], kernel)
    with pytest.raises(ShapeError, match=r"features differ: .*\nlhs axis 3 has 3, kernel axis 2 takes 2"):
        run(nn.conv, x, kernel[:, :, :2])
    with pytest.raises(ArgumentError, match="window is 0"):
        run(lambda x: nn.max_pool(x, 0), x)
