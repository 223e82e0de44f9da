"""Loops, addresses, aliasing and symbols of generated code; a GEMM micro-kernel as the hardest of them."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.codegen import assembly, compile_object, emit_llvm, load_object
from mlc.errors import InternalError
from mlc.ir.kernel import Kernel, KernelBuilder, interpret_kernel
from mlc.ir.target import Target
from mlc.ir.types import F32, I64
from mlc.passes.kernels import lower_kernel

from .native import TARGETS, Native, run


def gemm(m: int, k: int, n: int, rows: int, vectors: int, lanes: int) -> Kernel:
    """c = a @ b with b packed as [n / width][k][width] and a tile of ``rows`` x ``vectors`` registers."""
    b = KernelBuilder("gemm")
    width = vectors * lanes
    lhs, rhs = b.buffer("a", F32, (m, k)), b.buffer("b", F32, (n // width, k, width))
    out = b.buffer("c", F32, (m, n), access="write")
    with b.parallel((n, width), (m, rows)) as (j, i):
        zeros = tuple(b.constant(0.0, F32, lanes) for _ in range(rows * vectors))
        with b.loop(0, k, carried=zeros, unroll=4) as loop:
            panels = [b.load(rhs, (j, loop.index, v * lanes), lanes=lanes) for v in range(vectors)]
            sums = list(loop.carried)
            for r in range(rows):
                scalar = b.splat(b.load(lhs, (i * rows + r, loop.index)), lanes)
                for v in range(vectors):
                    sums[r * vectors + v] = b.op("fma", scalar, panels[v], sums[r * vectors + v])
            b.yield_(*sums)
        for r in range(rows):
            for v in range(vectors):
                b.store(out, (i * rows + r, j * width + v * lanes), loop.results[r * vectors + v])
    return b.build()


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_gemm(target: Target) -> None:
    rows, vectors, lanes = (12, 2, 16) if target.vector_bits == 512 else (6, 2, 8)
    width, m, k, n = vectors * lanes, 24, 30, 64
    kernel = gemm(m, k, n, rows, vectors, lanes)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    packed = np.ascontiguousarray(b.reshape(k, n // width, width).transpose(1, 0, 2))
    c, d = np.zeros((m, n), np.float32), np.zeros((m, n), np.float32)
    Native([kernel], target).run("gemm", [a, packed, c], cuts=[1, 3])
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5, atol=1e-5)
    interpret_kernel(kernel, [a, packed, d])
    np.testing.assert_array_equal(c, d)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_gemm_keeps_its_tile_in_registers(target: Target) -> None:
    """No spill: the stack pointer is not used. On AVX-512 the splat of a is a part of the fma."""
    rows, vectors, lanes = (12, 2, 16) if target.vector_bits == 512 else (6, 2, 8)
    kernel = lower_kernel(gemm(120, 784, 512, rows, vectors, lanes), target)
    text = assembly(emit_llvm([kernel], target), target)
    assert "rsp" not in text
    register = "zmm" if target.vector_bits == 512 else "ymm"
    fused = [line for line in text.splitlines() if "vfmadd" in line]
    assert len(fused) >= 4 * rows * vectors
    assert all(register in line for line in fused)
    assert text.count("vmovups") < 100


def test_llvm_passes_change_no_result() -> None:
    """``optimize`` is there to measure what they would win."""
    kernel = lower_kernel(gemm(12, 40, 32, 12, 2, 8), TARGETS[0])
    text = emit_llvm([kernel], TARGETS[0])
    plain, optimized = (compile_object(text, TARGETS[0], level) for level in (0, 2))
    assert plain != optimized
    a, b = (np.random.default_rng(s).normal(size=480 + 800 * s).astype(np.float32) for s in (0, 1))
    results = []
    for code in (plain, optimized):
        native = Native([kernel], TARGETS[0])
        native.object = load_object(code)
        results.append(np.zeros(12 * 32, np.float32))
        native.run("gemm", [a, b, results[-1]])
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(
        results[0].reshape(12, 32)[:, :16], a.reshape(12, 40) @ b[:640].reshape(40, 16).astype(np.float64), atol=1e-5
    )


def test_symbolic_sizes_and_strides() -> None:
    """y[j, i] = x[i, j] through strides that depend on the sizes."""
    b = KernelBuilder("transpose", sizes=2)
    m, n = b.sizes
    x = b.buffer("x", F32, (n, m), strides=(1, n))
    y = b.buffer("y", F32, (n, m), access="write")
    with b.parallel((n, 4)) as (block,):
        stop = b.min(block * 4 + 4, n)
        with b.loop(block * 4, stop) as row, b.loop(0, m) as column:
            at = (row.index, column.index)
            b.store(y, at, b.load(x, at))
    kernel = b.build()
    for shape in ((1, 1), (5, 3), (2, 9), (0, 4), (4, 0)):
        x_array = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
        got, expected = np.zeros(shape[::-1], np.float32), np.zeros(shape[::-1], np.float32)
        run(kernel, [x_array, got], shape)
        np.testing.assert_array_equal(got, x_array.T)
        interpret_kernel(kernel, [x_array, expected], shape)
        np.testing.assert_array_equal(expected, x_array.T)


def test_index_arithmetic() -> None:
    """Floor division and modulus of negative and positive numbers, min, max, and a look-up."""
    b = KernelBuilder("indices", sizes=2)
    n, k = b.sizes
    table = b.buffer("table", I64, (n,))
    out = b.buffer("out", I64, (n, 7), access="write")
    with b.parallel((n, 1)) as (i,):
        x = b.index_of(b.load(table, (i,)))
        results = [
            b.floordiv(x, k),
            b.mod(x, k),
            b.floordiv(x, 8),
            b.mod(x, 8),
            b.floordiv(x, 7),
            b.min(x, k),
            b.max(x, k),
        ]
        for column, result in enumerate(results):
            b.store(out, (i, column), b.index_value(result))
    kernel = b.build()
    x_array = np.array([-20, -8, -7, -1, 0, 1, 6, 7, 8, 15, 100], np.int64)
    for k_value in (1, 3, 8):
        columns = [x_array // k_value, x_array % k_value, x_array // 8, x_array % 8, x_array // 7]
        expected = np.stack([*columns, np.minimum(x_array, k_value), np.maximum(x_array, k_value)], 1)
        for execute in (run, interpret_kernel):
            got = np.zeros((len(x_array), 7), np.int64)
            execute(kernel, [x_array, got], [len(x_array), k_value])
            np.testing.assert_array_equal(got, expected)


def test_loops_that_do_not_run_give_their_initial_values() -> None:
    b = KernelBuilder("sums", sizes=1)
    x, y = b.buffer("x", F32, (8,)), b.buffer("y", F32, (1,), access="write")
    s = b.scratch("s", F32, (8,))
    with b.parallel((1, 1)):
        with b.loop(0, b.sizes[0]) as fill:
            b.store(s, (fill.index,), b.load(x, (fill.index,)))
        with b.loop(0, b.sizes[0], 2, carried=(b.constant(100.0, F32),)) as loop:
            b.yield_(b.op("add", loop.carried[0], b.load(s, (loop.index,))))
        b.store(y, (0,), loop.results[0])
    kernel = b.build()
    x_array = np.arange(1, 9, dtype=np.float32)
    for n in range(9):
        got = np.zeros(1, np.float32)
        run(kernel, [x_array, got], [n])
        assert got[0] == 100 + x_array[:n:2].sum()


def test_in_place_and_nontemporal_stores() -> None:
    b = KernelBuilder("update")
    x = b.buffer("x", F32, (64,))
    y = b.buffer("y", F32, (64,), access="write")
    with b.parallel((64, 16)) as (i,):
        v = b.load(x, (i * 16,), lanes=16)
        b.store(y, (i * 16,), b.op("add", v, v), nontemporal=True)
    memory = np.zeros(64 * 4 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    array = memory[start : start + 256].view(np.float32)
    array[:] = np.arange(64)
    run(b.build(), [array, array])
    np.testing.assert_array_equal(array, 2 * np.arange(64))


def test_promised_buffers_have_alias_scopes() -> None:
    b = KernelBuilder("copy")
    x, y = b.buffer("x", F32, (4,)), b.buffer("y", F32, (4,), access="write", noalias=True)
    with b.parallel((4, 1)) as (i,):
        b.store(y, (i,), b.load(x, (i,)))
    text = emit_llvm([b.build()], TARGETS[-1])
    assert [line.count("!alias.scope") for line in text.splitlines() if " store " in line] == [1]
    assert [line.count("!noalias") for line in text.splitlines() if " load float" in line] == [1]


def test_suffixes_let_two_targets_live_together() -> None:
    kernel = gemm(12, 8, 32, 12, 2, 16)
    for target in TARGETS:
        suffix = target.name.replace("-", "_")
        loaded = load_object(compile_object(emit_llvm([lower_kernel(kernel, target)], target, suffix), target))
        assert loaded.address(f"gemm{suffix}")
        with pytest.raises(KeyError):
            loaded.address("gemm")


def test_what_a_pass_should_have_expanded_is_our_mistake() -> None:
    b = KernelBuilder("raw")
    x = b.buffer("x", F32, (4,), access="readwrite")
    with b.parallel((4, 1)) as (i,):
        b.store(x, (i,), b.op("tanh", b.load(x, (i,))))
    with pytest.raises(InternalError, match="tanh on f32 should have been expanded"):
        emit_llvm([b.build()], TARGETS[-1])


def test_damaged_objects_and_text_are_refused() -> None:
    with pytest.raises(InternalError, match="does not link"):
        load_object(b"\x7fELF" + b"\0" * 100)
    with pytest.raises(InternalError, match="LLVM refuses"):
        compile_object("define void @f( {", TARGETS[-1])
