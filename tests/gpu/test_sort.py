"""Sorts on a GPU: rows that share a block of threads, and blocks of two, four and eight chunks, whole and cut off."""

from __future__ import annotations

import pytest

from mlc.ir.target import SM_80
from mlc.ir.types import I32, I64, TensorType
from mlc.passes.schedule import schedule_region
from mlc.passes.schedule.gpu import sort
from tests.schedule.running import body_of_types, check_region
from tests.schedule.test_sort import in_order, numbers


@pytest.mark.parametrize(("chunk", "length"), [(64, 128), (64, 384), (128, 1024), (64, 64)])
def test_many_chunks(chunk: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort, "CHUNK", chunk)
    body = body_of_types(in_order, TensorType((3, length), I64))
    check_region("sort", body, (numbers((3, length), I64),), targets=(SM_80,), compiled=False)
    kernels = {str(c.kernel) for c in schedule_region("sort", body, SM_80).calls}
    assert len(kernels) == (4 if length > chunk * 2 else 1 if length == chunk else 3)  # one for all distances


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_rows_share_a_block(rows: int) -> None:
    body = body_of_types(in_order, TensorType((rows, 16), I32))
    check_region("sort", body, (numbers((rows, 16), I32),), targets=(SM_80,), compiled=False)
