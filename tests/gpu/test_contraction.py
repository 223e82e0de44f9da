"""Contractions for a GPU, interpreted: sizes that fill no tile, operands as they lie, prologues and epilogues."""

from __future__ import annotations

import pytest

from mlc.ir.dims import dim
from mlc.ir.graph import (
    ADD,
    DOT_GENERAL,
    EXPONENTIAL,
    MAXIMUM,
    MULTIPLY,
    SUBTRACT,
    TANH,
    TRANSPOSE,
    Node,
    broadcast_in_dim,
    full_like,
)
from mlc.ir.target import SM_80
from mlc.ir.types import BF16, F16, F32, F64, I8, I32, I64, U8, DType, TensorType
from mlc.passes.schedule import schedule_region
from mlc.passes.schedule.gpu import product_call
from mlc.passes.schedule.gpu.tile import Tile
from tests.schedule.running import body_of_types, check_region, random_array


def dot(x: Node, y: Node, left: int = 1, right: int = 0, batch: int = 0) -> Node:
    axes = tuple(range(batch))
    return DOT_GENERAL(
        x, y, lhs_contracting=(left + batch,), rhs_contracting=(right + batch,), lhs_batch=axes, rhs_batch=axes
    )


def check(function, *types: TensorType, tolerance: float = 1e-5) -> None:  # type: ignore[no-untyped-def]
    body = body_of_types(function, *types)
    arrays = [random_array(t.shape, t.dtype, k) for k, t in enumerate(types)]
    check_region("contraction", body, arrays, tolerance, targets=(SM_80,), compiled=False)


@pytest.mark.parametrize("m, n, k", [(64, 64, 32), (70, 50, 37), (1, 1, 1), (33, 3, 16), (5, 66, 100), (3, 4, 0)])
@pytest.mark.parametrize("left, right", [(1, 0), (1, 1), (0, 0), (0, 1)], ids=["nn", "nt", "tn", "tt"])
def test_products(m: int, n: int, k: int, left: int, right: int) -> None:
    x, y = (m, k) if left else (k, m), (n, k) if right else (k, n)
    check(lambda a, b: dot(a, b, left, right), TensorType(x, F32), TensorType(y, F32))


TILES = [Tile(128, 64, 16, 16, 8, 4), Tile(64, 64, 16, 8, 16, 4), Tile(32, 32, 16, 8, 8, 4)]


@pytest.mark.parametrize("tile", TILES, ids=lambda t: f"{t.rows}x{t.columns}x{t.depth}")
@pytest.mark.parametrize("m, n, k", [(131, 140, 20), (128, 132, 37)])
def test_every_tile(tile: Tile, m: int, n: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_call, "choose_tile", lambda *_: tile)
    for left, right in ((1, 0), (0, 1)):
        x, y = (m, k) if left else (k, m), (n, k) if right else (k, n)
        check(lambda a, b, i=left, j=right: dot(a, b, i, j), TensorType(x, F32), TensorType(y, F32))


@pytest.mark.parametrize("dtype", [F64, F16, BF16, I8, I32, U8, I64], ids=str)
def test_every_kind_of_element(dtype: DType) -> None:
    check(dot, TensorType((35, 9), dtype), TensorType((9, 36), dtype), tolerance=1e-2 if dtype.bits < 32 else 1e-5)


def test_vectors_and_batches() -> None:
    check(lambda x, y: dot(x, y, 0, 0), TensorType((50,), F32), TensorType((50,), F32))
    check(lambda x, y: dot(x, y, 0, 0), TensorType((50,), F32), TensorType((50, 37), F32))
    check(lambda x, y: dot(x, y, 1, 0), TensorType((37, 50), F32), TensorType((50,), F32))
    check(lambda x, y: dot(x, y, 1, 0, batch=2), TensorType((2, 3, 33, 20), F32), TensorType((2, 3, 20, 9), F32))
    check(lambda x, y: dot(x, y, 0, 0, batch=1), TensorType((5, 20), F32), TensorType((5, 20), F32))


THIN = {
    "two vectors": (lambda x, y: dot(x, y, 0, 0), (3000,), (3000,)),
    "a matrix by rows": (lambda x, y: dot(x, y, 1, 0), (37, 500), (500,)),
    "a matrix by columns": (lambda x, y: dot(x, y, 0, 0), (50,), (50, 370)),
    "one row": (lambda x, y: dot(x, y, 1, 1), (1, 130), (66, 130)),
    "one column": (lambda x, y: dot(x, y, 1, 0), (66, 130), (130, 1)),
    "few results": (lambda x, y: dot(x, y, 0, 0), (900, 3), (900, 5)),
    "batches": (lambda x, y: dot(x, y, 0, 1, batch=1), (6, 40), (6, 30, 40)),
}


