"""Every op row on a GPU: the cases that try it on the CPU, as PTX in the interpreter, mean what the evaluator says."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from mlc.errors import UnsupportedError
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.types import F32
from tests.gpu.running import OnGpu
from tests.rows.cases import CASES, EVERY
from tests.rows.test_rows import together

ON_THE_HOST = {"sort"}
"""Rows that have no schedule for GPUs."""


@pytest.mark.parametrize("name", [n for n in CASES if n not in ON_THE_HOST])
def test_row(name: str) -> None:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for dtype in EVERY:
        cases = CASES[name](dtype)
        if cases:
            graph, arrays = together(name, cases, rng)
            assert_close(graph, arrays, OnGpu.of(graph)(arrays), f"{name} {dtype}")


@pytest.mark.parametrize("name", sorted(ON_THE_HOST))
def test_row_without_a_schedule(name: str) -> None:
    rng = np.random.default_rng(1)
    graph, _ = together(name, CASES[name](F32), rng)
    with pytest.raises(UnsupportedError, match="has no schedule for GPUs"):
        OnGpu.of(graph)
