"""Kernels of blocks, interpreted: matrix units, shuffles, copies and barriers do what NumPy says; misuse is seen."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from mlc.errors import VerifyError
from mlc.ir.kernel import Index, Kernel, KernelBuilder, Loop, VectorType, interpret_kernel, parse_kernel
from mlc.ir.kernel.data import Instruction, Statement
from mlc.ir.types import BF16, F16, F32, F64, I8, I32, DType

from .golden_kernels import golden

THREADS = 64


def product(kernel: Kernel, m: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What gemm_sm80 gives for m x n x 32k, and what it should."""
    rng = np.random.default_rng(m)
    a, b = (rng.normal(size=(rows, 32 * k)).astype(ml_dtypes.bfloat16) for rows in (m, n))
    c = np.full((m, n), 7, np.float32)
    interpret_kernel(kernel, [a, b, c], [m, n, k])
    return c, a.astype(np.float64) @ b.astype(np.float64).T


@pytest.mark.parametrize("sizes", [(64, 64, 1), (70, 40, 3), (1, 1, 2), (130, 65, 5), (5, 9, 0)], ids=str)
def test_a_product_by_the_matrix_unit(sizes: tuple[int, int, int]) -> None:
    found, wanted = product(golden("gemm_sm80"), *sizes)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("op", ["barrier", "wait"])
def test_a_loop_without_its_barrier_or_wait(op: str) -> None:
    kernel = golden("gemm_sm80")

    def without(s: Statement) -> Statement:
        if not isinstance(s, Loop):
            return s
        kept = tuple(n for n in s.body if not (isinstance(n, Instruction) and n.op == op))
        assert len(kept) == len(s.body) - 1
        return replace(s, body=kept)

    broken = kernel.with_body(tuple(map(without, kernel.body)))
    if op == "barrier":
        with pytest.raises(VerifyError, match=r"load_matrix a_tile: thread .* reads what another"):
            product(broken, 64, 64, 3)
    else:  # a copy that nobody waited for leaves rubbish, and nobody waits for any
        assert np.isnan(product(broken, 64, 64, 3)[0]).all()


@pytest.mark.parametrize(
    ("dtype", "depth", "total"), [(F16, 16, F32), (BF16, 16, F32), (F32, 8, F32), (I8, 32, I32)], ids=str
)
def test_every_shape_of_the_matrix_unit(dtype: DType, depth: int, total: DType) -> None:
    """Small whole numbers, so that all sums are exact; two warps, each with a product of its own."""
    b = KernelBuilder("units")
    x, y = b.buffer("x", dtype, (2, 16, depth)), b.buffer("y", dtype, (2, 8, depth))
    z = b.buffer("z", total, (2, 16, 8), access="write")
    xs, ys = b.shared("xs", dtype, (2, 16, depth)), b.shared("ys", dtype, (2, 8, depth))
    with b.parallel((THREADS, 1), threads=1) as (t,):
        for memory, buffer, rows in ((xs, x, 16), (ys, y, 8)):
            with b.loop(0, 2 * rows * depth, THREADS) as loop:
                row = b.floordiv(loop.index + t, depth)
                at = b.floordiv(row, rows), b.mod(row, rows), b.mod(loop.index + t, depth)
                b.store(memory, at, b.load(buffer, at))
        b.machine("barrier")
        warp = b.floordiv(t, 32)
        left = b.machine("load_matrix", to=(xs, (warp, 0, 0)), result=VectorType.of_fragment(16, depth, dtype, "a"))
        right = b.machine("load_matrix", to=(ys, (warp, 0, 0)), result=VectorType.of_fragment(depth, 8, dtype, "b"))
        unit = VectorType.of_fragment(16, 8, total, "accumulator")
        one = b.value("constant", (), 0x3F800000 if total == F32 else 1, unit)
        assert left is not None and right is not None
        sums = b.machine("mma", left, right, one, result=unit)
        assert sums is not None
        for w in range(2):  # a warp stores what is its own: the other is outside of the shape
            b.machine("store_matrix", sums, to=(z, (w, (warp - w) * 16, 0)))
    rng = np.random.default_rng(0)
    left_values, right_values = (rng.integers(-4, 5, (2, n, depth)) for n in (16, 8))
    out = np.zeros((2, 16, 8), total.numpy)
    interpret_kernel(b.build(), [left_values.astype(dtype.numpy), right_values.astype(dtype.numpy), out])
    np.testing.assert_array_equal(out, left_values @ right_values.transpose(0, 2, 1) + 1)


