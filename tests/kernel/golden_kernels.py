"""The hand-written kernels in ``goldens``: arrays for them, and what they should give in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.ir.kernel import Kernel, parse_kernel
from mlc.ir.types import BF16

Array = npt.NDArray[Any]
GOLDENS = Path(__file__).with_name("goldens")


@dataclass(frozen=True)
class Case:
    """Arguments of a kernel, the results (the last buffers) in float64, and the operations that they take."""

    kernel: Kernel
    arrays: list[Array]
    sizes: list[int]
    expected: list[Array]
    flops: int


def golden(name: str) -> Kernel:
    return parse_kernel((GOLDENS / f"{name}.txt").read_text())


def gemm_avx512(m: int, k: int, n: int) -> Case:
    """a[m,k] @ b[k,n], any sizes, in tiles of 12 rows by 32 columns."""
    rng = np.random.default_rng(m + k + n)
    a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    results = [a.astype(np.float64) @ b]
    return Case(golden("gemm_avx512"), [a, b, np.zeros((m, n), np.float32)], [m, k, n], results, 2 * m * k * n)


def gemm_bf16(m: int, k: int, n: int) -> Case:
    """a[m,2k] @ b[2k,32n] of bf16 into f32; b lies in panels of 32 columns, neighbours in k side by side."""
    rng = np.random.default_rng(m + k + n)
    a, b = rng.normal(size=(m, 2 * k)).astype(BF16.numpy), rng.normal(size=(2 * k, 32 * n)).astype(BF16.numpy)
    packed = np.ascontiguousarray(b.reshape(k, 2, n, 32).transpose(2, 0, 3, 1)).reshape(n, k, 64)
    out = np.zeros((m, 32 * n), np.float32)
    return Case(golden("gemm_bf16"), [a, packed, out], [m, k, n], [a.astype(float) @ b.astype(float)], 128 * m * k * n)


def gemm_int8(m: int, k: int, n: int) -> Case:
    """a[m,4k] (u8) @ b[4k,32n] (i8) in i32, then times a scale a column; b in panels, four of k side by side."""
    rng = np.random.default_rng(m + k + n)
    a, b = rng.integers(0, 256, (m, 4 * k)).astype(np.uint8), rng.integers(-128, 128, (4 * k, 32 * n)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, 32 * n).astype(np.float32)
    packed = np.ascontiguousarray(b.reshape(k, 4, n, 32).transpose(2, 0, 3, 1)).reshape(n, k, 128)
    expected = (a.astype(np.float64) @ b) * scale
    arrays = [a, packed, scale, np.zeros((m, 32 * n), np.float32)]
    return Case(golden("gemm_int8"), arrays, [m, k, n], [expected], 256 * m * k * n)


def conv3x3_nhwc(n: int) -> Case:
    """relu of a 3x3 convolution with bias, images of 9 x 7 pixels, 8 channels to 40; tiles of 9 pixels span rows."""
    rng = np.random.default_rng(n)
    x, w = rng.normal(size=(n, 9, 7, 8)).astype(np.float32), rng.normal(size=(3, 3, 8, 40)).astype(np.float32)
    bias = rng.normal(size=40).astype(np.float32)
    bordered = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = sum(bordered[:, i : i + 9, j : j + 7] @ w[i, j].astype(np.float64) for i in range(3) for j in range(3))
    expected = np.maximum(np.asarray(total) + bias, 0).reshape(n, 63, 40)
    panels = np.zeros((2, 3, 24, 32), np.float32)
    panels[0], panels[1, ..., :8] = w[..., :32].reshape(3, 24, 32), w[..., 32:].reshape(3, 24, 8)
    arrays = [x.reshape(n, 9, 56), panels, bias, np.zeros((n, 63, 40), np.float32)]
    return Case(golden("conv3x3_nhwc"), arrays, [n], [expected], 2 * n * 63 * 72 * 40)


def lstm_cell(batch: int, inputs: int, hidden: int) -> Case:
    """Gates i, f, g, o of x and h; the next h and c."""
    rng = np.random.default_rng(batch + inputs + hidden)
    x, h, c = (rng.normal(size=(batch, size)).astype(np.float32) for size in (inputs, hidden, hidden))
    wx, wh = (rng.normal(size=(size, 4, hidden)).astype(np.float32) / 8 for size in (inputs, hidden))
    bias = rng.normal(size=(4, hidden)).astype(np.float32)
    gates = np.einsum("bi,igh->gbh", x.astype(float), wx) + np.einsum("bj,jgh->gbh", h.astype(float), wh)
    i, f, g, o = gates + bias.astype(np.float64)[:, None, :]
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    cell = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    expected = [sigmoid(o) * np.tanh(cell), cell]
    out = [np.zeros((batch, hidden), np.float32) for _ in range(2)]
    arrays = [x, h, c, wx, wh, bias, *out]
    return Case(golden("lstm_cell"), arrays, [batch, inputs, hidden], expected, 8 * batch * hidden * (inputs + hidden))


CPU: dict[str, Callable[..., Case]] = {
    "gemm_avx512": gemm_avx512, "gemm_bf16": gemm_bf16, "gemm_int8": gemm_int8, "conv3x3_nhwc": conv3x3_nhwc,
    "lstm_cell": lstm_cell,
}  # fmt: skip
GPU = ("gemm_sm80", "gemm_sm90a")
