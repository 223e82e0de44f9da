"""Random towers of ops that move elements, against the graph evaluator."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlc.ir.graph import (
    ADD,
    CONCATENATE,
    IOTA,
    PAD,
    REVERSE,
    SLICE,
    TRANSPOSE,
    Graph,
    Node,
    Table,
    broadcast_in_dim,
    constant,
    reduce_add,
    reshape,
)
from mlc.ir.target import X86_64_V3, X86_64_V4
from mlc.ir.types import I32, TensorType

from .running import check_region, random_array

MOST = 1500  # elements of any tensor


def random_shape(g: np.random.Generator, size: int) -> tuple[int, ...]:
    """Some factors of ``size``, ones among them."""
    factors = [p for p in (2, 3, 5, 7, 11, 13) for _ in range(12) if size % p == 0 and _divide(size, p)]
    shape: list[int] = []
    rest = size
    for p in g.permutation(factors):
        if rest % p == 0 and g.random() < 0.6:
            shape.append(int(p))
            rest //= int(p)
    shape.insert(int(g.integers(0, len(shape) + 1)), rest)
    if g.random() < 0.3:
        shape.insert(int(g.integers(0, len(shape) + 1)), 1)
    return tuple(shape)


def _divide(size: int, p: int) -> bool:
    return size > p


def move(g: np.random.Generator, x: Node) -> Node:
    """One random movement of ``x``."""
    shape = tuple(int(n) for n in x.shape)  # type: ignore[arg-type]
    rank, size = len(shape), math.prod(shape)
    match int(g.integers(0, 8)):
        case 0:
            return TRANSPOSE(x, permutation=tuple(int(a) for a in g.permutation(rank)))
        case 1 if size:
            return reshape(x, random_shape(g, size))
        case 2:
            start = [int(g.integers(0, n + 1)) for n in shape]
            limit = [int(g.integers(a, n + 1)) for a, n in zip(start, shape, strict=True)]
            start = [0 if a == b else a for a, b in zip(start, limit, strict=True)]
            limit = [n if a == 0 and b == 0 else b for a, b, n in zip(start, limit, shape, strict=True)]
            strides = tuple(int(g.integers(1, 4)) for _ in shape)
            return SLICE(x, start=tuple(start), limit=tuple(limit), strides=strides)
        case 3:
            low = tuple(int(g.integers(-1, 4)) if n > 3 else int(g.integers(0, 3)) for n in shape)
            high = tuple(int(g.integers(-1, 4)) if n > 3 else int(g.integers(0, 3)) for n in shape)
            interior = tuple(int(g.integers(0, 2)) for _ in shape)
            padded = PAD(x, constant(np.int32(-7)), low=low, high=high, interior=interior)
            return padded if math.prod(padded.shape) <= MOST else x  # type: ignore[arg-type]
        case 4:
            return REVERSE(x, dimensions=tuple(a for a in range(rank) if g.random() < 0.5))
        case 5 if rank and 2 * size <= MOST:
            axis = int(g.integers(0, rank))
            return CONCATENATE(x, REVERSE(x, dimensions=(axis,)), dimension=axis)
        case 6 if size * 4 <= MOST:
            at = int(g.integers(0, rank + 1))
            return broadcast_in_dim(
                x, (*shape[:at], int(g.integers(1, 5)), *shape[at:]), [a + (a >= at) for a in range(rank)]
            )
        case 7 if rank:
            return ADD(x, IOTA(shape=shape, dtype=I32, dimension=int(g.integers(0, rank))))
    return x


def random_body(seed: int) -> tuple[Graph, Node]:
    g = np.random.default_rng(seed)
    table = Table()
    with table.active():
        shape = random_shape(g, int(g.choice([24, 60, 128, 210, 256, 330])))
        x = y = table.parameter(TensorType(shape, I32), "x")
        for _ in range(int(g.integers(2, 7))):
            y = move(g, y)
        return Graph("moved", (x,), (y,), table), x


@pytest.mark.parametrize("seed", range(150))
def test_a_random_tower_of_movements(seed: int) -> None:
    body, x = random_body(seed)
    arrays = [random_array(x.shape, I32, seed)]  # type: ignore[arg-type]
    check_region("loop", body, arrays, targets=(X86_64_V4 if seed % 2 else X86_64_V3,), compiled=seed % 10 == 0)


@pytest.mark.parametrize("seed", range(60))
def test_a_reduction_of_a_random_tower(seed: int) -> None:
    body, x = random_body(seed + 1000)
    g = np.random.default_rng(seed)
    with body.table.active():
        axes = [a for a in range(len(body.results[0].shape)) if g.random() < 0.5] or list(
            range(len(body.results[0].shape))
        )
        folded = body.with_results([reduce_add(body.results[0], axes)])
    if folded.results[0] is not body.results[0]:
        check_region("reduce", folded, [random_array(x.shape, I32, seed)], compiled=seed % 10 == 0)  # type: ignore[arg-type]
