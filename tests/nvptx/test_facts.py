"""Divisors and ranges of indices hold for every value that a kernel gives them; arithmetic is as wide as it must be."""

from __future__ import annotations

import itertools

import numpy as np

from mlc.codegen.nvptx import emit_module
from mlc.codegen.nvptx.facts import Divisors, Ranges
from mlc.ir.kernel import Index, Kernel, KernelBuilder
from mlc.ir.target import SM_80
from mlc.ir.types import I8, I32, I64, U32
from mlc.passes.kernels import lower_kernel

from .device import run


def every_index() -> tuple[Kernel, list[Index]]:
    """Stores of every kind of index, over numbers of both signs."""
    b = KernelBuilder("indices", sizes=1)
    small = b.buffer("small", I8, (40,))
    y = b.buffer("y", I64, (40, 12), access="write")
    with b.parallel((5, 1), (8, 1), threads=1) as (i, t):
        at = i * 8 + t
        offset = at * 6 - 100
        given = b.index_of(b.load(small, (at,)))
        found = [
            offset, b.floordiv(offset, 7), b.mod(offset, 7), b.floordiv(at * 4, 6), b.mod(at * 4, 6), given,
            b.min(offset, at * 3 - 60), b.max(offset, given * 2), b.mod(given * 12, 8), b.floordiv(given, b.sizes[0]),
            b.mod(at, b.sizes[0] + 3), at * 5_000_000_000,
        ]  # fmt: skip
        for k, index in enumerate(found):
            b.store(y, (at, k), b.index_value(index))
    return b.build(), found


def test_facts_hold_and_numbers_are_right() -> None:
    kernel, found = every_index()
    small = np.arange(40, dtype=np.int8) * 6 - 117
    got = np.zeros((40, 12), np.int64)
    run(kernel, [small, got], [5])
    at, given = np.arange(40, dtype=np.int64), small.astype(np.int64)
    offset = at * 6 - 100
    want = [
        offset, offset // 7, offset % 7, at * 4 // 6, at * 4 % 6, given, np.minimum(offset, at * 3 - 60),
        np.maximum(offset, given * 2), given * 12 % 8, given // 5, at % 8, at * 5_000_000_000,
    ]  # fmt: skip
    np.testing.assert_array_equal(got, np.stack(want, 1))
    divisors, ranges = Divisors(kernel), Ranges(kernel)
    for index, values in zip(found, want, strict=True):
        divisor, (least, most) = divisors.of(index), ranges.of(index)
        assert not (values % divisor).any() if divisor else not values.any()
        assert least <= values.min() and values.max() <= most
    assert divisors.of(found[0]) == 2 and divisors.of(found[8]) == 4
    assert ranges.of(found[2]) == (0, 6) and ranges.of(found[4]) == (0, 5)


def test_loops_of_both_widths() -> None:
    """One counts to a number that is known, one to a size; each starts where a thread says."""
    b = KernelBuilder("counts", sizes=1)
    y = b.buffer("y", I32, (2, 8), access="write")
    with b.parallel((1, 1), (8, 1), threads=1) as (_, t):
        for row, stop in enumerate((Index.of(20), b.sizes[0])):
            with b.loop(t * 3 - 3, stop, step=3, carried=(b.constant(0, I32),)) as loop:
                b.yield_(b.op("add", loop.carried[0], b.index_value(loop.index * loop.index, I32)))
            b.store(y, (row, t), loop.results[0])
    kernel = b.build()
    text = emit_module([lower_kernel(kernel, SM_80)], SM_80)
    assert "phi i32 [ %" in text and "= phi i64" in text
    for n in (0, 7, 40):
        got = np.zeros((2, 8), np.int32)
        run(kernel, [got], [n])
        want = [[sum(i * i for i in range(t * 3 - 3, stop, 3)) for t in range(8)] for stop in (20, n)]
        np.testing.assert_array_equal(got, want)


def test_static_shapes_are_taken_apart_in_32_bits() -> None:
    b = KernelBuilder("apart")
    y = b.buffer("y", U32, (1000, 30), access="write")
    with b.parallel((1000 * 30, 256), (256, 1), threads=1) as (i, t):
        flat = i * 256 + t
        row, column = b.floordiv(flat, 30), b.mod(flat, 30)
        inside = b.compare("LT", b.index_value(flat), b.constant(30_000, I64))
        b.store(y, (row, column), b.index_value(row * column, U32), mask=inside)
    kernel = b.build()
    text = emit_module([lower_kernel(kernel, SM_80)], SM_80)
    for op, kind in itertools.product(("udiv", "urem", "mul"), ("i64",)):
        assert f"{op} {kind}" not in text
    got = np.zeros((1000, 30), np.uint32)
    run(kernel, [got])
    np.testing.assert_array_equal(got, np.outer(np.arange(1000), np.arange(30)))
