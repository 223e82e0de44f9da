"""Every operation on every element type and several lane counts: compiled code against the interpreter."""

from __future__ import annotations

import itertools
from functools import lru_cache

import ml_dtypes
import numpy as np
import pytest

from mlc.codegen import compile_object
from mlc.ir.kernel import Kernel, KernelBuilder, Value, interpret_kernel
from mlc.ir.kernel.ops import DIRECTIONS, ELEMENTWISE, REDUCTIONS, TRANSCENDENTAL
from mlc.ir.target import Target
from mlc.ir.types import BF16, BOOL, DTYPES, F16, F64, DType

from .native import TARGETS, Array, Native, ulps, undefined_symbols

LANES = (1, 4, 8, 16)
COUNT = 192
_KINDS = {"float": "f", "int": "i", "uint": "i", "bool": "b"}


def operations(dtype: DType) -> list[str]:
    return [name for name, op in ELEMENTWISE.items() if _KINDS[dtype.kind] in op.kinds]


def numbers(dtype: DType, seed: int) -> Array:
    """Special values first, then random bit patterns, then ordinary numbers."""
    rng = np.random.default_rng(seed)
    if dtype == BOOL:
        return rng.integers(0, 2, COUNT).astype(bool)
    bits = rng.integers(0, 1 << dtype.bits, COUNT, dtype=np.uint64).astype(f"u{dtype.itemsize}").view(dtype.numpy)
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        special = np.array([0, 1, info.max, info.min, 2, 7, info.max - 1, info.min + 1], dtype.numpy)
        small = rng.integers(0, 9, COUNT // 3).astype(dtype.numpy)
    else:
        special = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 0.5, 2.5, -1.5, 100, 1e-3]).astype(dtype.numpy)
        small = rng.normal(0, 3, COUNT // 3).astype(dtype.numpy)
    return np.concatenate([rng.permutation(special), small, bits])[:COUNT]


def elementwise(name: str, dtype: DType, lanes: int) -> Kernel:
    op = ELEMENTWISE[name]
    return mapped(name, dtype, lanes, op.operands, BOOL if op.result_is_bool else dtype, lambda b, v: b.op(name, *v))


def mapped(name, dtype, lanes, operands, result, write) -> Kernel:  # type: ignore[no-untyped-def]
    """A kernel that loads from each operand, and stores what ``write(builder, values)`` gives."""
    b = KernelBuilder(f"{name}_{dtype}_{lanes}", sizes=1)
    n = b.sizes[0]
    loaded = [b.buffer(f"x{k}", dtype, (n,)) for k in range(operands)]
    stored = b.buffer("y", result, (n,), access="write")
    with b.parallel((n, lanes)) as (i,):
        b.store(stored, (i * lanes,), write(b, [b.load(x, (i * lanes,), lanes=lanes) for x in loaded]))
    return b.build()


def outputs(native: Native, kernel: Kernel, operands: list[Array]) -> tuple[Array, Array]:
    """What compiled code gives, and what the interpreter gives."""
    got = np.zeros(COUNT, kernel.buffers[-1].dtype.numpy)
    native.run(kernel.name, [*operands, got], [COUNT])
    return got, interpreted(kernel, *[x.tobytes() for x in operands])


@lru_cache(maxsize=1000)
def interpreted(kernel: Kernel, *operands: bytes) -> Array:
    """Once for the tests of all targets."""
    *given, expected = (np.zeros(COUNT, m.dtype.numpy) for m in kernel.buffers)
    for array, data in zip(given, operands, strict=True):
        array[:] = np.frombuffer(data, array.dtype)
    interpret_kernel(kernel, [*given, expected], [COUNT])
    expected.flags.writeable = False
    return expected


def assert_same(got: Array, expected: Array, what: str) -> None:
    """Equal bits; NaNs are alike."""
    if got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, expected, err_msg=what)
        return
    unsigned = f"u{got.dtype.itemsize}"
    same = (got.view(unsigned) == expected.view(unsigned)) | (np.isnan(got) & np.isnan(expected))
    assert same.all(), f"{what}: {got[~same][:4]} instead of {expected[~same][:4]} at {np.flatnonzero(~same)[:4]}"


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_elementwise(dtype: DType, target: Target) -> None:
    kernels = [elementwise(name, dtype, lanes) for name in operations(dtype) for lanes in LANES]
    native = Native(kernels, target)
    operands = [numbers(dtype, seed) for seed in range(3)]
    for kernel in kernels:
        given = operands[: len(kernel.buffers) - 1]
        got, expected = outputs(native, kernel, given)
        name = kernel.name.rsplit("_", 2)[0]
        if name in TRANSCENDENTAL:
            error = ulps(got, expected.astype(np.longdouble))
            worst = int(np.argmax(error))
            at = [float(x[worst]) for x in given]
            assert error[worst] <= 2, f"{kernel.name}{at} = {got[worst]}, not {expected[worst]}"
        else:
            assert_same(got, expected, kernel.name)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_compare_and_select(dtype: DType, target: Target) -> None:
    def write(direction: str):  # type: ignore[no-untyped-def]
        return lambda b, v: b.select(b.compare(direction, v[0], v[1]), v[1], v[2])

    kernels = [mapped(d, dtype, lanes, 3, dtype, write(d)) for d in DIRECTIONS for lanes in LANES]
    native = Native(kernels, target)
    x, y, z = (numbers(dtype, seed) for seed in range(3))
    y[::3] = x[::3]
    for kernel in kernels:
        assert_same(*outputs(native, kernel, [x, y, z]), kernel.name)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_convert(dtype: DType, target: Target) -> None:
    kernels = [
        mapped(f"to_{result}", dtype, lanes, 1, result, lambda b, v, result=result: b.convert(v[0], result))
        for result in DTYPES.values()
        for lanes in LANES
    ]
    native = Native(kernels, target)
    for kernel in kernels:
        assert_same(*outputs(native, kernel, [numbers(dtype, 5)]), kernel.name)