@pytest.mark.parametrize(("kind", "wanted"), [
    ("down", lambda t: np.where(t + 3 < 32, t + 3, t)), ("up", lambda t: np.where(t - 3 >= 0, t - 3, t)),
    ("xor", lambda t: t ^ 3), ("index", lambda t: t * 0 + 3),
])  # fmt: skip
def test_shuffles_within_a_warp(kind: str, wanted) -> None:  # type: ignore[no-untyped-def]
    b = KernelBuilder("shuffled")
    x, y = b.buffer("x", F64, (3, THREADS, 2)), b.buffer("y", F64, (3, THREADS, 2), access="write")
    with b.parallel((3, 1), (THREADS, 1), threads=1) as (i, t):
        v = b.load(x, (i, t, 0), 2)
        moved = b.machine("warp_shuffle", v, attribute=kind, indices=(3,), result=v.type)
        assert moved is not None
        b.store(y, (i, t, 0), moved)
    values = np.arange(6.0 * THREADS).reshape(3, THREADS, 2)
    out = np.zeros_like(values)
    interpret_kernel(b.build(), [values, out])
    lane = wanted(np.arange(32))
    np.testing.assert_array_equal(out, values[:, np.concatenate([lane, lane + 32])])


def turned(barrier: bool, wide: bool = False) -> Kernel:
    """y is x with the threads of each block in the other order, by way of shared memory."""
    b = KernelBuilder("turned", sizes=1)
    x, y = b.buffer("x", F32, (b.sizes[0],)), b.buffer("y", F32, (b.sizes[0],), access="write")
    s = b.shared("s", F32, (THREADS,))
    with b.parallel((b.sizes[0], THREADS), (THREADS, 1), threads=1) as (i, t):
        mask = b.tail_mask(i * THREADS + t, b.sizes[0], 1)
        b.store(s, (t,), b.load(x, (i * THREADS + t,), 1, mask))
        if barrier:
            b.machine("barrier", attribute="warp" if wide else None)
        b.store(y, (i * THREADS + t,), b.load(s, (THREADS - 1 - t,)), mask)
    return b.build()


def test_shared_memory_and_tails() -> None:
    x = np.arange(100, dtype=np.float32)
    y = np.zeros_like(x)
    interpret_kernel(turned(True), [x, y], [100])
    wanted = np.concatenate([x[:64][::-1], np.zeros(28), x[64:][::-1]])[:100]
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("kernel", [turned(False), turned(True, wide=True)], ids=["none", "of the warp"])
def test_a_missing_barrier_is_named(kernel: Kernel) -> None:
    with pytest.raises(VerifyError, match=r"load s: thread 0 of block 0 reads what another thread wrote"):
        interpret_kernel(kernel, [np.zeros(64, np.float32), np.zeros(64, np.float32)], [64])


def test_two_threads_write_one_element() -> None:
    b = KernelBuilder("both")
    y = b.buffer("y", F32, (THREADS,), access="write")
    with b.parallel((THREADS, 1), threads=1) as (t,):
        b.store(y, (b.floordiv(t, 2),), b.constant(1.0, F32))
    with pytest.raises(VerifyError, match="store y: thread 0 of block 0 writes what another thread uses"):
        interpret_kernel(b.build(), [np.zeros(THREADS, np.float32)])


def test_a_write_after_others_read() -> None:
    b = KernelBuilder("late")
    y = b.buffer("y", F32, (THREADS,), access="write")
    s = b.shared("s", F32, (1,))
    with b.parallel((THREADS, 1), threads=1) as (t,):
        with b.role("first", t, 0, 1):
            b.store(s, (0,), b.constant(1.0, F32))
        b.machine("barrier")
        b.store(y, (t,), b.load(s, (0,)))
        with b.role("first", t, 0, 1):
            b.store(s, (0,), b.constant(2.0, F32))
    with pytest.raises(VerifyError, match="store s: thread 0 of block 0 writes what another thread uses"):
        interpret_kernel(b.build(), [np.zeros(THREADS, np.float32)])


def test_what_was_not_written_is_no_number() -> None:
    b = KernelBuilder("poison")
    y = b.buffer("y", F32, (THREADS,), access="write")
    s = b.shared("s", F32, (THREADS,))
    with b.parallel((THREADS, 1), threads=1) as (t,):
        b.store(y, (t,), b.load(s, (t,)))
    out = np.zeros(THREADS, np.float32)
    interpret_kernel(b.build(), [out])
    assert np.isnan(out).all()


