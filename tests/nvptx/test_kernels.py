"""Grids, blocks, masks, memories and loops of kernels: PTX in the interpreter of PTX against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mlc.codegen.nvptx import compile_ptx, emit_module
from mlc.errors import InternalError, UnsupportedError
from mlc.ir.kernel import Kernel, KernelBuilder
from mlc.ir.target import SM_80
from mlc.ir.types import BF16, BOOL, DTYPES, F16, F32, F64, I8, I32, I64, U8, U32, U64, DType
from mlc.passes.kernels import lower_kernel
from tests.codegen.test_gather import arrays, expected, take
from tests.ptx.memory import Memory
from tests.ptx.mutate import mutations
from tests.ptx.program import Program
from tests.ptx.support import raises

from .device import Device, grid_blocks, run

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", (F32, BF16, I8, I64, BOOL), ids=str)
def test_gather_and_scatter(dtype: DType) -> None:
    for offset, lanes, stride, masked in (
        (I32, 4, 1, True), (I64, 2, 1, False), (I64, 8, 3, True), (U8, 4, 1, True), (I8, 4, 1, False),
        (U32, 2, 2, True), (I32, 1, 1, True), (U64, 1, 3, False),
    ):  # fmt: skip
        kernel = take(dtype, offset, lanes, stride, masked)
        device, given = Device([kernel]), arrays(dtype, offset, lanes, stride)
        given[1] = RNG.choice(36, 2 * lanes, replace=False).astype(offset.numpy)  # blocks write in no order
        for n in {2 * lanes} if not masked else {0, 1, lanes, 2 * lanes - 1}:
            got = [a.copy() for a in given]
            device.run(kernel.name, got, [n])
            for k, want in enumerate(expected(given, n, stride)):
                np.testing.assert_array_equal(got[k], want, f"{offset} {lanes} {stride} {n} buffer {k}")


def copy(dtype: DType, lanes: int, start: int) -> Kernel:
    """y[i] = x[start + i] in a tail-masked row of blocks of 32 threads."""
    b = KernelBuilder(f"copy_{dtype}_{lanes}_{start}", sizes=1)
    n = b.sizes[0]
    x = b.buffer("x", dtype, (n + start,), noalias=True)
    y = b.buffer("y", dtype, (n,), access="write", noalias=True)
    with b.parallel((n, 32 * lanes), (32, 1), threads=1) as (i, t):
        at = i * (32 * lanes) + t * lanes
        mask = b.tail_mask(at, n, lanes)
        b.store(y, (at,), b.load(x, (at + start,), lanes=lanes, mask=mask), mask=mask)
    return b.build()


def test_tails_at_every_alignment() -> None:
    cases = list(itertools.product((F32, F16, U8, F64, BOOL), (1, 2, 4, 8), (0, 1, 2)))
    kernels = [copy(dtype, lanes, start) for dtype, lanes, start in cases]
    device = Device(kernels)
    for kernel, (dtype, lanes, start) in zip(kernels, cases, strict=True):
        for n in (1, 32 * lanes - 1, 32 * lanes + 3):
            x = RNG.integers(0, 2, n + start).astype(dtype.numpy)
            y = np.zeros(n, dtype.numpy)
            device.run(kernel.name, [x, y], [n])
            np.testing.assert_array_equal(y, x[start:], kernel.name)


def test_sixteen_bytes_at_a_time() -> None:
    """What is provably aligned moves whole; what begins one element later does not."""
    text = compile_ptx([lower_kernel(copy(F32, 4, 0), SM_80)], SM_80)
    assert "ld.global.nc.v4.b32" in text and "st.global.v4.b32" in text
    assert "v4" not in compile_ptx([lower_kernel(copy(F32, 4, 1), SM_80)], SM_80).replace("st.global.v4", "")
    assert "ld.global.nc.v4.b32" in compile_ptx([lower_kernel(copy(F16, 8, 8), SM_80)], SM_80)


def test_axes_of_grid_and_block() -> None:
    """Four axes of a grid, one of a size known at run time, and three of a block: every element once."""
    b = KernelBuilder("axes", sizes=1)
    n = b.sizes[0]
    y = b.buffer("y", I64, (3, n, 2, 5, 4, 1, 3), access="readwrite")
    with b.parallel((3, 1), (n, 2), (2, 1), (5, 5), (4, 1), (1, 1), (3, 1), threads=3) as (i, j, k, _, r, s, t):  # noqa: SIM117
        with b.loop(0, 5) as column, b.loop(0, 2) as half:
            at = (i, j * 2 + half.index, k, column.index, r, s, t)
            mask = b.compare("LT", b.index_value(j * 2 + half.index), b.index_value(n))
            total = b.index_value(0)
            for index in at:
                total = b.op("add", b.op("multiply", total, b.index_value(10)), b.index_value(index))
            b.store(y, at, b.op("add", total, b.load(y, at, mask=mask)), mask=mask)
    kernel = b.build()
    for size in (1, 4, 5):
        assert grid_blocks(kernel, [size]) == 3 * -(-size // 2) * 2
        shape = (3, size, 2, 5, 4, 1, 3)
        y_array = np.zeros(shape, np.int64)
        run(kernel, [y_array], [size])
        weights = 10 ** np.arange(6, -1, -1)
        np.testing.assert_array_equal(y_array, (np.indices(shape) * weights[:, *[None] * 7]).sum(0))


def block_sum(threads: int) -> Kernel:
    """Sums of the rows of x: a row a block, each thread its columns, then shuffles, then shared memory."""
    warps = -(-threads // 32)
    b = KernelBuilder(f"sum_{threads}", sizes=2)
    rows, columns = b.sizes
    x = b.buffer("x", F32, (rows, columns), noalias=True)
    y = b.buffer("y", F32, (rows,), access="write", noalias=True)
    partial = b.shared("partial", F32, (warps,))
    with b.parallel((rows, 1), (threads, 1), threads=1) as (i, t):
        with b.loop(t, columns, step=threads, carried=(b.constant(0.0, F32),)) as loop:
            b.yield_(b.op("add", loop.carried[0], b.load(x, (i, loop.index))))
        total = loop.results[0]
        for by in (16, 8, 4, 2, 1):
            other = b.machine("warp_shuffle", total, attribute="xor", indices=(by,), result=total.type)
            assert other is not None
            total = b.op("add", total, other)
        first = b.compare("EQ", b.index_value(b.mod(t, 32)), b.index_value(0))
        b.store(partial, (b.floordiv(t, 32),), total, mask=first)
        b.machine("barrier")
        with b.role("first", t, 0, 1):
            with b.loop(0, warps, carried=(b.constant(0.0, F32),)) as loop:
                b.yield_(b.op("add", loop.carried[0], b.load(partial, (loop.index,))))
            b.store(y, (i,), loop.results[0])
    return b.build()


@pytest.mark.parametrize("threads", (32, 128))
def test_sums_of_blocks(threads: int) -> None:
    kernel = block_sum(threads)
    for rows, columns in ((1, 1), (3, 200), (2, 0)):
        x, y = RNG.normal(0, 1, (rows, columns)).astype(np.float32), np.full(rows, np.nan, np.float32)
        run(kernel, [x, y], [rows, columns])
        np.testing.assert_allclose(y, x.astype(np.float64).sum(1), rtol=1e-5, atol=1e-5)


def test_a_barrier_left_out_is_seen() -> None:
    device = Device([block_sum(128)])
    found = list(mutations(device.text))
    assert [what.split() for _, what, _ in found] == [["bar.sync", "0;"]]
    memory = Memory()
    arguments = [memory.place(np.ones((2, 200), np.float32)), memory.place(np.zeros(2, np.float32)), 2, 200]
    with raises("race"):
        Program(found[0][2]).launch("sum_128", grid=(2, 1, 1), block=(128, 1, 1), arguments=arguments, memory=memory)


def test_the_last_warp_of_a_block_may_be_short() -> None:
    """Threads that are not there neither meet at barriers nor take part in shuffles."""
    b = KernelBuilder("short")
    y = b.buffer("y", I32, (3, 40), access="write")
    seen = b.shared("seen", I32, (40,))
    with b.parallel((3, 1), (40, 1), threads=1) as (i, t):
        value = b.index_value(i * 100 + t, I32)
        first = b.machine("warp_shuffle", value, attribute="index", indices=(0,), result=value.type)
        assert first is not None
        b.store(seen, (t,), first)
        b.machine("barrier", attribute="warp")
        b.store(y, (i, t), b.load(seen, (b.floordiv(t, 8) * 8,)))
    got = np.zeros((3, 40), np.int32)
    run(b.build(), [got])
    np.testing.assert_array_equal(got, np.arange(3)[:, None] * 100 + np.arange(40) // 32 * 32)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_shuffles_of_every_type(dtype: DType) -> None:
    b = KernelBuilder("shuffles")
    x, y = b.buffer("x", dtype, (4, 64)), b.buffer("y", dtype, (4, 64), access="write")
    with b.parallel((2, 1), (32, 1), threads=1) as (i, t):
        for row, (kind, by) in enumerate((("down", 3), ("up", 5), ("xor", 9), ("index", 7))):
            value = b.load(x, (row, i * 32 + t))
            moved = b.machine("warp_shuffle", value, attribute=kind, indices=(by,), result=value.type)
            assert moved is not None
            b.store(y, (row, i * 32 + t), moved)
    given = RNG.integers(0, 2 if dtype == BOOL else 100, (4, 64)).astype(dtype.numpy)
    got = np.zeros_like(given)
    run(b.build(), [given, got])
    lane = np.arange(32)
    sources = np.where(lane + 3 < 32, lane + 3, lane), np.where(lane >= 5, lane - 5, lane), lane ^ 9, np.full(32, 7)
    want = np.stack([given[r].reshape(2, 32)[:, s].reshape(-1) for r, s in enumerate(sources)])
    np.testing.assert_array_equal(got, want)


def turned(dtype: DType, lanes: int, swizzle: int, size: int) -> Kernel:
    """y = x.T through shared memory: rows written ``lanes`` at a time, columns read one by one and by gathers."""
    b = KernelBuilder("turned")
    x, y = b.buffer("x", dtype, (size, size)), b.buffer("y", dtype, (2, size, size), access="write")
    tile = b.shared("tile", dtype, (3, size, size), swizzle=swizzle)
    with b.parallel((1, 1), (size, 1), threads=1) as (_, t):
        with b.loop(0, size, step=lanes) as loop:
            b.store(tile, (2, t, loop.index), b.load(x, (t, loop.index), lanes=lanes))
        b.machine("barrier")
        with b.loop(0, size) as loop:
            b.store(y, (0, t, loop.index), b.load(tile, (2, loop.index, t)))
            offset = b.index_value(t, I32)
            b.store(y, (1, t, loop.index), b.gather(tile, (2, loop.index, 0), offset))
    return b.build()


@pytest.mark.parametrize("dtype", (F32, BF16, U8), ids=str)
@pytest.mark.parametrize("swizzle", (0, 32, 64, 128))
def test_swizzled_shared_memory(dtype: DType, swizzle: int) -> None:
    size = (swizzle or 64) // dtype.itemsize
    for lanes in {1, 4, 16 // dtype.itemsize, 32 // dtype.itemsize}:
        x = RNG.integers(0, 100, (size, size)).astype(dtype.numpy)
        y = np.zeros((2, size, size), dtype.numpy)
        run(turned(dtype, lanes, swizzle, size), [x, y])
        np.testing.assert_array_equal(y, np.stack([x.T, x.T]))


def test_shared_memory_given_at_launch() -> None:
    b = KernelBuilder("much")
    y = b.buffer("y", F32, (64,), access="write")
    small, large = b.shared("small", F32, (5,)), b.shared("large", F32, (16 << 10,))
    with b.parallel((1, 1), (64, 1), threads=1) as (_, t):
        b.store(large, (t * 100,), b.convert(b.index_value(t, I32), F32))
        with b.role("last", t, 63, 64):
            b.store(small, (4,), b.constant(7.0, F32))
        b.machine("barrier")
        b.store(y, (t,), b.op("add", b.load(large, (t * -100 + 6300,)), b.load(small, (4,))))
    kernel = b.build()
    assert kernel.dynamic_shared_bytes == 128 + (64 << 10)
    got = np.zeros(64, np.float32)
    run(kernel, [got])
    np.testing.assert_array_equal(got, np.arange(70, 6, -1))


def test_tables_scratch_and_loops_of_unknown_length() -> None:
    """Steps of the Collatz sequence, digits through scratch memory, primes from a table."""
    b = KernelBuilder("loops")
    y = b.buffer("y", I64, (3, 64), access="write")
    primes = b.table("primes", I32, (4,), (2, 3, 5, 7))
    digits = b.scratch("digits", I64, (10,))
    with b.parallel((4, 1), (16, 1), threads=1) as (i, t):
        at = i * 16 + t
        zero, one, two = (b.constant(k, I64) for k in (0, 1, 2))
        with b.while_(b.index_value(at + 1), zero) as loop:
            value, steps = loop.carried
            b.condition(b.compare("GT", value, one))
            odd = b.compare("EQ", b.op("remainder", value, two), one)
            tripled = b.op("add", b.op("multiply", value, b.constant(3, I64)), one)
            b.yield_(b.select(odd, tripled, b.op("divide", value, two)), b.op("add", steps, one))
        b.store(y, (0, at), loop.results[1])
        with b.loop(0, 10) as fill:
            b.store(digits, (fill.index,), b.index_value(b.mod(at * fill.index, 7)))
        b.store(y, (1, at), b.load(digits, (b.mod(at, 10),)))
        prime = b.convert(b.load(primes, (b.mod(at, 4),)), I64)
        b.store(y, (2, at), b.op("multiply", prime, b.index_value(b.floordiv(at - 40, 3))))
    got = np.zeros((3, 64), np.int64)
    run(b.build(), [got])

    def collatz(n: int) -> int:
        return 0 if n == 1 else 1 + collatz(3 * n + 1 if n % 2 else n // 2)

    want = [[collatz(k + 1), k * (k % 10) % 7, (2, 3, 5, 7)[k % 4] * ((k - 40) // 3)] for k in range(64)]
    np.testing.assert_array_equal(got, np.array(want).T)


def one_store(threads: int = 32, shared: int = 0, name: str = "k") -> Kernel:
    b = KernelBuilder(name)
    y = b.buffer("y", F32, (threads,), access="write")
    if shared:
        b.shared("s", F32, (shared,))
    with b.parallel((threads, 1), threads=1) as (t,):
        b.store(y, (t,), b.constant(1.0, F32))
    return b.build()


def test_what_a_target_has_not() -> None:
    with pytest.raises(UnsupportedError, match="k: blocks of 1056 threads; sm_80 has 1024"):
        emit_module([one_store(1056)], SM_80)
    with pytest.raises(UnsupportedError, match="k: 166916 bytes of shared memory; a block of sm_80 has 166912"):
        emit_module([one_store(shared=41729)], SM_80)
    with pytest.raises(InternalError, match="'a b' is no name of PTX"):
        emit_module([one_store(name="a b")], SM_80)
