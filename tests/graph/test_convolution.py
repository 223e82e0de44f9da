"""convolution against sums of Python numbers over StableHLO's index arithmetic, its types and its derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir.dims import dim
from mlc.ir.graph import Node, Table, parse_graph
from mlc.ir.types import BF16, F32, F64, I8, I32, DType, TensorType

from ..transforms.check import check
from .support import Array, apply, graph_of

NHWC, NCHW, NWC, NC = "b01f_01io->b01f", "bf01_oi01->bf01", "b0f_0io->b0f", "bf_io->bf"

# shapes of lhs and kernel, labels, attributes other than neutral
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], str, dict[str, Any]]] = {
    "plain": ((2, 5, 4, 3), (3, 2, 3, 4), NHWC, {}),
    "padded": ((2, 5, 4, 3), (3, 2, 3, 4), NHWC, {"padding": ((1, 1), (0, 1))}),
    "strided": ((1, 7, 6, 2), (3, 2, 2, 3), NHWC, {"window_strides": (2, 3), "padding": ((1, 2), (2, 0))}),
    "cut": ((2, 6, 5, 1), (2, 2, 1, 2), NHWC, {"padding": ((-1, 1), (0, -2))}),
    "NCHW": ((2, 3, 4, 5), (2, 3, 2, 3), NCHW, {"padding": ((1, 0), (1, 1)), "window_strides": (2, 1)}),
    "turned axes": ((3, 5, 2, 4), (2, 3, 3, 2), "f1b0_1i0o->0bf1", {"padding": ((1, 0), (0, 2))}),
    "dilated window": ((1, 6, 7, 2), (2, 3, 2, 2), NHWC, {"rhs_dilation": (3, 2), "padding": ((0, 0), (1, 1))}),
    "dilated lhs": ((1, 3, 4, 2), (2, 3, 2, 2), NHWC, {"lhs_dilation": (2, 3), "padding": ((1, 1), (0, 2))}),
    "reversed": ((1, 4, 5, 2), (2, 3, 2, 2), NHWC, {"window_reversal": (True, False), "padding": ((1, 0), (0, 1))}),
    "groups": ((2, 4, 4, 6), (2, 2, 2, 6), NHWC, {"feature_group_count": 3, "padding": ((1, 0), (0, 1))}),
    "depthwise": ((1, 4, 4, 3), (2, 2, 1, 6), NHWC, {"feature_group_count": 3, "window_strides": (2, 1)}),
    "grouped NCHW": ((1, 4, 3, 3), (4, 2, 2, 2), NCHW, {"feature_group_count": 2, "window_reversal": (True, True)}),
    "batch groups": ((4, 4, 4, 2), (2, 2, 2, 6), NHWC, {"batch_group_count": 2, "padding": ((1, 0), (0, 1))}),
    "batch groups turned": ((2, 6, 3, 4), (2, 3, 2, 2), "fb01_io01->f01b",
                            {"batch_group_count": 3, "window_strides": (1, 2), "window_reversal": (False, True)}),
    "everything": ((2, 5, 6, 4), (2, 3, 2, 6), NHWC,
                   {"window_strides": (2, 3), "padding": ((2, 1), (-1, 3)), "lhs_dilation": (3, 2),
                    "rhs_dilation": (2, 1), "window_reversal": (False, True), "feature_group_count": 2}),
    "one axis": ((2, 7, 3), (4, 3, 2), NWC, {"padding": ((2, 1),), "window_strides": (2,)}),
    "no axis": ((3, 4), (4, 2), NC, {}),
    "three axes": ((1, 3, 4, 3, 2), (2, 2, 2, 2, 3), "b012f_012io->b012f",
                   {"padding": ((1, 0), (0, 1), (1, 1)), "window_strides": (1, 2, 1)}),
    "one window": ((2, 3, 3, 2), (3, 3, 2, 4), NHWC, {}),
    "no window": ((2, 2, 5, 2), (3, 3, 2, 4), NHWC, {}),
    "no batch": ((0, 4, 4, 2), (3, 3, 2, 4), NHWC, {}),
    "no features": ((2, 4, 4, 0), (3, 3, 0, 4), NHWC, {}),
    "no outputs": ((2, 4, 4, 2), (3, 3, 2, 0), NHWC, {}),
    "only padding": ((2, 0, 4, 2), (2, 2, 2, 3), NHWC, {"padding": ((2, 1), (0, 0)), "lhs_dilation": (2, 1)}),
    "empty window": ((2, 3, 4, 2), (0, 2, 2, 3), NHWC, {}),
}  # fmt: skip


def full(labels: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """All attributes of a row, those not given neutral."""
    rank = len(labels.partition("_")[0]) - 2
    one = (1,) * rank
    neutral = {"window_strides": one, "padding": ((0, 0),) * rank, "lhs_dilation": one, "rhs_dilation": one,
               "window_reversal": (False,) * rank, "feature_group_count": 1, "batch_group_count": 1}  # fmt: skip
    return {**neutral, **attributes, "dimension_numbers": labels}


def reference(x: Array, w: Array, a: dict[str, Any]) -> dict[tuple[int, ...], Any]:
    """Elements of the result by their index, each a sum over window positions and features written out."""
    lhs_labels, _, rest = str(a["dimension_numbers"]).partition("_")
    rhs_labels, _, out_labels = rest.partition("->")
    spatial = [c for c in lhs_labels if c.isdigit()]
    size = dict(zip(lhs_labels, x.shape, strict=True))
    kernel = dict(zip(rhs_labels, w.shape, strict=True))
    groups, batches = a["feature_group_count"], a["batch_group_count"]
    counts = []
    for i, c in enumerate(sorted(spatial)):
        n, k = size[c], kernel[c]
        padded = (max(n - 1, 0) * a["lhs_dilation"][i] + (n > 0)) + sum(a["padding"][i])
        window = max(k - 1, 0) * a["rhs_dilation"][i] + (k > 0)
        counts.append(0 if padded == 0 or window > padded else (padded - window) // a["window_strides"][i] + 1)
    found = {}
    for b, o in product(range(size["b"] // batches), range(kernel["o"])):
        for position in product(*map(range, counts)):
            index = {"b": b, "f": o} | {str(i): p for i, p in enumerate(position)}
            total: Any = 0
            for tap, source in _taps(position, size, kernel, a):
                for i in range(kernel["i"]):
                    group = o // (kernel["o"] // groups)
                    batch = (o // (kernel["o"] // batches)) * (size["b"] // batches) + b
                    left = {"b": batch, "f": group * kernel["i"] + i, **source}
                    right = {"o": o, "i": i, **tap}
                    lhs, rhs = x[tuple(left[c] for c in lhs_labels)], w[tuple(right[c] for c in rhs_labels)]
                    total += lhs.item() * rhs.item()
            found[tuple(index[c] for c in out_labels)] = total
    return found


def _taps(position: tuple[int, ...], size: dict[str, int], kernel: dict[str, int], a: dict[str, Any]
          ) -> Iterator[tuple[dict[str, int], dict[str, int]]]:  # fmt: skip
    """Where in the kernel and where in lhs the products of one window are, padding left out."""
    for offset in product(*(range(kernel[str(i)]) for i in range(len(position)))):
        tap, source = {}, {}
        for i, (p, t) in enumerate(zip(position, offset, strict=True)):
            at = p * a["window_strides"][i] + t * a["rhs_dilation"][i] - a["padding"][i][0]
            if at % a["lhs_dilation"][i] or not 0 <= at // a["lhs_dilation"][i] < size[str(i)]:
                break
            source[str(i)] = at // a["lhs_dilation"][i]
            tap[str(i)] = kernel[str(i)] - 1 - t if a["window_reversal"][i] else t
        else:
            yield tap, source


def numbers(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).integers(-4, 5, shape)


@pytest.mark.parametrize("name", CASES)
def test_evaluates_to_sums_written_out(name: str) -> None:
    shape, window, labels, attributes = CASES[name]
    a = full(labels, attributes)
    x, w = numbers(shape, 1).astype(np.float32), numbers(window, 2).astype(np.float32)
    got = apply(g.CONVOLUTION, x, w, **a)
    want = reference(x, w, a)
    assert got.dtype == np.float32 and len(want) == got.size
    for index, value in want.items():
        assert got[index] == value, index


@pytest.mark.parametrize("dtype", [I8, I32, BF16, F64], ids=str)
def test_element_types(dtype: DType) -> None:
    """Integers wrap; floats are rounded once."""
    shape, window, labels, attributes = CASES["padded"]
    a = full(labels, attributes)
    x, w = (numbers(s, i) * 9 for i, s in enumerate((shape, window)))
    got = apply(g.CONVOLUTION, x.astype(dtype.numpy), w.astype(dtype.numpy), **a)
    assert got.dtype == dtype.numpy
    for index, value in reference(x, w, a).items():
        assert got[index] == np.asarray(value).astype(dtype.numpy), index


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name: str) -> None:
    shape, window, labels, attributes = CASES[name]
    rng = np.random.default_rng(5)
    few = tuple(min(n, 6) for n in shape)

    def formula(x: Node, w: Node) -> Node:
        return g.convolution(x, w, labels, **attributes)

    check(formula, [rng.normal(size=few), rng.normal(size=window)], order=2 if name == "strided" else 1)


def test_text_reads_back() -> None:
    shape, window, labels, attributes = CASES["everything"]
    graph = graph_of(g.CONVOLUTION, [TensorType(shape, F32), TensorType(window, F32)], **full(labels, attributes))
    g.verify_graph(graph)
    assert parse_graph(str(graph)).fingerprint == graph.fingerprint
    assert 'dimension_numbers = "b01f_01io->b01f"' in str(graph) and "padding = [[2, 1], [-1, 3]]" in str(graph)


def infer(lhs: TensorType, rhs: TensorType, labels: str = NHWC, **attributes: Any) -> Node:
    table = Table()
    with table.active():
        return g.CONVOLUTION(table.parameter(lhs), table.parameter(rhs), **full(labels, attributes))


def test_symbolic_sizes() -> None:
    batch, width = dim("batch", 1, 64), dim("width", 3, 100)
    same = infer(TensorType((batch, 8, width, 2), F32), TensorType((3, 3, 2, 4), F32), padding=((1, 1), (1, 1)))
    assert same.shape == (batch, 8, width, 4)
    assert infer(TensorType((batch * 2, 4, 4, 2), F32), TensorType((1, 1, 2, 4), F32),
                 batch_group_count=2).shape == (batch, 4, 4, 4)  # fmt: skip
    with pytest.raises(ShapeError, match=r"the windows along axis 2 cannot be counted: \(-3\+width\) // 2"):
        infer(TensorType((batch, 8, width, 2), F32), TensorType((3, 3, 2, 4), F32), window_strides=(1, 2))
    with pytest.raises(ShapeError, match=r"the window of size 5 may not fit into axis 2"):
        infer(TensorType((1, 8, width, 2), F32), TensorType((5, 5, 2, 4), F32))


X, W = TensorType((2, 5, 5, 3), F32), TensorType((3, 3, 3, 4), F32)


@pytest.mark.parametrize(
    ("lhs", "rhs", "attributes", "error", "words"),
    [
        (X, TensorType((3, 3, 2, 4), F32), {}, ShapeError, r"features differ: lhs is f32\[2,5,5,3\], the kernel is "
         r"f32\[3,3,2,4\] \(b01f_01io->b01f\);\nlhs axis 3 has 3, kernel axis 2 takes 2"),
        (X, TensorType((3, 3, 3, 4), F64), {}, DTypeError, r"lhs is f32\[2,5,5,3\], the kernel is f64\[3,3,3,4\]"),
        (X, TensorType((3, 3, 4), F32), {}, ShapeError, r"the kernel is f32\[3,3,4\]; .* names 4 axes"),
        (X, W, {"window_strides": (0, 1)}, ShapeError, r"window_strides \[0, 1\] must be 2 positive numbers"),
        (X, W, {"rhs_dilation": (1,)}, ShapeError, r"rhs_dilation \[1\] must be 2 positive numbers"),
        (X, W, {"padding": ((1, 1),)}, ShapeError, r"padding \[\[1, 1\]\] must be 2 pairs"),
        (X, W, {"padding": ((-3, -3), (0, 0))}, ShapeError, r"padding \(-3, -3\) leaves -1 elements along axis 1"),
        (X, W, {"window_reversal": (True,)}, ShapeError, r"window_reversal has 1 values, not 2"),
        (X, W, {"feature_group_count": 2}, ShapeError, r"takes 3 in each of 2 groups"),
        (X, W, {"feature_group_count": 0}, ShapeError, r"feature_group_count 0 .* must be positive"),
        (X, W, {"batch_group_count": 4}, ShapeError, r"the batch of lhs .* does not divide into 4 groups"),
        (X, TensorType((3, 3, 1, 4), F32), {"feature_group_count": 3}, ShapeError, r"output features .* 3 groups"),
        (X, W, {"labels": "b01f_01io->b0f1_"}, ShapeError, r"'b01f_01io->b0f1_' does not name the axes"),
    ],
)  # fmt: skip
def test_errors(
    lhs: TensorType, rhs: TensorType, attributes: dict[str, Any], error: type[MlcError], words: str
) -> None:
    with pytest.raises(error, match=words):
        infer(lhs, rhs, **attributes)


def test_flops() -> None:
    node = infer(X, W, padding=((1, 1), (1, 1)))
    assert node.op.flops(node) == 2 * (2 * 5 * 5 * 4) * (3 * 3 * 3)
