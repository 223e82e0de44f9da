"""Kernels of sorts: rows of every length in order, in one chunk and in many, with the interpreter and compiled."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Node
from mlc.ir.types import I32, I64, DType, TensorType
from mlc.passes.schedule import sort

from .running import body_of_types, check_in_place, check_region


def numbers(shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    """Few different ones in some rows, the extremes among them."""
    rng = np.random.default_rng(0)
    x = rng.integers(*dtype.limits, shape, dtype=dtype.numpy, endpoint=True)
    if x.size:
        x[::2] %= 7
        x.reshape(-1)[:2] = dtype.limits
    return x


def in_order(x: Node) -> Node:
    return g.sort(x, stable=False)[0]


@pytest.mark.parametrize("dtype", [I32, I64], ids=str)
@pytest.mark.parametrize("shape", [(3, 1), (0, 4), (3, 2), (5, 8), (2, 3, 32), (4, 128), (1, 384)])
def test_rows(shape: tuple[int, ...], dtype: DType) -> None:
    body = body_of_types(in_order, TensorType(shape, dtype))
    check_region("sort", body, (numbers(shape, dtype),))


@pytest.mark.parametrize("chunk, length", [(512, 256), (512, 384), (1024, 640)])
def test_many_chunks(chunk: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two, four and eight chunks, whole and cut off."""
    monkeypatch.setattr(sort, "CHUNK", chunk)
    check_region("sort", body_of_types(in_order, TensorType((1, length), I64)), (numbers((1, length), I64),))


def test_fused_and_in_place() -> None:
    """What is sorted is computed where it is sorted; a parameter is sorted in its own memory."""
    x, type = numbers((3, 64), I32), TensorType((dim("n", 1, 9), 64), I32)
    check_region("sort", body_of_types(lambda x: in_order(g.NOT(x)), type), (x,))
    check_in_place("sort", body_of_types(in_order, type), (x,), {0: 0})