@pytest.mark.parametrize("dtype", (F16, BF16), ids=str)
def test_narrow_floats_round_once(dtype: DType) -> None:
    """From f64, near the middle between two numbers, where rounding to f32 first would go wrong."""
    rng = np.random.default_rng(0)
    low = rng.normal(0, 10, COUNT).astype(dtype.numpy).astype(np.float64)
    step = np.ldexp(1.0, np.frexp(low)[1] - 1 - ml_dtypes.finfo(dtype.numpy).nmant)
    middle = low + step * 0.5 * np.sign(low)
    above = np.arange(COUNT) % 2 == 1
    x = middle * (1 + np.where(above, 1, -1) * 2.0**-40)
    kernel = mapped("narrow", F64, 8, 1, dtype, lambda b, v: b.convert(v[0], dtype))
    got, expected = outputs(Native([kernel], TARGETS[-1]), kernel, [x])
    assert_same(got, expected, kernel.name)
    np.testing.assert_array_equal(got.astype(np.float64), np.where(above, low + step * np.sign(low), low))


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_reduce(dtype: DType, target: Target) -> None:
    names = [r for r in REDUCTIONS if _KINDS[dtype.kind] in ELEMENTWISE[r].kinds]

    def write(op: str, lanes: int):  # type: ignore[no-untyped-def]
        return lambda b, v: b.splat(b.reduce(op, v[0]), lanes)

    kernels = [mapped(f"reduce_{op}", dtype, lanes, 1, dtype, write(op, lanes)) for op in names for lanes in LANES]
    native = Native(kernels, target)
    ordinary = np.random.default_rng(1).normal(0, 1, COUNT).astype(dtype.numpy)
    operand = ordinary if dtype.is_float else numbers(dtype, 1)
    for kernel in kernels:
        assert_same(*outputs(native, kernel, [operand]), kernel.name)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_lane_movement(dtype: DType, target: Target) -> None:
    def write(b: KernelBuilder, v: list[Value]) -> Value:
        x, y = v
        lanes = x.lanes
        mixed = b.shuffle(x, y, [(3 * k + 1) % (2 * lanes) for k in range(lanes)])
        mixed = b.insert(mixed, b.extract(y, lanes // 2), lanes - 1)
        if dtype != BOOL:
            unsigned = DTYPES[f"u{dtype.bits}"]
            return b.bitcast(b.bitcast(mixed, unsigned), dtype)
        return mixed

    kernels = [mapped("move", dtype, lanes, 2, dtype, write) for lanes in LANES]
    native = Native(kernels, target)
    for kernel in kernels:
        assert_same(*outputs(native, kernel, [numbers(dtype, 2), numbers(dtype, 3)]), kernel.name)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_masked_memory(dtype: DType, target: Target) -> None:
    """A copy of a size that is no multiple of the lanes; what lies behind stays as it was."""
    kernels = []
    for lanes in LANES:
        b = KernelBuilder(f"copy_{dtype}_{lanes}", sizes=1)
        n = b.sizes[0]
        x, y = b.buffer("x", dtype, (n,)), b.buffer("y", dtype, (n,), access="write")
        with b.parallel((n, lanes)) as (i,):
            mask = b.tail_mask(i * lanes, n, lanes)
            b.store(y, (i * lanes,), b.load(x, (i * lanes,), lanes=lanes, mask=mask), mask=mask)
        kernels.append(b.build())
    native = Native(kernels, target)
    for kernel in kernels:
        for size in (1, 5, 16, 37):
            x, y = numbers(dtype, 4), numbers(dtype, 6)
            expected = np.concatenate([x[:size], y[size:]])
            native.run(kernel.name, [x, y], [size])
            assert_same(y, expected, f"{kernel.name} of {size}")
            expected = np.zeros(size, dtype.numpy)
            interpret_kernel(kernel, [x[:size].copy(), expected], [size])
            assert_same(expected, x[:size], f"interpreted {kernel.name} of {size}")


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_a_tail_of_known_size_stores_no_more(dtype: DType, target: Target) -> None:
    """Values that are narrowed as they are stored, too."""
    sources = [t for t in DTYPES.values() if t.bits >= dtype.bits and t.kind == dtype.kind]
    cases = [c for c in itertools.product(sources, LANES, (1, 2)) if c[2] <= c[1]]
    kernels = []
    for source, lanes, tail in cases:
        b = KernelBuilder(f"from_{source}_{lanes}_{tail}")
        x = b.buffer("x", source, (lanes + tail,))
        y = b.buffer("y", dtype, (lanes + tail,), access="write")
        with b.parallel((1, 1)):
            mask = b.tail_mask(lanes, lanes + tail, lanes)
            value = b.load(x, (lanes,), lanes=lanes, mask=mask)
            b.store(y, (lanes,), value if source == dtype else b.convert(value, dtype), mask=mask)
        kernels.append(b.build())
    native = Native(kernels, target)
    for kernel, (source, lanes, tail) in zip(kernels, cases, strict=True):
        end = lanes + tail
        before = numbers(dtype, 6)
        after = before.copy()
        native.run(kernel.name, [numbers(source, 4)[:end], after])
        assert after[end:].tobytes() == before[end:].tobytes(), kernel.name
        assert after[:lanes].tobytes() == before[:lanes].tobytes(), kernel.name


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_sources(target: Target) -> None:
    """Constants with a number a lane, iota and index values."""
    kernels = []
    for dtype in DTYPES.values():
        if dtype == BOOL:
            continue
        b = KernelBuilder(f"sources_{dtype}", sizes=1)
        y = b.buffer("y", dtype, (b.sizes[0], 8), access="write")
        with b.parallel((b.sizes[0], 1)) as (i,):
            v = b.op("add", b.constant([1, 2, 3, 4, 5, 6, 7, 0], dtype), b.iota(dtype, 8))
            index = b.index_value(i * i + 3, DTYPES["i32"])
            b.store(y, (i, 0), b.op("multiply", v, b.splat(b.convert(index, dtype), 8)))
        kernels.append(b.build())
    native = Native(kernels, target)
    for kernel in kernels:
        dtype = kernel.buffers[0].dtype.numpy
        got = np.zeros((4, 8), dtype)
        native.run(kernel.name, [got], [4])
        lanes = np.array([1, 3, 5, 7, 9, 11, 13, 7])
        assert_same(got, (lanes * np.array([[3], [4], [7], [12]])).astype(dtype), kernel.name)


def test_calls_to_a_library_would_be_seen() -> None:
    """Native asserts for every kernel that no call to a library hides in it; this one has such a call."""
    text = """define float @f(float %x, float %y) {
      %r = frem float %x, %y
      ret float %r
    }"""
    assert undefined_symbols(compile_object(text, TARGETS[-1])) == {"fmodf"}
