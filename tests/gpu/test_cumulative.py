"""Few long rows folded up to each element on a GPU: in parts, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.ir.target import SM_80
from mlc.ir.types import F32, I32, TensorType
from mlc.passes.schedule import schedule_region
from tests.schedule.running import body_of_types, interpret, random_array


@pytest.mark.parametrize("shape", [(1, 17_000), (2, 9001), (3, 40_000)], ids=str)
def test_rows_in_parts(shape: tuple[int, int]) -> None:
    body = body_of_types(lambda x: g.cumulative(g.ADD, x, 1), TensorType(shape, I32))
    region = schedule_region("cumulative", body, SM_80)
    assert [c.kernel.name for c in region.calls] == ["cumulative_add_totals", "cumulative_add", "cumulative_add"]
    x = random_array(shape, I32)
    np.testing.assert_array_equal(interpret(region, body, [x], {})[0], np.cumsum(x, 1, dtype=np.int32))


def test_many_rows_are_whole() -> None:
    body = body_of_types(lambda x: g.cumulative(g.ADD, x, 1), TensorType((200, 9000), F32))
    assert len(schedule_region("cumulative", body, SM_80).calls) == 1
