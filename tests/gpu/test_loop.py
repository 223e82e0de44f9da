"""Loop fusions for a GPU: which threads do what, and that together they do it all."""

from __future__ import annotations

import pytest

from mlc.ir.dims import dim
from mlc.ir.graph import ADD, MAXIMUM, TRANSPOSE, Node, broadcast_in_dim, full_like
from mlc.ir.target import SM_80
from mlc.ir.types import BF16, F32, F64, U8, DType, TensorType
from mlc.passes.schedule import schedule_region
from mlc.passes.schedule.gpu import loop
from tests.schedule.running import body_of_types, check_region, random_array


def layer(x: Node, bias: Node) -> list[Node]:
    shifted = ADD(x, broadcast_in_dim(bias, x.shape, (1,)))
    return [MAXIMUM(shifted, full_like(shifted, 0.0)), shifted]


@pytest.mark.parametrize("shape", [(5, 12), (17, 3), (40, 8), (1, 1), (0, 8), (3, 0)], ids=str)
def test_every_element_is_done(shape: tuple[int, int]) -> None:
    body = body_of_types(layer, TensorType(shape, F32), TensorType(shape[1:], F32))
    arrays = [random_array(shape, F32), random_array(shape[1:], F32, 1)]
    check_region("loop", body, arrays, targets=(SM_80,), compiled=False)


@pytest.mark.parametrize("n", [0, 1, 3, 64])
def test_symbolic_rows(n: int) -> None:
    rows = dim("rows", 0, 1000)
    for columns in (8, 5):
        body = body_of_types(layer, TensorType((rows, columns), F32), TensorType((columns,), F32))
        arrays = [random_array((n, columns), F32), random_array((columns,), F32, 1)]
        check_region("loop", body, arrays, targets=(SM_80,), compiled=False)


@pytest.mark.parametrize("dtype", [F32, F64, BF16, U8], ids=str)
def test_contiguous_elements_are_moved_16_bytes_at_a_time(dtype: DType) -> None:
    body = body_of_types(lambda x: ADD(x, x), TensorType((3, 64), dtype))
    lanes = f"{dtype.name}x{SM_80.lanes(dtype)}"
    text = str(schedule_region("loop", body, SM_80).calls[0].kernel)
    assert f"load %x0[%i2*{SM_80.lanes(dtype)}] : {lanes}" in text
    turned = body_of_types(lambda x: TRANSPOSE(x, permutation=(1, 0)), TensorType((64, 64), dtype))
    assert lanes not in str(schedule_region("loop", turned, SM_80).calls[0].kernel)


def test_rows_that_are_no_multiple_of_16_bytes_are_moved_by_elements() -> None:
    body = body_of_types(layer, TensorType((64, 7), F32), TensorType((7,), F32))
    assert "f32x" not in str(schedule_region("loop", body, SM_80).calls[0].kernel)


def test_many_vectors_are_read_before_the_first_is_written() -> None:
    body = body_of_types(lambda x: ADD(x, x), TensorType((1 << 26,), F32))
    ops = [n.op for n in schedule_region("loop", body, SM_80).calls[0].kernel.body]  # type: ignore[union-attr]
    assert [op for op in ops if op in ("load", "store")] == ["load"] * 4 + ["store"] * 4


@pytest.mark.parametrize("n", [4096, 4099, 3, 1025])
def test_threads_that_do_several_vectors(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FEW_BLOCKS", 0)
    static = body_of_types(lambda x: ADD(x, x), TensorType((n,), F32))
    symbolic = body_of_types(lambda x: ADD(x, x), TensorType((dim("n", 0, 5000),), F32))
    for body in (static, symbolic):
        check_region("loop", body, [random_array((n,), F32)], targets=(SM_80,), compiled=False)
        ((_, elements), (threads, _)) = schedule_region("loop", body, SM_80).calls[0].tasks
        assert isinstance(threads, int) and elements // threads >= 8
