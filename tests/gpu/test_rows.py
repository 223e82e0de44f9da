"""Every op row on a GPU: the cases that try it on the CPU, as PTX in the interpreter, mean what the evaluator says."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from mlc.ir.graph.tolerance import assert_close
from tests.gpu.running import OnGpu
from tests.rows.cases import CASES, EVERY
from tests.rows.test_rows import together


@pytest.mark.parametrize("name", CASES)
def test_row(name: str) -> None:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for dtype in EVERY:
        cases = CASES[name](dtype)
        if cases:
            graph, arrays = together(name, cases, rng)
            assert_close(graph, arrays, OnGpu.of(graph)(arrays), f"{name} {dtype}")
