"""Deep sums with few results on a GPU: parts of them side by side, added up in one order."""

from __future__ import annotations

import pytest

from mlc.ir.graph import ADD, MULTIPLY, SUBTRACT, Graph, Node, full_like
from mlc.ir.target import SM_80
from mlc.ir.types import BF16, F32, I32, DType, TensorType
from mlc.passes.schedule import ScheduledRegion, schedule_region
from tests.schedule.running import body_of_types, check_region, random_array
from tests.schedule.test_convolution import TAPS, body_of

from .test_contraction import dot


def scheduled(kind: str, body: Graph) -> ScheduledRegion:
    return schedule_region(kind, body, SM_80)


def check(kind: str, body: Graph, tolerance: float = 1e-6) -> None:
    assert len(scheduled(kind, body).calls) > 1
    arrays = [random_array(p.shape, p.dtype, k) for k, p in enumerate(body.parameters)]  # type: ignore[arg-type]
    check_region(kind, body, arrays, tolerance, targets=(SM_80,), compiled=False)


@pytest.mark.parametrize("dtype, tolerance", [(F32, 1e-6), (BF16, 1e-2), (I32, 0.0)], ids=str)
@pytest.mark.parametrize("k", [512, 1000])
def test_parts_of_products(dtype: DType, tolerance: float, k: int) -> None:
    body = body_of_types(lambda x, y: dot(x, y, 0, 0), TensorType((k, 5), dtype), TensorType((k, 7), dtype))
    check("contraction", body, tolerance)


def step(x: Node, g: Node, w: Node, momentum: Node) -> list[Node]:
    gathered = ADD(MULTIPLY(momentum, full_like(momentum, 0.9)), dot(x, g, 0, 0))
    return [SUBTRACT(w, MULTIPLY(gathered, full_like(gathered, 0.1))), gathered]


def test_an_optimizer_after_parts_in_place() -> None:
    types = [TensorType(s, F32) for s in ((600, 9), (600, 12), (9, 12), (9, 12))]
    body = body_of_types(step, *types)
    check("contraction", body)
    region = scheduled("contraction", body)
    assert {(2, 0), (3, 1)} <= region.in_place
    assert region.temporaries[0] == region.calls[0].tasks[0][0] * 9 * 12 * 4


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("dtype, tolerance", [(F32, 1e-6), (BF16, 1e-2)], ids=str)
def test_parts_of_gradients_of_kernels(features: int, dtype: DType, tolerance: float) -> None:
    body = body_of((6, 10, 10, features), (6, 10, 10, 8), TAPS, dtype, padding=((1, 1), (1, 1)),
                   epilogue=lambda g, w: [SUBTRACT(w, g)], more=((3, 3, features, 8),))  # fmt: skip
    check("convolution", body, tolerance)
    assert (2, 0) in scheduled("convolution", body).in_place


def test_many_results_have_no_parts() -> None:
    body = body_of_types(dot, TensorType((1024, 4096), F32), TensorType((4096, 1024), F32))
    assert len(scheduled("contraction", body).calls) == 1
