"""Random programs as PTX mean what the evaluator says: MLC_FUZZ_GPU says how many."""

from __future__ import annotations

import os

import pytest

from mlc.ir.graph import COLLECTIVE_DONE, COLLECTIVE_START, COLLECTIVES
from mlc.ir.graph.tolerance import assert_close
from tests.fuzz.programs import program
from tests.gpu.running import OnGpu

OF_MANY = tuple(op.name for op in (*COLLECTIVES, COLLECTIVE_START, COLLECTIVE_DONE))
PROGRAMS = int(os.environ.get("MLC_FUZZ_GPU", "20"))


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_program(seed: int) -> None:
    graph, arrays = program(seed, without=("fusion", *OF_MANY))
    assert_close(graph, arrays, OnGpu.of(graph)(arrays), f"program {seed}")
