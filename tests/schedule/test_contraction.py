"""Contractions give what their bodies say: layouts, element types, odd, empty and symbolic sizes, on both targets."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.codegen import assembly, emit_llvm
from mlc.ir.dims import Size, dim
from mlc.ir.graph import CONVERT, Node
from mlc.ir.target import X86_64_V4
from mlc.ir.types import BF16, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, DType
from mlc.passes.kernels import lower_kernel
from mlc.passes.schedule import schedule_region
from mlc.passes.schedule.contraction_choice import choose_parts
from mlc.passes.schedule.contraction_form import contraction_form
from mlc.passes.schedule.tiling import tile_outer

from .contraction_bodies import arrays_for, bias_relu, contraction, residual, turned
from .running import TARGETS, check_region

TOLERANCE = {F64: 1e-14, F32: 3e-6, F16: 1e-3, BF16: 8e-3}
LAYOUTS = [("mk", "kn"), ("km", "kn"), ("mk", "nk"), ("km", "nk")]
BATCHED = [("bmk", "bkn"), ("mbk", "kbn"), ("mkb", "knb"), ("kbm", "nbk")]


@pytest.mark.parametrize("m, k, n", [(1, 5, 33), (3, 17, 9), (15, 8, 32), (29, 9, 50), (60, 6, 7)])
@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
def test_layouts(lhs: str, rhs: str, m: int, k: int, n: int) -> None:
    body = contraction({"m": m, "k": k, "n": n}, lhs, rhs)
    check_region("contraction", body, arrays_for(body), TOLERANCE[F32])


@pytest.mark.parametrize("lhs, rhs", BATCHED)
def test_batch_axis_anywhere(lhs: str, rhs: str) -> None:
    body = contraction({"b": 3, "m": 5, "k": 18, "n": 19}, lhs, rhs)
    check_region("contraction", body, arrays_for(body), TOLERANCE[F32])


@pytest.mark.parametrize("lhs, rhs", [("abmk", "abkn"), ("mbka", "aknb"), ("ambk", "anbk"), ("ambk", "abk")])
@pytest.mark.parametrize("a, b", [(2, 3), (4, 1), (1, 2)])
def test_several_batch_axes_anywhere(lhs: str, rhs: str, a: int, b: int) -> None:
    body = contraction({"a": a, "b": b, "m": 5, "k": 18, "n": 19}, lhs, rhs)
    check_region("contraction", body, arrays_for(body), TOLERANCE[F32])


@pytest.mark.parametrize("lhs, rhs, m", [("ambk", "akbn", 17), ("abmk", "abnk", 60), ("abmk", "abnk", 3)])
def test_results_in_another_order(lhs: str, rhs: str, m: int) -> None:
    body = contraction({"a": 2, "b": 3, "m": m, "k": 9, "n": 21}, lhs, rhs, epilogue=turned)
    check_region("contraction", body, arrays_for(body), TOLERANCE[F32])


def test_symbolic_batch_axes() -> None:
    a, b = dim("a", 1, 4), dim("b", 1, 5)
    body = contraction({"a": a, "b": b, "m": 3, "k": 9, "n": 21}, "ambk", "abkn", epilogue=turned)
    for sizes in ({"a": 3, "b": 5}, {"a": 1, "b": 1}):
        check_region("contraction", body, arrays_for(body, sizes), TOLERANCE[F32])


@pytest.mark.parametrize("dtype", [F64, F16, BF16, I8, U8, I16, U16, I32, U32, I64, U64], ids=str)
@pytest.mark.parametrize("lhs, rhs", [("mk", "kn"), ("km", "nk"), ("bmk", "bnk")])
def test_element_types(dtype: DType, lhs: str, rhs: str) -> None:
    """f16 and bf16 are rounded once, from f32; integers wrap."""
    body = contraction({"b": 2, "m": 4, "k": 19, "n": 21}, lhs, rhs, dtype)
    check_region("contraction", body, arrays_for(body), TOLERANCE.get(dtype, 0.0))


@pytest.mark.parametrize("dtype", [F64, F16, I8, I32], ids=str)
def test_many_rows_of_other_element_types(dtype: DType) -> None:
    """Enough rows that columns along K are turned into panels."""
    body = contraction({"m": 57, "k": 7, "n": 10}, "mk", "nk", dtype)
    check_region("contraction", body, arrays_for(body), TOLERANCE.get(dtype, 0.0))


@pytest.mark.parametrize("lhs, rhs", [("k", "k"), ("k", "kn"), ("mk", "k"), ("km", "k"), ("k", "nk")])
def test_vectors(lhs: str, rhs: str) -> None:
    body = contraction({"m": 37, "k": 45, "n": 22}, lhs, rhs)
    check_region("contraction", body, arrays_for(body), TOLERANCE[F32])


@pytest.mark.parametrize("lhs, rhs", [("bk", "bk"), ("bk", "bkn"), ("bmk", "bk"), ("mkb", "kb")])
def test_batches_of_vectors(lhs: str, rhs: str) -> None:
    body = contraction({"b": 4, "m": 7, "k": 45, "n": 22}, lhs, rhs)
    check_region("contraction", body, arrays_for(body), TOLERANCE[F32])


@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
@pytest.mark.parametrize("extents", [(1, 1, 1), (12, 1, 20), (20, 9, 1), (1, 9, 1)], ids=str)
def test_axes_of_one_element(lhs: str, rhs: str, extents: tuple[int, int, int]) -> None:
    body = contraction(dict(zip("mkn", extents, strict=True)), lhs, rhs)
    check_region("contraction", body, arrays_for(body), TOLERANCE[F32])


@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
@pytest.mark.parametrize("extents", [(0, 3, 4), (3, 0, 4), (60, 0, 20), (3, 4, 0), (0, 0, 0)], ids=str)
def test_empty(lhs: str, rhs: str, extents: tuple[int, int, int]) -> None:
    """Without anything to add up the sums are zeros."""
    body = contraction(dict(zip("mkn", extents, strict=True)), lhs, rhs)
    check_region("contraction", body, arrays_for(body), TOLERANCE[F32])


@pytest.mark.parametrize("value", [0, 13, 30, 57])
@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
def test_symbolic_rows(lhs: str, rhs: str, value: int) -> None:
    body = contraction({"m": dim("m", 0, 64), "k": 9, "n": 19}, lhs, rhs)
    check_region("contraction", body, arrays_for(body, {"m": value}), TOLERANCE[F32])


@pytest.mark.parametrize("value", [0, 1, 45])
@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
def test_symbolic_columns(lhs: str, rhs: str, value: int) -> None:
    body = contraction({"m": 5, "k": 9, "n": dim("n", 0, 64)}, lhs, rhs)
    check_region("contraction", body, arrays_for(body, {"n": value}), TOLERANCE[F32])


@pytest.mark.parametrize("value", [0, 1, 21])
@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
def test_symbolic_contracted_axis(lhs: str, rhs: str, value: int) -> None:
    """As in the gradient of weights over a batch of any size."""
    body = contraction({"m": 17, "k": dim("k", 0, 64), "n": 20}, lhs, rhs)
    check_region("contraction", body, arrays_for(body, {"k": value}), TOLERANCE[F32])


def test_all_sizes_symbolic() -> None:
    body = contraction({axis: dim(axis, 1, 40) for axis in "bmkn"}, "bkm", "bnk")
    sizes = {"b": 2, "m": 19, "k": 21, "n": 35}
    check_region("contraction", body, arrays_for(body, sizes), TOLERANCE[F32])


@pytest.mark.parametrize(
    "m, k, n, lhs, rhs",
    [
        (120, 1100, 260, "mk", "kn"),  # columns do not fit the cache: the first row block copies the panel
        (60, 2500, 140, "mk", "kn"),  # K in chunks
        (70, 2500, 40, "km", "nk"),  # transposed in chunks
        (700, 700, 40, "mk", "nk"),  # several groups of rows
        (1, 4000, 300, "mk", "kn"),
        (9, 3000, 200, "mk", "nk"),
    ],
)
def test_large(m: int, k: int, n: int, lhs: str, rhs: str) -> None:
    """Compiled only: the interpreter would take minutes."""
    body = contraction({"m": m, "k": k, "n": n}, lhs, rhs)
    check_region("contraction", body, arrays_for(body), 1e-5, interpreted=False)


@pytest.mark.parametrize("value", [1, 57, 300])
def test_large_symbolic(value: int) -> None:
    body = contraction({"m": dim("m", 1, 512), "k": 1500, "n": 300})
    check_region("contraction", body, arrays_for(body, {"m": value}), 1e-5, interpreted=False)


FEW = [(20, 70, 3), (33, 130, 7), (12, 66, 50), (12, 35, 20)]


@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
@pytest.mark.parametrize("extents", FEW, ids=str)
def test_columns_that_do_not_fill_a_vector(lhs: str, rhs: str, extents: tuple[int, int, int]) -> None:
    """Few columns, or the last few of many, are inner products."""
    for dtype in (F32, F64):
        body = contraction(dict(zip("mkn", extents, strict=True)), lhs, rhs, dtype)
        check_region("contraction", body, arrays_for(body), TOLERANCE[dtype], interpreted=lhs == rhs[::-1])


@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
@pytest.mark.parametrize("extents", [(1, 2_000_003, 1), (16, 30_001, 16), (3, 65_536, 40), (70, 9_000, 30)], ids=str)
def test_deep_sums_in_parts(lhs: str, rhs: str, extents: tuple[int, int, int]) -> None:
    """Compiled only; the sums of parts are added up by kernels of their own."""
    body = contraction(dict(zip("mkn", extents, strict=True)), lhs, rhs)
    assert len(schedule_region("contraction", body, TARGETS[0]).calls) >= 2
    check_region("contraction", body, arrays_for(body), 1e-5, interpreted=False)


@pytest.mark.parametrize("m", [2, 50, dim("m", 0, 64)], ids=str)
@pytest.mark.parametrize("lhs", ["mk", "km"])
def test_large_columns_are_read_in_the_order_of_memory(lhs: str, m: Size) -> None:
    """A strip of columns, some rows of it at a time, and a last strip that is narrower."""
    body = contraction({"m": m, "k": 2101, "n": 527}, lhs, epilogue=bias_relu)
    for value in (0, 1, 13, 64) if not isinstance(m, int) else (0,):
        check_region("contraction", body, arrays_for(body, {"m": value}), 1e-5, interpreted=False)
    assert all(tile_outer(contraction_form(body), t).panels > 1 for t in TARGETS)


@pytest.mark.parametrize("m", [211, dim("m", 0, 300)], ids=str)
def test_results_of_much_memory_are_stored_row_by_row(m: Size) -> None:
    body = contraction({"m": m, "k": 9, "n": 1030}, "km", epilogue=residual)
    for value in (0, 13, 299) if not isinstance(m, int) else (0,):
        check_region("contraction", body, arrays_for(body, {"m": value}), 1e-5, interpreted=False)
    assert all(tile_outer(contraction_form(body), t).rows_first for t in TARGETS)


@pytest.mark.parametrize("m, n", [(9, 128), (9, 80), (14, 64), (6, 256)])
def test_sums_stay_in_registers(m: int, n: int) -> None:
    """A tile that fills the registers keeps no vector on the stack."""
    region = schedule_region("contraction", contraction({"m": m, "k": 256, "n": n}), X86_64_V4)
    text = assembly(emit_llvm([lower_kernel(call.kernel, X86_64_V4) for call in region.calls], X86_64_V4), X86_64_V4)
    assert "vfmadd" in text
    assert [line for line in text.splitlines() if "zmm" in line and "rsp" in line] == []


@pytest.mark.parametrize("m, k, n, dtype", [
    (40, 33, 2, F32), (35, 40, 4, I32), (40, 37, 7, F32), (64, 61, 19, F32), (64, 19, 3, F64),
])  # fmt: skip
def test_few_columns(m: int, k: int, n: int, dtype: DType) -> None:
    """Vectors of a few columns at several k each, for all columns or for the last ones."""
    body = contraction({"m": m, "k": k, "n": n}, dtype=dtype, epilogue=bias_relu)
    assert "narrow" in [part.way for part in choose_parts(contraction_form(body), X86_64_V4)]
    check_region("contraction", body, arrays_for(body), TOLERANCE.get(dtype, 0.0), interpreted=m * n < 500)


def test_few_columns_of_a_batch() -> None:
    body = contraction({"b": 2, "m": 24, "k": 50, "n": 6}, "bmk", "bkn")
    assert [part.way for part in choose_parts(contraction_form(body), X86_64_V4)] == ["narrow"]
    check_region("contraction", body, arrays_for(body), TOLERANCE[F32])


@pytest.mark.parametrize("m, k, n", [(1, 2, 3), (15, 33, 50), (30, 8, 16)])
@pytest.mark.parametrize("left, right", [(I8, I8), (U8, I8), (I16, U8)], ids=str)
def test_small_integers_are_summed_as_pairs(left: DType, right: DType, m: int, k: int, n: int) -> None:
    """All values of both types, in 32 bits, exactly."""

    def converted(_: object, x: Node, y: Node) -> tuple[Node, Node]:
        return CONVERT(CONVERT(x, dtype=left), dtype=I32), CONVERT(CONVERT(y, dtype=right), dtype=I32)

    body = contraction({"m": m, "k": k, "n": n}, dtype=I64, prologue=converted)
    assert [part.way for part in choose_parts(contraction_form(body), X86_64_V4)] == ["pair"]
    rng = np.random.default_rng(k)
    check_region("contraction", body, [rng.integers(-(2**40), 2**40, p.shape) for p in body.parameters], 0.0)


def test_small_integers_of_a_batch_with_symbolic_rows() -> None:
    m, sizes = dim("m", 0, 30), {"m": 15}
    body = contraction(
        {"b": 2, "m": m, "k": 19, "n": 37}, "bmk", "bkn", I8,
        prologue=lambda _, x, y: (CONVERT(x, dtype=I32), CONVERT(y, dtype=I32)),
    )  # fmt: skip
    check_region("contraction", body, arrays_for(body, sizes))
