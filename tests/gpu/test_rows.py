"""Every op row on a GPU: the cases that try it on the CPU, as PTX in the interpreter, mean what the evaluator says."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from mlc.ir.graph import OPS
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.target import named_gpu_target
from mlc.ir.types import BF16, BOOL, F16, F32, F64, I8, I64, U32
from tests.gpu.running import OnGpu
from tests.rows.cases import CASES, EVERY
from tests.rows.test_rows import together

ONE_OF_A_KIND = (BOOL, I8, U32, I64, F16, BF16, F32, F64)
PRODUCTS = (I8, BF16, F32)
"""Of rows that have tests of their own."""
FEWER = {
    "dot_general": PRODUCTS, "convolution": PRODUCTS,
    **dict.fromkeys(("reduce", "reduce_window", "select_and_gather", "select_and_scatter", "scatter", "sort"),
                    ONE_OF_A_KIND),
}  # fmt: skip
"""Rows of many kernels, which do the same with all element types of one width or kind; others are tried with each."""
TRIED = ((), (0,), (3, 0, 2), (17, 3))
"""Shapes of elementwise rows: one element, none, and vectors with a rest."""


@pytest.mark.parametrize("name", ["dot_general", "convolution"])
def test_products_in_tf32(name: str) -> None:
    """Some results are farther from the exact ones than f32 may be, none farther than tf32 may."""
    target = named_gpu_target("sm_80-tf32")
    assert target is not None
    graph, arrays = together(name, CASES[name](F32), np.random.default_rng(0))
    got = OnGpu.of(graph, target)(arrays)
    assert_close(graph, arrays, got, name, tf32=True)
    if name == "convolution":  # the products among the cases are too small for matrix units
        with pytest.raises(AssertionError, match="out of bounds"):
            assert_close(graph, arrays, got, name)


@pytest.mark.parametrize("name", CASES)
def test_row(name: str) -> None:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    tried = 0
    for dtype in FEWER.get(name, EVERY):
        cases = CASES[name](dtype)
        if OPS[name].elementwise:
            cases = [c for c in cases if c.operands[0].shape in TRIED]
        if cases:
            graph, arrays = together(name, cases, rng)
            assert_close(graph, arrays, OnGpu.of(graph)(arrays), f"{name} {dtype}")
            tried += 1
    assert tried