def test_loops_of_each_thread() -> None:
    """Thread t sums its own t numbers, counted and by a condition; blocks of two axes."""
    b = KernelBuilder("own")
    y = b.buffer("y", I32, (3, 4, 8, 2), access="write")
    with b.parallel((3, 1), (4, 1), (8, 1), threads=2) as (i, t, u):
        zero, number = b.constant(0, I32), t * 8 + u
        with b.loop(0, number, carried=(zero,)) as loop:
            b.yield_(b.op("add", loop.carried[0], b.index_value(loop.index + i, I32)))
        with b.while_(zero, zero) as again:
            b.condition(b.compare("LT", again.carried[0], b.index_value(number, I32)))
            total = b.op("add", again.carried[1], b.op("add", again.carried[0], b.index_value(i, I32)))
            b.yield_(b.op("add", again.carried[0], b.constant(1, I32)), total)
        b.store(y, (i, t, u, 0), loop.results[0])
        b.store(y, (i, t, u, 1), again.results[1])
    out = np.zeros((3, 4, 8, 2), np.int32)
    interpret_kernel(b.build(), [out])
    wanted = [[sum(range(i, i + n)) for n in range(32)] for i in range(3)]
    np.testing.assert_array_equal(out, np.repeat(wanted, 2).reshape(3, 4, 8, 2))


COPY = """kernel @copied sizes 0 {{
  buffer %x f32[{size}] strides [1] read
  buffer %y f32[64] strides [1] write
  shared %s f32[256]
  parallel (%i0 = 64 by 1 block) {{
    %0 = async_copy[16] %s[%i0*4] from %x[{place}] : token
    %1 = commit %0 : token
    wait[{left}]{group}
    %2 = load %s[%i0*4 + 3] : f32
    store %y[%i0] %2
  }}
}}
"""


@pytest.mark.parametrize(("size", "place", "left", "group", "message"), [
    (256, "%i0*4", 0, " %1", ""), (256, "%i0*4", 1, "", "no number"), (256, "%i0*4", 1, " %1", "does not wait for"),
    (255, "%i0*4", 0, "", r"async_copy x\[255\] of shape \[255\] by thread 63"), (260, "%i0*4 + 1", 0, "", "aligned"),
])  # fmt: skip
def test_copies_arrive_when_waited_for(size: int, place: str, left: int, group: str, message: str) -> None:
    kernel = parse_kernel(COPY.format(size=size, place=place, left=left, group=group))
    x, y = np.arange(float(size), dtype=np.float32), np.zeros(64, np.float32)
    if message and message != "no number":
        with pytest.raises(VerifyError, match=message):
            interpret_kernel(kernel, [x, y])
        return
    interpret_kernel(kernel, [x, y])
    np.testing.assert_array_equal(y, np.full(64, np.nan) if message else x[3::4])


def divergent(bound: str) -> Kernel:
    b = KernelBuilder("divergent", sizes=1)
    x = b.buffer("x", I32, (THREADS,))
    with b.parallel((4, 1), (THREADS, 1), threads=1) as (i, t):
        if bound == "role":
            with b.role("first", t, 0, 32):
                b.machine("barrier")
        elif bound == "condition":
            with b.while_(b.constant(0, I32)) as again:
                b.condition(b.compare("LT", again.carried[0], b.load(x, (t,))))
                b.machine("barrier")
                b.yield_(b.op("add", again.carried[0], b.constant(1, I32)))
        else:
            upper = {"thread": b.floordiv(t, 2), "block": i, "size": b.sizes[0]}[bound]
            upper = upper if isinstance(upper, Index) else Index.of(upper)
            with b.loop(0, upper):
                b.machine("barrier")
    return b.build()


@pytest.mark.parametrize("bound", ["thread", "role", "condition"])
def test_barriers_that_threads_pass_unequally_are_refused(bound: str) -> None:
    with pytest.raises(VerifyError, match="a barrier that threads would pass a different number of times"):
        divergent(bound)


@pytest.mark.parametrize("bound", ["block", "size"])
def test_barriers_in_loops_that_are_the_same_for_a_block(bound: str) -> None:
    interpret_kernel(divergent(bound), [np.zeros(THREADS, np.int32)], [3])


def test_an_access_out_of_bounds_names_the_thread() -> None:
    b = KernelBuilder("out")
    x = b.buffer("x", F32, (2, 40), access="readwrite")
    with b.parallel((2, 1), (THREADS, 1), threads=1) as (i, t):
        b.store(x, (i, t), b.constant(0.0, F32))
    with pytest.raises(VerifyError, match=r"store x\[0, 40\] of shape \[2, 40\] by thread 40: axis 1 is out of bounds"):
        interpret_kernel(b.build(), [np.zeros((2, 40), np.float32)])
