"""Every barrier that schedules write is needed: without it the interpreter sees a race, or the numbers are wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.ir.graph import Graph, Node, constant
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.types import F32, I64, TensorType
from tests.gpu.running import OnGpu
from tests.ptx.errors import PtxError
from tests.ptx.mutate import mutations
from tests.schedule.running import body_of_types
from tests.schedule.test_sort import in_order, numbers

Array = Any


def fold(x: Node, *axes: int, op: g.Op = g.ADD) -> Node:
    first = constant(g.identity_of(op, x.dtype), x.dtype)
    return g.REDUCE(x, first, dimensions=axes, body=g.body_of(op, x.dtype))


def columns(x: Node) -> Sequence[Node]:
    return fold(x, 0), fold(x, 0, op=g.MAXIMUM)


def softmax(x: Node) -> Node:
    largest = g.broadcast_in_dim(fold(x, 1, op=g.MAXIMUM), x.shape, (0,))
    e = g.EXPONENTIAL(g.SUBTRACT(x, largest))
    return g.DIVIDE(e, g.broadcast_in_dim(fold(e, 1), x.shape, (0,)))


CASES: dict[str, tuple[Callable[[Node], Node | Sequence[Node]], tuple[int, ...]]] = {
    "turned": (lambda x: g.TRANSPOSE(x, permutation=(1, 0)), (40, 70)),
    "rows": (lambda x: fold(x, 1), (3, 1201)),
    "columns": (columns, (150, 3)),
    "parts": (lambda x: fold(x, 0), (9001,)),
    "softmax": (softmax, (2, 1500)),
    "long softmax": (softmax, (1, 20004)),
    "cumulative": (lambda x: g.cumulative(g.ADD, x, 1), (2, 2100)),
    "cumulative parts": (lambda x: g.cumulative(g.MAXIMUM, x, 1), (1, 5003)),
}


def case(name: str) -> tuple[Graph, list[Array]]:
    if name == "sort":
        return body_of_types(in_order, TensorType((2, 128), I64)), [numbers((2, 128), I64)]
    function, shape = CASES[name]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return body_of_types(function, TensorType(shape, F32)), [x]


@pytest.mark.parametrize("name", [*CASES, "sort"])
def test_a_deleted_barrier_is_seen(name: str) -> None:
    graph, arrays = case(name)
    whole = OnGpu.of(graph)
    assert_close(graph, arrays, whole(arrays), name)
    tried = 0
    for line, barrier, text in mutations(whole.ptx):
        with pytest.raises((PtxError, AssertionError)):
            assert_close(graph, arrays, replace(whole, ptx=text)(arrays), f"{name} without {barrier} at line {line}")
        tried += 1
    assert tried
