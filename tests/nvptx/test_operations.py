"""Every operation on every element type: PTX in the interpreter of PTX against the kernel's meaning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlc.ir.kernel import Kernel, KernelBuilder, Value, interpret_kernel
from mlc.ir.kernel.ops import DIRECTIONS, ELEMENTWISE, REDUCTIONS, TRANSCENDENTAL
from mlc.ir.types import BOOL, DTYPES, DType
from tests.codegen.native import Array, ulps
from tests.codegen.test_operations import COUNT, assert_same, numbers, operations

from .device import Device

LANES = (1, 4)
THREADS = 16  # of a block
EACH = pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)


def mapped(
    name: str,
    dtype: DType,
    lanes: int,
    operands: int,
    result: DType,
    write: Callable[[KernelBuilder, list[Value]], Value],
) -> Kernel:
    """A kernel that loads from each operand, and stores what ``write(builder, values)`` gives."""
    b = KernelBuilder(f"{name}_{dtype}_{lanes}", sizes=1)
    n = b.sizes[0]
    loaded = [b.buffer(f"x{k}", dtype, (n,), noalias=True) for k in range(operands)]
    stored = b.buffer("y", result, (n,), access="write", noalias=True)
    with b.parallel((n, THREADS * lanes), (THREADS, 1), threads=1) as (i, t):
        at = (i * (THREADS * lanes) + t * lanes,)
        b.store(stored, at, write(b, [b.load(x, at, lanes=lanes) for x in loaded]))
    return b.build()


def elementwise(name: str, dtype: DType, lanes: int) -> Kernel:
    op = ELEMENTWISE[name]
    return mapped(name, dtype, lanes, op.operands, BOOL if op.result_is_bool else dtype, lambda b, v: b.op(name, *v))


def outputs(device: Device, kernel: Kernel, operands: list[Array]) -> tuple[Array, Array]:
    """What PTX gives, and what the kernel means."""
    result = kernel.buffers[-1].dtype.numpy
    got, expected = np.zeros(COUNT, result), np.zeros(COUNT, result)
    device.run(kernel.name, [*operands, got], [COUNT])
    interpret_kernel(kernel, [*operands, expected], [COUNT])
    return got, expected


@EACH
def test_elementwise(dtype: DType) -> None:
    kernels = [elementwise(name, dtype, n) for name in operations(dtype) for n in LANES[name in TRANSCENDENTAL :]]
    device, operands = Device(kernels), [numbers(dtype, seed) for seed in range(3)]
    for kernel in kernels:
        given = operands[: len(kernel.buffers) - 1]
        got, expected = outputs(device, kernel, given)
        if kernel.name.rsplit("_", 2)[0] in TRANSCENDENTAL:
            error = ulps(got, expected.astype(np.longdouble))
            worst = int(np.argmax(error))
            at = [float(x[worst]) for x in given]
            assert error[worst] <= 2, f"{kernel.name}{at} = {got[worst]}, not {expected[worst]}"
        else:
            assert_same(got, expected, kernel.name)


@EACH
def test_compare_and_select(dtype: DType) -> None:
    def write(direction: str) -> Callable[[KernelBuilder, list[Value]], Value]:
        return lambda b, v: b.select(b.compare(direction, v[0], v[1]), v[1], v[2])

    kernels = [mapped(d, dtype, lanes, 3, dtype, write(d)) for d in DIRECTIONS for lanes in LANES]
    device = Device(kernels)
    x, y, z = (numbers(dtype, seed) for seed in range(3))
    y[::3] = x[::3]
    for kernel in kernels:
        assert_same(*outputs(device, kernel, [x, y, z]), kernel.name)


@EACH
def test_convert(dtype: DType) -> None:
    kernels = [
        mapped(f"to_{result}", dtype, lanes, 1, result, lambda b, v, result=result: b.convert(v[0], result))
        for result in DTYPES.values()
        for lanes in LANES
    ]
    device = Device(kernels)
    for kernel in kernels:
        assert_same(*outputs(device, kernel, [numbers(dtype, 5)]), kernel.name)


@EACH
def test_lanes(dtype: DType) -> None:
    """Reductions over lanes, and what moves them."""
    names = [r for r in REDUCTIONS if {"float": "f", "bool": "b"}.get(dtype.kind, "i") in ELEMENTWISE[r].kinds]

    def reduced(op: str) -> Callable[[KernelBuilder, list[Value]], Value]:
        return lambda b, v: b.splat(b.reduce(op, v[0]), 4)

    def moved(b: KernelBuilder, v: list[Value]) -> Value:
        x, y = v
        turned = b.shuffle(x, y, (6, 1, 4, 3))
        return b.insert(turned, b.extract(x, 2), 1)

    kernels = [mapped(f"reduce_{op}", dtype, 4, 1, dtype, reduced(op)) for op in names]
    kernels.append(mapped("moved", dtype, 4, 2, dtype, moved))
    device = Device(kernels)
    ordinary = np.random.default_rng(1).normal(0, 1, COUNT).astype(dtype.numpy)
    operand = ordinary if dtype.is_float else numbers(dtype, 1)
    for kernel in kernels:
        assert_same(*outputs(device, kernel, [operand, numbers(dtype, 2)][: len(kernel.buffers) - 1]), kernel.name)
