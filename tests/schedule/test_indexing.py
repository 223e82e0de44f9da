"""Kernels of gathers, scatters and moving windows: bit for bit what the rows mean, at every layout and vector width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Node, Windows
from mlc.ir.target import X86_64_V4
from mlc.ir.types import BF16, BOOL, F16, F32, F64, I8, I32, I64, U8, U64, DType, TensorType, scalar
from mlc.passes.schedule import schedule_region

from ..graph.test_indexing import LAYOUTS, indices_for, layout, names
from .running import body_of_types, check_in_place, check_region, random_array

ROWS = LAYOUTS["rows"][3:]


def rows(n: Any, width: int, count: int, dtype: DType = F32, index: DType = I32) -> Windows:
    return Windows(TensorType((n, width), dtype), TensorType((count, 1), index), (1, width), *ROWS)


def types(w: Windows) -> tuple[TensorType, TensorType, TensorType]:
    return w.operand, w.indices, w.operand.with_shape(w.shape)


def arrays_of(w: Windows, n: int | None = None) -> tuple[Any, Any, Any]:
    shape = tuple(k if isinstance(k, int) else n for k in w.operand.shape)
    indices = np.clip(indices_for(w, 3), *w.indices.dtype.limits)
    return random_array(shape, w.operand.dtype), indices, random_array(w.shape, w.operand.dtype, 2)  # type: ignore


@names
def test_gather_in_a_loop(name: str) -> None:
    w = layout(name)
    body = body_of_types(lambda x, i: g.NEGATE(g.gather(x, i, w)), *types(w)[:2])
    check_region("loop", body, arrays_of(w)[:2])


@names
@pytest.mark.parametrize("op", [g.ADD, None, g.MAXIMUM], ids=["add", "overwrite", "maximum"])
def test_scatter(name: str, op: Any) -> None:
    w = layout(name)
    check_region("scatter", body_of_types(lambda x, i, u: g.scatter_windows(x, i, u, w, op), *types(w)), arrays_of(w))


@pytest.mark.parametrize("dtype", [F64, F16, BF16, I8, I64, U8, BOOL], ids=str)
@pytest.mark.parametrize("width", [1, 5, 33])
def test_element_types(dtype: DType, width: int) -> None:
    w = rows(9, width, 14, dtype)
    x, i, u = arrays_of(w)
    check_region("loop", body_of_types(lambda x, i: g.gather(x, i, w), *types(w)[:2]), (x, i))
    for op in (g.ADD, None):
        check_region("scatter", body_of_types(lambda x, i, u, o=op: g.scatter_windows(x, i, u, w, o), *types(w)),
                     (x, i, u))  # fmt: skip


@pytest.mark.parametrize("index", [I8, U8, I64, U64], ids=str)
@pytest.mark.parametrize("n", [7, dim("n", 1, 64), dim("n", 1, 1 << 20)], ids=["7", "n", "many"])
def test_index_types_and_symbolic_axes(index: DType, n: Any) -> None:
    w = rows(n, 20, 11, index=index)
    x, i, u = arrays_of(w, 7)
    if index == U64:
        i[0] = 2**64 - 1
    check_region("loop", body_of_types(lambda x, i: g.gather(x, i, w), *types(w)[:2]), (x, i))
    check_region("scatter", body_of_types(lambda x, i, u: g.scatter_windows(x, i, u, w, g.ADD), *types(w)), (x, i, u))
    flat = Windows(TensorType((n,), F32), TensorType((37,), index), (1,), (), (0,), (), (), (0,), 1)
    at = np.resize(i, 37)
    body = body_of_types(lambda x, i: g.gather(x, i, flat), flat.operand, flat.indices)
    check_region("loop", body, (x[:, 0], at))
    assert "= gather" in str(schedule_region("loop", body, X86_64_V4).calls[0].kernel)


def test_large_results_are_cut_in_blocks_of_rows() -> None:
    w = rows(500, 64, 700)
    body = body_of_types(lambda x, i, u: g.scatter_windows(g.fill(0.0, x.tensor), i, u, w, g.ADD), *types(w))
    region = schedule_region("scatter", body, X86_64_V4)
    assert len(region.calls) == 2 and len(region.calls[1].tasks) == 1 and region.calls[1].tasks[0][0] == 500
    check_region("scatter", body, arrays_of(w), interpreted=False)


def test_wide_windows_are_cut_in_columns() -> None:
    w = rows(30, 700, 60)
    body = body_of_types(lambda x, i, u: g.scatter_windows(x, i, u, w, g.ADD), *types(w))
    assert schedule_region("scatter", body, X86_64_V4).calls[0].tasks[0][0] == 700
    check_region("scatter", body, arrays_of(w), interpreted=False)


def test_what_surrounds_is_fused() -> None:
    """The operand, the indices and the updates are computed where they are used."""
    w = rows(6, 20, 9)

    def formula(x: Node, i: Node, u: Node) -> Node:
        doubled = g.ADD(i, i)
        return g.scatter_windows(g.NEGATE(x), doubled, g.MULTIPLY(u, g.gather(x, doubled, w)), w, g.ADD)

    check_region("scatter", body_of_types(formula, *types(w)), arrays_of(w), tolerance=1e-6)


def test_gather_of_what_is_made_on_the_spot() -> None:
    w = rows(6, 20, 9)

    def formula(x: Node, i: Node) -> Node:
        zero = g.constant(np.float32(0))
        padded = g.PAD(x, zero, low=(1, 2), high=(0, 3), interior=(0, 0))
        inner = Windows(padded.tensor, i.tensor, (1, 25), *ROWS)
        turned = g.REVERSE(g.gather(padded, i, inner), dimensions=(1,))
        line = g.CONVERT(g.IOTA(shape=(6, 25), dtype=I32, dimension=0), dtype=F32)
        return g.ADD(turned, g.gather(line, i, inner))

    check_region("loop", body_of_types(formula, *types(w)[:2]), arrays_of(w)[:2])


def test_gather_of_gathered_indices() -> None:
    w = rows(6, 20, 9)
    inner = Windows(TensorType((9, 1), I32), TensorType((9, 1), I32), (1, 1), (1,), (0,), (), (), (0,), 1)

    def formula(x: Node, i: Node) -> Node:
        return g.gather(x, g.gather(i, i, inner), w)

    check_region("loop", body_of_types(formula, *types(w)[:2]), arrays_of(w)[:2])


def test_gather_in_a_reduce() -> None:
    w = rows(6, 40, 9)
    for axes in ((1,), (0,)):
        body = body_of_types(lambda x, i, a=axes: g.reduce_add(g.gather(x, i, w), a), *types(w)[:2])
        check_region("reduce", body, arrays_of(w)[:2], tolerance=1e-6)


@pytest.mark.parametrize("start", [(-3, 2), (0, 0), (1, 5), (9, 90)])
@pytest.mark.parametrize("shape, window", [((6, 37), (2, 19)), ((3, 4), (3, 1)), ((2, 0), (1, 0)), ((9, 9), (0, 3))])
def test_dynamic_slice_and_update(start: tuple[int, int], shape: Any, window: Any) -> None:
    x, u = random_array(shape, F32), random_array(window, F32, 2)
    i, j = np.int32(start[0]), np.uint8(max(start[1], 0))
    full, part = TensorType(shape, F32), TensorType(window, F32)
    body = body_of_types(lambda x, i, j: g.DYNAMIC_SLICE(x, i, j, slice_sizes=window), full, scalar(I32), scalar(U8))
    check_region("loop", body, [x, i, j])
    body = body_of_types(g.DYNAMIC_UPDATE_SLICE, full, part, scalar(I32), scalar(U8))
    check_region("update", body, [x, u, i, j])
    check_in_place("update", body, [x, u, i, j], {0: 0})


def test_updates_stay_in_place_where_they_read_only_what_they_write() -> None:
    full, zero = TensorType((6, 37), F32), g.constant

    def add_at(x: Node, i: Node, j: Node) -> Node:
        old = g.DYNAMIC_SLICE(x, i, zero(np.int32(0)), slice_sizes=(1, 37))
        return g.DYNAMIC_UPDATE_SLICE(x, g.ADD(old, old), j, zero(np.int32(0)))

    same = body_of_types(lambda x, i: add_at(x, i, i), full, scalar(I32))
    check_in_place("update", same, [random_array((6, 37), F32), np.int32(3)], {0: 0})
    other = body_of_types(add_at, full, scalar(I32), scalar(I32))
    assert schedule_region("update", other, X86_64_V4).in_place == frozenset()
    check_region("update", other, [random_array((6, 37), F32), np.int32(3), np.int32(4)])


def test_scatter_in_place() -> None:
    w = rows(9, 33, 14)
    body = body_of_types(lambda x, i, u: g.scatter_windows(x, i, u, w, g.ADD), *types(w))
    check_in_place("scatter", body, arrays_of(w), {0: 0})
    reads = body_of_types(lambda x, i, u: g.scatter_windows(x, i, g.gather(x, i, w), w, g.ADD), *types(w))
    assert schedule_region("scatter", reads, X86_64_V4).in_place == frozenset()
    check_region("scatter", reads, arrays_of(w))
