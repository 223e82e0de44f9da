"""Scatters of many updates on a GPU: sorted by where they go, in their order there, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Graph, Node
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.target import SM_80
from mlc.ir.types import F32, I32, I64, U64, DType, TensorType
from mlc.passes.schedule import schedule_region
from mlc.passes.schedule.gpu import scatter_sorted
from tests.gpu.running import OnGpu
from tests.schedule.running import body_of_types, interpret, random_array


def scattered(shape: tuple[int, ...], count: object, dtype: DType, indices: DType, op: g.Op | None) -> Graph:
    """Rows (or elements) of x where the indices say, combined with the updates."""

    def write(x: Node, at: Node, updates: Node) -> Node:
        dims = tuple(range(1, len(shape)))
        windows = g.Windows(x.tensor, at.tensor, (1, *shape[1:]), dims, (0,), (), (), (0,), 1)
        return g.scatter_windows(x, at, updates, windows, op)

    of_updates = (TensorType((count, 1), indices), TensorType((count, *shape[1:]), dtype))  # type: ignore[arg-type]
    return body_of_types(write, TensorType(shape, dtype), *of_updates)


@pytest.mark.parametrize("indices", [I32, I64, U64], ids=str)
@pytest.mark.parametrize("op", [g.ADD, g.MAXIMUM, None], ids=lambda op: op.name if op else "last")
@pytest.mark.parametrize("shape", [(40, 12), (3, 5), (700,)], ids=str)
def test_many_updates(shape: tuple[int, ...], op: g.Op | None, indices: DType) -> None:
    body = scattered(shape, 600, I32, indices, op)
    region = schedule_region("scatter", body, SM_80)
    assert [c.kernel.name for c in region.calls] == ["scatter_keys", "sort_i64", "scatter"]
    rng = np.random.default_rng(0)
    low = 0 if indices is U64 else -2
    at = rng.integers(low, shape[0] + 2, (600, 1)).astype(indices.numpy)
    x, updates = random_array(shape, I32), random_array((600, *shape[1:]), I32, 1)
    want = x.copy()
    for i, u in zip(at[:, 0].tolist(), updates, strict=True):
        if 0 <= i < shape[0]:
            want[i] = u if op is None else want[i] + u if op is g.ADD else np.maximum(want[i], u)
    np.testing.assert_array_equal(interpret(region, body, [x, at, updates], {})[0], want)


@pytest.mark.parametrize("count", [0, 1, 599])
def test_symbolic_count_as_ptx(count: int) -> None:
    body = scattered((9, 8), dim("n", 0, 700), F32, I64, g.ADD)
    rng = np.random.default_rng(1)
    arrays = [random_array((9, 8), F32), rng.integers(-1, 10, (count, 1)), random_array((count, 8), F32, 2)]
    assert_close(body, arrays, OnGpu.of(body)(arrays), f"{count} updates")


def test_few_updates_are_not_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    body = scattered((40, 12), 600, F32, I32, g.ADD)
    monkeypatch.setattr(scatter_sorted, "FEWEST", 601)
    assert [c.kernel.name for c in schedule_region("scatter", body, SM_80).calls] == ["scatter"]
