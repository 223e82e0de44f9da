"""Each pair that a schedule says may share memory does so in the PTX interpreter, which sees what is read too late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.codegen.nvptx import compile_ptx
from mlc.ir.graph import Graph, Node
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.target import SM_80
from mlc.ir.types import BF16, F32, I32, I64, DType, TensorType
from mlc.passes.kernels import lower_kernel
from mlc.passes.schedule import ScheduledRegion, schedule_region
from tests.gpu.running import Launcher
from tests.gpu.test_barriers import fold, softmax
from tests.schedule.running import body_of_types, buffers_of, random_array
from tests.schedule.test_sort import in_order

Array = Any


def update(w: Node, m: Node, step: Node) -> list[Node]:
    new = g.ADD(g.MULTIPLY(m, g.full_like(m, 0.5)), step)
    return [g.SUBTRACT(w, new), new]


def add_rows(total: Node, x: Node) -> Node:
    return g.ADD(total, fold(x, 1))


def add_columns(total: Node, x: Node) -> Node:
    return g.ADD(total, fold(x, 0))


def put(x: Node, part: Node) -> Node:
    return g.DYNAMIC_UPDATE_SLICE(x, part, g.constant(2, I32), g.constant(1, I32))


def add_at(x: Node, updates: Node) -> Node:
    indices = g.constant(np.array([[4], [1], [4], [9]], np.int32))
    windows = g.Windows(x.tensor, indices.tensor, (1, 12), (1,), (0,), (), (), (0,), 1)
    return g.scatter_windows(x, indices, updates, windows, g.ADD)


BODIES: dict[str, tuple[str, Callable[..., Node | list[Node]], tuple[tuple[int, ...], ...], DType]] = {
    "loop": ("loop", update, ((7, 9),) * 3, F32),
    "loop of whole vectors": ("loop", update, ((64, 16),) * 3, BF16),
    "rows of several": ("row", softmax, ((3, 10),), F32),
    "rows of a warp": ("row", softmax, ((5, 132),), F32),
    "rows of a block": ("row", softmax, ((2, 1500),), F32),
    "rows in loops": ("row", softmax, ((1, 20004),), F32),
    "fold of rows": ("reduce", add_rows, ((5,), (5, 200)), F32),
    "fold of columns": ("reduce", add_columns, ((21,), (90, 21)), F32),
    "update": ("update", put, ((7, 5), (3, 2)), F32),
    "scatter": ("scatter", add_at, ((10, 12), (4, 12)), F32),
    "cumulative rows": ("cumulative", lambda x: g.cumulative(g.ADD, x, 1), ((2, 600),), F32),
    "cumulative columns": ("cumulative", lambda x: g.cumulative(g.ADD, x, 0), ((20, 5),), F32),
    "sort": ("sort", in_order, ((3, 128),), I64),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_in_place(name: str) -> None:
    kind, function, shapes, dtype = BODIES[name]
    body = body_of_types(function, *(TensorType(s, dtype) for s in shapes))
    arrays = [random_array(s, dtype, k) for k, s in enumerate(shapes)]
    region = schedule_region(kind, body, SM_80)
    assert region.in_place
    for parameter, result in region.in_place:
        assert_close(body, arrays, run(region, body, arrays, parameter, result), f"{result} in {parameter}")


def run(region: ScheduledRegion, body: Graph, arrays: Sequence[Array], parameter: int, result: int) -> list[Array]:
    """The results, one of them in the memory of a parameter."""
    buffers = buffers_of(region, body, arrays, {})
    for p, r in region.copies:
        buffers["result", r][...] = buffers["parameter", p]
    buffers["result", result] = buffers["parameter", parameter].reshape(body.results[result].shape)
    kernels = [replace(c.kernel, name=f"k{i}") for i, c in enumerate(region.calls)]
    launcher = Launcher(compile_ptx([lower_kernel(k, SM_80) for k in kernels], SM_80))
    for call, kernel in zip(region.calls, kernels, strict=True):
        given = [buffers[o.kind, o.index].reshape(-1) for o in call.operands]
        given = [x.view(m.dtype.numpy) for x, m in zip(given, kernel.buffers, strict=True)]
        launcher.run(kernel, given, [int(n) for n in call.sizes if isinstance(n, int)])
    return [buffers["result", k] for k in range(len(body.results))]
