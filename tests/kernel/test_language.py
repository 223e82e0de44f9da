"""While loops, tables, dot products of neighbours, odd widths, unused sizes: text, interpreter and code agree."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.errors import InternalError, ParseError, VerifyError
from mlc.ir.kernel import Kernel, KernelBuilder, interpret_kernel, parse_kernel, verify_kernel
from mlc.ir.kernel.numeric import dot
from mlc.ir.target import X86_64_V4_DOT, Target, host_runs
from mlc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType
from mlc.passes.kernels import lower_kernel
from tests.codegen.native import TARGETS, run

ALL = [*TARGETS, X86_64_V4_DOT] if host_runs(X86_64_V4_DOT) else TARGETS
EACH = pytest.mark.parametrize("target", ALL, ids=lambda t: t.name)


def check(kernel: Kernel, arrays: list[np.ndarray], target: Target, sizes: tuple[int, ...] = ()) -> list[np.ndarray]:
    """The arrays after the kernel ran: the same from its text, by interpreter (lowered or not), and by its code."""
    again = parse_kernel(str(kernel))
    assert str(again) == str(kernel)
    results = []
    for kind in (kernel, lower_kernel(again, target)):
        verify_kernel(kind)
        results.append([a.copy() for a in arrays])
        interpret_kernel(kind, results[-1], list(sizes))
    results.append([a.copy() for a in arrays])
    run(again, results[-1], sizes, target)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    return results[0]


@EACH
def test_while(target: Target) -> None:
    """Collatz steps of each number, which no counted loop knows; some take no step at all."""
    b = KernelBuilder("steps", sizes=1)
    x, y = b.buffer("x", I64, (b.sizes[0],)), b.buffer("y", I32, (b.sizes[0],), access="write")
    with b.parallel((b.sizes[0], 1)) as (i,):
        one, two, three = (b.constant(k, I64) for k in (1, 2, 3))
        with b.while_(b.load(x, (i,)), b.constant(0, I32)) as loop:
            number, steps = loop.carried
            b.condition(b.compare("GT", number, one))
            odd = b.compare("EQ", b.op("remainder", number, two), one)
            more = b.op("add", b.op("multiply", number, three), one)
            b.yield_(b.select(odd, more, b.op("divide", number, two)), b.op("add", steps, b.constant(1, I32)))
        b.store(y, (i,), loop.results[1])
    numbers = np.array([1, 2, 3, 7, 27, 0, 97], np.int64)
    _, found = check(b.build(), [numbers, np.zeros(7, np.int32)], target, (7,))
    np.testing.assert_array_equal(found, [0, 1, 7, 16, 111, 0, 118])


@EACH
def test_nested_while_in_a_loop(target: Target) -> None:
    """Newton's square root to convergence inside of a counted loop, with a store in the body."""
    b = KernelBuilder("roots")
    x, y, n = (
        b.buffer("x", F64, (5,)),
        b.buffer("y", F64, (5,), access="write"),
        b.buffer("n", I32, (5,), access="write"),
    )
    with b.parallel((1, 1)), b.loop(0, 5) as row:
        at, half = b.load(x, (row.index,)), b.constant(0.5, F64)
        with b.while_(at, b.constant(0, I32)) as loop:
            guess, steps = loop.carried
            error = b.op("abs", b.op("subtract", b.op("multiply", guess, guess), at))
            b.condition(b.compare("GT", error, b.op("multiply", at, b.constant(1e-14, F64))))
            following = b.op("multiply", half, b.op("add", guess, b.op("divide", at, guess)))
            b.store(y, (row.index,), following)
            b.yield_(following, b.op("add", steps, b.constant(1, I32)))
        b.store(y, (row.index,), loop.results[0])
        b.store(n, (row.index,), loop.results[1])
    values = np.array([1.0, 2.0, 1e-3, 12345.0, 9.0])
    _, roots, steps = check(b.build(), [values, np.zeros(5), np.zeros(5, np.int32)], target)
    np.testing.assert_allclose(roots, np.sqrt(values), rtol=1e-13)
    assert steps[0] == 0
    assert (steps[1:] > 2).all()