@pytest.mark.parametrize("name", THIN)
@pytest.mark.parametrize("dtype", [F32, BF16, I32], ids=str)
def test_products_of_vectors(name: str, dtype: DType) -> None:
    """Folds: no tile would be used twice."""
    function, *shapes = THIN[name]
    types = [TensorType(s, dtype) for s in shapes]
    check(function, *types, tolerance=1e-2 if dtype == BF16 else 1e-6)
    text = "".join(str(c.kernel) for c in schedule_region("contraction", body_of_types(function, *types), SM_80).calls)
    assert "shared %rows" not in text


def layer(x: Node, w: Node, b: Node) -> list[Node]:
    shifted = ADD(dot(x, w), broadcast_in_dim(b, (x.shape[0], w.shape[1]), (1,)))
    return [MAXIMUM(shifted, full_like(shifted, 0.0)), TANH(shifted), TRANSPOSE(shifted, permutation=(1, 0))]


def test_epilogues_with_several_results() -> None:
    check(layer, TensorType((35, 24), F32), TensorType((24, 45), F32), TensorType((45,), F32))


@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_results_that_are_stored_turned(dtype: DType) -> None:
    """Neighbours in memory are written by neighbouring threads, and together."""

    def turned(x: Node, w: Node, b: Node) -> Node:
        y = dot(x, w, batch=1)
        return TRANSPOSE(ADD(y, broadcast_in_dim(b, y.shape, (2,))), permutation=(2, 0, 1))

    types = [TensorType(s, dtype) for s in ((2, 36, 24), (2, 24, 40), (40,))]
    check(turned, *types, tolerance=1e-2 if dtype == BF16 else 1e-6)
    lines = str(schedule_region("contraction", body_of_types(turned, *types), SM_80).calls[0].kernel).splitlines()
    lanes = {F32: 4, BF16: 2}[dtype]
    stored = {line.split("] ")[1] for line in lines if "store %r0" in line}
    assert all(any(f"{v} = " in line and line.endswith(f"{dtype.name}x{lanes}") for line in lines) for v in stored)


def test_prologues() -> None:
    def shifted(x: Node, mean: Node, w: Node) -> Node:
        centred = SUBTRACT(x, broadcast_in_dim(mean, x.shape, (0,)))
        return dot(EXPONENTIAL(centred), MULTIPLY(w, w), 1, 1)

    check(shifted, TensorType((35, 21), F32), TensorType((35,), F32), TensorType((40, 21), F32))


def test_an_optimizer_update_in_place() -> None:
    def update(x: Node, g: Node, w: Node) -> Node:
        return SUBTRACT(w, MULTIPLY(full_like(w, 0.1), dot(x, g, 0, 0)))

    types = TensorType((20, 33), F32), TensorType((20, 36), F32), TensorType((33, 36), F32)
    check(update, *types)
    assert schedule_region("contraction", body_of_types(update, *types), SM_80).in_place == {(2, 0)}


@pytest.mark.parametrize("sizes", [(0, 3, 5), (1, 1, 0), (40, 70, 33), (64, 32, 64)], ids=str)
def test_symbolic_sizes(sizes: tuple[int, int, int]) -> None:
    m, n, k = dim("m", 0, 1000), dim("n", 1, 100), dim("k", 0, 500)
    body = body_of_types(dot, TensorType((m, k), F32), TensorType((k, n), F32))
    arrays = [random_array((sizes[0], sizes[2]), F32), random_array((sizes[2], sizes[1]), F32, 1)]
    check_region("contraction", body, arrays, 1e-5, targets=(SM_80,), compiled=False)


def test_operands_are_read_16_bytes_at_a_time() -> None:
    body = body_of_types(dot, TensorType((64, 32), F32), TensorType((32, 64), F32))
    lines = str(schedule_region("contraction", body, SM_80).calls[0].kernel).splitlines()
    loads = [line for line in lines if " = load %" in line]
    assert {line.split(" : ")[-1] for line in loads} == {"f32x4"}
    assert {line.split("load %")[1].split("[")[0] for line in loads} == {"x0", "x1", "rows", "columns"}
