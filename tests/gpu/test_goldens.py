"""Goldens of schedules for GPUs: the kernels of a body, which give what it means. Written by MLC_BLESS=1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlc.ir.graph import parse_graph
from mlc.ir.graph.evaluate import bind_sizes, evaluate_graph
from mlc.ir.kernel import print_kernel
from mlc.ir.target import SM_80
from mlc.passes.schedule import schedule_region
from tests.passes.check import random_array
from tests.passes.golden_files import Golden
from tests.schedule.running import assert_close, interpret

GOLDENS = sorted((Path(__file__).parent / "goldens").glob("*.txt"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda p: p.stem)
def test_schedule(path: Path) -> None:
    golden = Golden.read(path)
    body = parse_graph(golden["body"])
    region = schedule_region(path.stem.partition("_")[0], body, SM_80)
    golden.check("kernels", "\n".join(print_kernel(call.kernel) for call in region.calls))
    arrays = [random_array(np.random.default_rng(i), p.tensor, {}) for i, p in enumerate(body.parameters)]
    found = interpret(region, body, arrays, bind_sizes(body, arrays, {}))
    assert_close(found, evaluate_graph(body, arrays), 1e-6, path.stem)