@EACH
def test_tables(target: Target) -> None:
    """Offsets, and floats with their bits, from constant memory."""
    b = KernelBuilder("pick")
    x, y = b.buffer("x", F32, (64,)), b.buffer("y", F32, (2, 8), access="write")
    offsets = b.table("offsets", I32, (2, 8), [3, 1, 63, 0, 5, 5, 7, 31, *range(8)])
    scales, flags = (
        b.table("scales", F32, (2,), [np.float32(np.nan), -0.1]),
        b.table("flags", BOOL, (2,), [True, False]),
    )
    with b.parallel((2, 1)) as (i,):
        v = b.gather(x, (0,), b.load(offsets, (i, 0), lanes=8))
        scaled = b.op("multiply", v, b.splat(b.load(scales, (i,)), 8))
        b.store(y, (i, 0), b.select(b.splat(b.load(flags, (i,)), 8), v, scaled))
    kernel = b.build()
    assert "table %offsets i32[2, 8] [3, 1, 63, 0, 5" in str(kernel)
    values = np.random.default_rng(0).normal(size=64).astype(np.float32)
    _, found = check(kernel, [values, np.zeros((2, 8), np.float32)], target)
    np.testing.assert_array_equal(found[0], values[[3, 1, 63, 0, 5, 5, 7, 31]])
    np.testing.assert_array_equal(found[1], values[:8] * np.float32(-0.1))


def dots(op: str, x: DType, y: DType, total: DType, lanes: int) -> Kernel:
    b, width = KernelBuilder("dots"), int(op[-1])
    left, right = b.buffer("x", x, (width * lanes,)), b.buffer("y", y, (width * lanes,))
    out = b.buffer("z", total, (lanes,), access="readwrite")
    with b.parallel((1, 1)):
        operands = [b.load(m, (0,), lanes=width * lanes) for m in (left, right)]
        b.store(out, (0,), b.value(op, (*operands, b.load(out, (0,), lanes=lanes))))
    return b.build()


@EACH
@pytest.mark.parametrize("lanes", [1, 3, 4, 8, 16, 32])
@pytest.mark.parametrize("x, y", [(I8, I8), (U8, I8), (I8, U8), (U8, U8)], ids=str)
def test_dot4(x: DType, y: DType, lanes: int, target: Target) -> None:
    """All corners of the ranges; sums wrap."""
    rng = np.random.default_rng(lanes)
    given = [rng.choice([*t.limits, 0, 1, 77], 4 * lanes).astype(t.numpy) for t in (x, y)]
    start = rng.choice([-(2**31), 2**31 - 1, 0, 5], lanes).astype(np.int32)
    (*_, found) = check(dots("dot4", x, y, I32, lanes), [*given, start], target)
    exact = (given[0].astype(np.int64) * given[1]).reshape(-1, 4).sum(axis=1) + start
    np.testing.assert_array_equal(found, exact.astype(np.int32))


@EACH
@pytest.mark.parametrize("lanes", [1, 3, 4, 8, 16, 32])
@pytest.mark.parametrize("x", [BF16, F16, I16], ids=str)
def test_dot2(x: DType, lanes: int, target: Target) -> None:
    rng = np.random.default_rng(lanes)
    total = I32 if x is I16 else F32
    values = rng.integers(-(2**15), 2**15, (2, 2 * lanes)) if x is I16 else rng.normal(size=(2, 2 * lanes))
    given, start = [v.astype(x.numpy) for v in values], rng.normal(size=lanes).astype(total.numpy)
    (*_, found) = check(dots("dot2", x, x, total, lanes), [*given, start], target)
    exact = (given[0].astype(np.float64) * given[1].astype(np.float64)).reshape(-1, 2).sum(axis=1) + start
    if x is I16:
        np.testing.assert_array_equal(found, exact.astype(np.int64).astype(np.int32))
    else:
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


def test_dot2_rounds_each_step_once() -> None:
    x, y = np.array([1.0, 2.0**-13], np.float16), np.array([2.0**-12, 2.0**-13], np.float16)
    assert dot(2, x, y, np.array([1.0], np.float32))[0] == np.float32(1 + 2.0**-12 + 2.0**-26)
    assert dot(2, x[::-1], y[::-1], np.array([2.0], np.float32))[0] == np.float32(2 + 2.0**-12)


