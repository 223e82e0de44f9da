"""Matrix units of warps: the sm_80 product by hand, every kind of mma, transposed tiles, and what orders them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mlc.ir.kernel import Kernel, KernelBuilder, VectorType, interpret_kernel
from mlc.ir.types import BF16, F16, F32, I8, I32, DType
from tests.kernel.golden_kernels import golden
from tests.ptx.errors import PtxError
from tests.ptx.mutate import mutations
from tests.ptx.program import Program

from .device import Array, Device, run

RNG = np.random.default_rng(0)
PRODUCT = Device([golden("gemm_sm80")])


def operands(m: int, n: int, steps: int) -> list[Array]:
    a, b = (RNG.normal(size=(rows, 32 * steps)).astype(BF16.numpy) for rows in (m, n))
    return [a, b, np.full((m, n), np.nan, np.float32)]


def product(a: Array, b: Array) -> Array:
    return np.asarray(a.astype(np.float64) @ b.astype(np.float64).T)


@pytest.mark.parametrize("sizes", [(64, 64, 1), (70, 40, 3), (1, 1, 2), (130, 65, 5), (5, 9, 0), (0, 4, 1)], ids=str)
def test_the_product_of_sm80(sizes: tuple[int, int, int]) -> None:
    a, b, c = operands(*sizes)
    PRODUCT.run("gemm_sm80", [a, b, c], sizes)
    np.testing.assert_allclose(c, product(a, b), rtol=2e-5, atol=2e-5)


MUTATIONS = list(mutations(PRODUCT.text))


def test_what_is_mutated() -> None:
    assert sorted(what.split(";")[0].split()[0] for _, what, _ in MUTATIONS) == [
        "bar.sync", *["cp.async.commit_group"] * 3, "cp.async.wait_group",
    ]  # fmt: skip


@pytest.mark.parametrize("text", [m[2] for m in MUTATIONS], ids=[m[1].split()[0].strip(";") for m in MUTATIONS])
def test_every_barrier_wait_and_commit_left_out_is_seen(text: str) -> None:
    device = Device([golden("gemm_sm80")])
    device.program = Program(text)
    with pytest.raises(PtxError) as error:
        device.run("gemm_sm80", operands(70, 64, 4), (70, 64, 4))
    assert error.value.kind in ("race", "uninitialised")


def tile_product(dtype: DType, depth: int, total: DType, turned: tuple[bool, bool], swizzle: int) -> Kernel:
    """c = a b + 1 for 16 x depth and depth x 8, in each of two warps; ``turned`` operands lie the other way round."""
    b = KernelBuilder(f"mma_{dtype}_{turned[0]:d}{turned[1]:d}_{swizzle}")
    shapes = [(depth, 16) if turned[0] else (16, depth), (depth, 8) if turned[1] else (8, depth)]
    pitch = max(swizzle, 32) // dtype.itemsize
    buffers = [b.buffer(name, dtype, (2, *shape), noalias=True) for name, shape in zip("ab", shapes, strict=True)]
    c = b.buffer("c", total, (2, 16, 8), access="write", noalias=True)
    tiles = [b.shared(f"{n}_tile", dtype, (2, s[0], pitch), swizzle) for n, s in zip("ab", shapes, strict=True)]
    with b.parallel((1, 1), (2, 1), (32, 1), threads=2) as (_, w, t):
        for buffer, tile, (rows, columns) in zip(buffers, tiles, shapes, strict=True):
            with b.loop(t, rows * columns, step=32) as loop:
                at = b.floordiv(loop.index, columns), b.mod(loop.index, columns)
                b.store(tile, (w, *at), b.load(buffer, (w, *at)))
        b.machine("barrier")
        fragments = []
        for tile, role, turn in zip(tiles, "ab", turned, strict=True):
            t_ = VectorType.of_fragment(*((16, depth) if role == "a" else (depth, 8)), dtype, role)
            kind = "transposed" if turn else None
            fragments.append(b.machine("load_matrix", to=(tile, (w, 0, 0)), attribute=kind, result=t_))
        one = b.value(
            "constant", (), 1 if total == I32 else 0x3F800000, VectorType.of_fragment(16, 8, total, "accumulator")
        )
        assert fragments[0] is not None and fragments[1] is not None
        found = b.machine("mma", *fragments, one, result=one.type)
        assert found is not None
        b.machine("store_matrix", found, to=(c, (w, 0, 0)))
    return b.build()


KINDS = [(F16, 16, F32), (BF16, 16, F32), (F32, 8, F32), (I8, 32, I32)]


@pytest.mark.parametrize(("dtype", "depth", "total"), KINDS, ids=lambda v: str(v))
def test_every_kind_of_product(dtype: DType, depth: int, total: DType) -> None:
    """Small whole numbers, so that all sums are exact; 16 bits may lie transposed."""
    both = (False, True) if dtype.bits == 16 else (False,)
    for turned in itertools.product(both, both):
        for swizzle in (0, 32, 64, 128):
            kernel = tile_product(dtype, depth, total, turned, swizzle)
            a, b = (RNG.integers(-8, 8, (2, n, depth)).astype(dtype.numpy) for n in (16, 8))
            given = [
                np.ascontiguousarray(v.swapaxes(1, 2)) if turn else v for v, turn in zip((a, b), turned, strict=True)
            ]
            got, meant = (np.zeros((2, 16, 8), total.numpy) for _ in range(2))
            run(kernel, [*given, got])
            interpret_kernel(kernel, [*given, meant])
            want = a.astype(np.float64) @ b.astype(np.float64).swapaxes(1, 2) + 1
            np.testing.assert_array_equal(got, want, kernel.name)
            np.testing.assert_array_equal(meant, want, kernel.name)


def test_accumulators_leave_what_lies_outside() -> None:
    """Pairs are written together where rows are even; the last row and column are not the tile's."""
    for columns in (5, 6, 7, 8):
        b = KernelBuilder("edges", sizes=1)
        c = b.buffer("c", F32, (b.sizes[0], columns), strides=(8, 1), access="readwrite", noalias=True)
        with b.parallel((1, 1), (32, 1), threads=1):
            two = b.value("constant", (), 0x40000000, VectorType.of_fragment(16, 8, F32, "accumulator"))
            b.machine("store_matrix", two, to=(c, (0, 0)))
        device = Device([b.build()])
        assert "st.global.v2" in device.text
        for rows in (1, 8, 11, 16, 20):
            got = np.zeros((rows, 8), np.float32)
            device.run("edges", [got], [rows])
            want = np.zeros((rows, 8))
            want[:16, :columns] = 2
            np.testing.assert_array_equal(got, want)
