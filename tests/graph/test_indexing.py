"""Rows that read and write at computed places, against explicit loops that follow StableHLO's words."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mlc.errors import DifferentiationError
from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Graph, Node, Table, Windows, combiner_of, evaluate_graph
from mlc.ir.types import DTYPES, F32, I32, U8, U64, DType, TensorType, dtype_of

from ..transforms.check import check
from .test_text import assert_round_trip

Array = npt.NDArray[Any]
# operand, indices, sizes, window_dims, dropped, batching, indices_batching, index_map, index_vector_dim
LAYOUTS: dict[str, tuple[Any, ...]] = {
    "rows": ((5, 3), (4, 1), (1, 3), (1,), (0,), (), (), (0,), 1),
    "rows of a vector": ((5,), (4,), (1,), (), (0,), (), (), (0,), 1),
    "one row": ((5, 3), (1,), (1, 3), (0,), (0,), (), (), (0,), 0),
    "columns": ((5, 3), (2, 2), (5, 1), (0,), (1,), (), (), (1,), 2),
    "points": ((5, 3), (2, 6), (1, 1), (), (0, 1), (), (), (1, 0), 0),
    "windows": ((8, 6, 5), (2, 7), (1, 3, 2), (0, 2), (0,), (), (), (1, 0), 0),
    "all axes placed": ((4, 5), (3, 2), (2, 3), (0, 2), (), (), (), (0, 1), 1),
    "along an axis": ((4, 6), (4, 7, 1), (1, 1), (), (1,), (0,), (0,), (1,), 2),
    "batches behind": ((3, 6, 4), (4, 3, 1), (1, 2, 1), (1,), (), (2, 0), (0, 1), (1,), 2),
    "along the first axis": ((6, 17), (1, 5, 17), (1, 1), (), (0,), (1,), (2,), (0,), 0),
    "nothing placed": ((4, 5), (3, 0), (4, 2), (0, 2), (), (), (), (), 1),
    "overlapping windows": ((7,), (3, 4), (3,), (0,), (), (), (), (0,), 2),
    "no windows": ((5, 3), (0, 1), (1, 3), (1,), (0,), (), (), (0,), 1),
    "empty windows": ((5, 0), (4, 1), (1, 0), (1,), (0,), (), (), (0,), 1),
}
names = pytest.mark.parametrize("name", LAYOUTS)


def layout(name: str, dtype: DType = F32, index: DType = I32) -> Windows:
    x, indices, *numbers = LAYOUTS[name]
    return Windows(TensorType(x, dtype), TensorType(indices, index), *numbers)


def indices_for(windows: Windows, spread: int = 2, seed: int = 0) -> Array:
    """Start indices, some outside on either side."""
    low = 0 if windows.indices.dtype.kind == "uint" else -spread
    most = max((n if isinstance(n, int) else 9 for n in windows.operand.shape), default=1)
    return np.random.default_rng(seed).integers(low, most + spread, windows.indices.shape).astype(
        windows.indices.dtype.numpy
    )  # fmt: skip


def places(w: Windows, indices: Array) -> list[tuple[tuple[int, ...], list[int], list[int]]]:
    """For each element of the windowed tensor: where it is, the start of its window, its offset in the operand."""
    found = []
    numbers = [d for d in range(len(w.shape)) if d not in w.window_dims]
    every = itertools.product(*map(range, map(int, w.shape)))
    for at in sorted(every, key=lambda at: [at[d] for d in numbers]):  # one window after the other
        batch = [at[d] for d in numbers]
        vector: list[Any] = list(batch)
        vector.insert(w.index_vector_dim, slice(None))
        starts = indices[tuple(vector)] if w.index_vector_dim < indices.ndim else [indices[tuple(batch)]]
        start, offset = [0] * w.operand.rank, [0] * w.operand.rank
        for k, axis in enumerate(w.index_map):
            start[axis] = int(starts[k])
        for axis, i in zip(w.batching, w.indices_batching, strict=True):
            offset[axis] = batch[i - (i > w.index_vector_dim)]
        kept = [a for a in range(w.operand.rank) if a not in w.dropped and a not in w.batching]
        for axis, d in zip(kept, w.window_dims, strict=True):
            offset[axis] = at[d]
        found.append((at, start, offset))
    return found


def gathered(w: Windows, x: Array, indices: Array) -> Array:
    out = np.zeros(tuple(map(int, w.shape)), x.dtype)
    for at, start, offset in places(w, indices):
        clamped = [min(max(s, 0), n - int(k)) for s, n, k in zip(start, x.shape, w.sizes, strict=True)]
        out[at] = x[tuple(s + o for s, o in zip(clamped, offset, strict=True))]
    return out


def scattered(w: Windows, x: Array, indices: Array, updates: Array, join: Callable[[Any, Any], Any]) -> Array:
    out = x.copy()
    for at, start, offset in places(w, indices):
        place = tuple(s + o for s, o in zip(start, offset, strict=True))
        if all(0 <= p < n for p, n in zip(place, x.shape, strict=True)):
            out[place] = join(out[place], updates[at])
    return out


def graph_of(function: Callable[..., Node], *arrays: Array) -> Graph:
    table = Table()
    with table.active():
        parameters = [table.parameter(TensorType(a.shape, dtype_of(a.dtype)), f"x{k}") for k, a in enumerate(arrays)]
        graph = Graph("indexing", parameters, (function(*parameters),), table)
    g.verify_graph(graph)
    assert_round_trip(graph)
    return graph


def normal(shape: Any, dtype: DType = F32, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) if dtype.is_float else rng.integers(0, 2, shape)).astype(dtype.numpy)


@names
@pytest.mark.parametrize("index", [DTYPES[n] for n in ("i8", "i32", "i64", "u8", "u64")], ids=str)
def test_gather(name: str, index: DType) -> None:
    w = layout(name, index=index)
    x, indices = normal(w.operand.shape), indices_for(w)
    (got,) = evaluate_graph(graph_of(lambda x, i: g.gather(x, i, w), x, indices), [x, indices])
    np.testing.assert_array_equal(got, gathered(w, x, indices))


JOINS: list[tuple[Any, Callable[[Any, Any], Any]]] = [
    (g.ADD, lambda a, b: a + b), (None, lambda a, b: b), (g.MAXIMUM, max), (g.MINIMUM, min),
    (g.MULTIPLY, lambda a, b: a * b),
]  # fmt: skip


@names
@pytest.mark.parametrize("op, join", JOINS, ids=[op.name if op else "overwrite" for op, _ in JOINS])
def test_scatter(name: str, op: Any, join: Callable[[Any, Any], Any]) -> None:
    w = layout(name)
    x, indices, updates = normal(w.operand.shape), indices_for(w), normal(w.shape, seed=2)
    graph = graph_of(lambda x, i, u: g.scatter_windows(x, i, u, w, op), x, indices, updates)
    assert combiner_of(graph.results[0]["body"]) is op
    (got,) = evaluate_graph(graph, [x, indices, updates])
    np.testing.assert_array_equal(got, scattered(w, x, indices, updates, join))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_element_type_moves(dtype: DType) -> None:
    w = layout("rows", dtype)
    x, indices, updates = normal(w.operand.shape, dtype), indices_for(w), normal(w.shape, dtype, 2)
    (got,) = evaluate_graph(graph_of(lambda x, i: g.gather(x, i, w), x, indices), [x, indices])
    np.testing.assert_array_equal(got, gathered(w, x, indices))
    for op, join in ((None, lambda a, b: b), (g.MAXIMUM, max)):
        graph = graph_of(lambda x, i, u, op=op: g.scatter_windows(x, i, u, w, op), x, indices, updates)
        (got,) = evaluate_graph(graph, [x, indices, updates])
        np.testing.assert_array_equal(got, scattered(w, x, indices, updates, join))


def test_far_indices_are_as_far_outside() -> None:
    w = layout("rows", index=U64)
    x, indices = normal((5, 3)), np.array([[2**64 - 1], [2**63], [4], [5]], np.uint64)
    (got,) = evaluate_graph(graph_of(lambda x, i: g.gather(x, i, w), x, indices), [x, indices])
    np.testing.assert_array_equal(got, x[[4, 4, 4, 4]])
    graph = graph_of(lambda x, i: g.scatter_windows(x, i, g.gather(x, i, w), w, g.ADD), x, indices)
    np.testing.assert_array_equal(evaluate_graph(graph, [x, indices])[0][:4], x[:4])


def test_a_symbolic_axis_is_gathered_from_and_scattered_to() -> None:
    n, table = dim("n", 1, 64), Table()
    with table.active():
        x, i = table.parameter(TensorType((n, 3), F32), "x"), table.parameter(TensorType((4, 1), I32), "i")
        w = Windows(x.tensor, i.tensor, *LAYOUTS["rows"][2:])
        taken = g.gather(x, i, w)
        graph = Graph("symbolic", (x, i), (taken, g.scatter_windows(x, i, taken, w, g.ADD)), table)
    g.verify_graph(graph)
    assert_round_trip(graph)
    array, at = normal((7, 3)), np.array([[6], [0], [9], [-1]], np.int32)
    taken_, added = evaluate_graph(graph, [array, at])
    np.testing.assert_array_equal(taken_, array[[6, 0, 6, 0]])
    np.testing.assert_array_equal(added, array * np.array([2, 1, 1, 1, 1, 1, 2], np.float32)[:, None])


@pytest.mark.parametrize("start", [(-3, 2), (0, 0), (1, 5), (4, 90)])
def test_dynamic_slice_and_update(start: tuple[int, int]) -> None:
    x, update = normal((5, 7)), normal((2, 4), seed=2)
    arrays = [x, update, np.array(start[0], np.int32), np.array(max(start[1], 0), np.uint8)]
    a, b = min(max(start[0], 0), 3), min(max(start[1], 0), 3)
    graph = graph_of(lambda x, u, i, j: g.DYNAMIC_SLICE(x, i, j, slice_sizes=(2, 4)), *arrays)
    np.testing.assert_array_equal(evaluate_graph(graph, arrays)[0], x[a : a + 2, b : b + 4])
    want = x.copy()
    want[a : a + 2, b : b + 4] = update
    graph = graph_of(g.DYNAMIC_UPDATE_SLICE, *arrays)
    np.testing.assert_array_equal(evaluate_graph(graph, arrays)[0], want)


# ---------------------------------------------------------------- derivatives


@names
def test_gradient_of_gather(name: str) -> None:
    w = layout(name, DTYPES["f64"])
    i = indices_for(w)
    check(lambda x, i: g.EXPONENTIAL(g.gather(x, i, w)), [normal(w.operand.shape, DTYPES["f64"]), i])


@names
@pytest.mark.parametrize("op", [g.ADD, None], ids=["add", "overwrite"])
def test_gradient_of_scatter(name: str, op: Any) -> None:
    w = layout(name, DTYPES["f64"])
    arrays = [normal(w.operand.shape, DTYPES["f64"]), indices_for(w, 3), normal(w.shape, DTYPES["f64"], 2)]
    check(lambda x, i, u: g.SINE(g.scatter_windows(g.SINE(x), i, g.EXPONENTIAL(u), w, op)), arrays)


@pytest.mark.parametrize("index", [U8, U64, DTYPES["i8"]], ids=str)
def test_gradients_at_indices_of_small_types(index: DType) -> None:
    """A margin or a limit beyond the index type's largest value does not wrap."""
    f64 = DTYPES["f64"]
    w = Windows(TensorType((300,), f64), TensorType((4,), index), (1,), (), (0,), (), (), (0,), 1)
    i = np.array([0, index.limits[1] if index.bits == 8 else 299, 7, 7]).astype(index.numpy)
    x, u = normal((300,), f64), normal((4,), f64, 2)
    check(lambda x, i, u: g.SINE(g.scatter_windows(x, i, u, w, None)), [x, i, u])
    check(lambda x, i: g.EXPONENTIAL(g.gather(x, i, w)), [x, i])


def test_gradients_of_dynamic_slice_and_update() -> None:
    f64 = DTYPES["f64"]
    for i, j in ((-3, 2), (1, 9), (2, 0)):
        arrays = [normal((5, 7), f64), normal((2, 4), f64, 2), np.int32(i), np.int64(j)]
        check(lambda x, u, i, j: g.EXPONENTIAL(g.DYNAMIC_SLICE(x, i, j, slice_sizes=(2, 4))), arrays)
        check(lambda x, u, i, j: g.SINE(g.DYNAMIC_UPDATE_SLICE(g.SINE(x), g.EXPONENTIAL(u), i, j)), arrays, order=2)


def test_other_updates_refuse_a_derivative() -> None:
    w = layout("rows", DTYPES["f64"])
    x, i, u = normal((5, 3), DTYPES["f64"]), indices_for(w), normal((4, 3), DTYPES["f64"])
    with pytest.raises(DifferentiationError, match="scatter: mlc has no derivative of maximum"):
        check(lambda x, i, u: g.scatter_windows(x, i, u, w, g.MAXIMUM), [x, i, u])