@EACH
@pytest.mark.parametrize("lanes", [2, 3, 5, 7, 12, 24])
@pytest.mark.parametrize("dtype", [F32, F64, F16, BF16, I8, I16, I64, U8, BOOL], ids=str)
def test_odd_widths(dtype: DType, lanes: int, target: Target) -> None:
    """Loads, masks, arithmetic, conversions and stores of vectors that fill no register; sizes that nothing uses."""
    b = KernelBuilder("odd", sizes=3)
    n = b.sizes[1]
    x, y = b.buffer("x", dtype, (n,)), b.buffer("y", dtype, (n,), access="write")
    z = b.buffer("z", F32, (n,), access="write")
    with b.parallel((n, lanes)) as (i,):
        mask = b.tail_mask(i * lanes, n, lanes)
        v = b.load(x, (i * lanes,), lanes=lanes, mask=mask)
        total = b.op("add", b.shuffle(v, v, range(lanes)[::-1]), v)
        b.store(y, (i * lanes,), total, mask=mask)
        b.store(z, (i * lanes,), b.convert(b.select(b.compare("GT", v, total), total, v), F32), mask=mask)
    size = 3 * lanes - 1
    rng = np.random.default_rng(lanes)
    values = (rng.integers(0, 2, size) if dtype is BOOL else rng.integers(0, 50, size)).astype(dtype.numpy)
    garbage = [np.zeros(size, dtype.numpy), np.zeros(size, np.float32)]
    _, y_found, _ = check(b.build(), [values, *garbage], target, (99, size, 77))
    padded = np.concatenate([values, np.zeros(1, dtype.numpy)]).reshape(3, lanes)
    want = padded[:, ::-1] | padded if dtype is BOOL else padded[:, ::-1] + padded
    np.testing.assert_array_equal(y_found, want.reshape(-1)[:size])


def test_what_the_text_may_not_say() -> None:
    text = str(dots("dot4", U8, I8, I32, 4))
    with pytest.raises(ParseError, match="is not 4 times as long as i32x8"):
        parse_kernel(text.replace("i32[4]", "i32[8]").replace("i32x4", "i32x8"))
    with pytest.raises(ParseError, match="is not defined on u8x16 into u8x4"):
        parse_kernel(text.replace("i32", "u8"))
    with pytest.raises(ParseError, match="operand types differ: u8x16, i16x16"):
        parse_kernel(text.replace("%y i8", "%y i16").replace(": i8x16", ": i16x16"))
    with pytest.raises(ParseError, match="condition i32 is no bool"):
        parse_kernel(
            "kernel @k sizes 0 {\n parallel () {\n %0 = constant[1] : i32\n while {\n condition %0\n } do {\n }\n }\n}"
        )
    with pytest.raises(VerifyError, match="3 numbers for 4 elements"):
        b = KernelBuilder("short")
        b.table("t", I8, (4,), [1, 2, 3])
        with b.parallel():
            pass
        b.build()
    with pytest.raises(VerifyError, match="has no condition"):
        b = KernelBuilder("endless")
        with b.parallel(), b.while_():
            pass


def test_operations_of_a_block_are_refused_on_a_cpu() -> None:
    b = KernelBuilder("meet")
    with b.parallel((1, 1), (32, 1), threads=1):
        b.machine("barrier")
    with pytest.raises(InternalError, match="barrier is an operation of a block of threads"):
        run(b.build(), [])


@EACH
def test_bitcast_to_more_and_fewer_lanes(target: Target) -> None:
    """The first lane is in the lowest bits, as in memory."""
    b = KernelBuilder("bits")
    x, y, z = (b.buffer(name, I64, (4,), access="read" if name == "x" else "write") for name in "xyz")
    with b.parallel((1, 1)):
        words = b.bitcast(b.load(x, (0,), lanes=4), I16)
        b.store(y, (0,), b.bitcast(b.shuffle(words, words, [k ^ 1 for k in range(16)]), I64))
        b.store(z, (0,), b.bitcast(b.extract(b.bitcast(b.bitcast(words, U8), F64), 2), I64))
    values = np.random.default_rng(0).integers(-(2**62), 2**62, 4)
    _, y_found, z_found = check(b.build(), [values, np.zeros(4, np.int64), np.zeros(4, np.int64)], target)
    np.testing.assert_array_equal(y_found.view(np.int16).reshape(8, 2), values.view(np.int16).reshape(8, 2)[:, ::-1])
    assert z_found[0] == values[2]
