"""Reduce fusions, interpreted and compiled, against the graph evaluator (floats summed in f64)."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir.dims import dim
from mlc.ir.graph import (
    ADD,
    AND,
    COMPARE,
    CONVERT,
    DIVIDE,
    EXPONENTIAL,
    IOTA,
    LOG,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    OR,
    REDUCE,
    SELECT,
    SIZE,
    SUBTRACT,
    TRANSPOSE,
    XOR,
    Node,
    Op,
    body_of,
    broadcast_in_dim,
    constant,
    fill,
    full_like,
    reduce_add,
    reduce_with,
    reshape,
)
from mlc.ir.target import X86_64_V4
from mlc.ir.types import BF16, DTYPES, F16, F32, F64, I32, I64, U8, DType, TensorType
from mlc.passes.schedule import schedule_region

from .running import body_of_types, check_in_place, check_region, random_array

EXACT = 0.0
CLOSE = 6e-7


def check_sum(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    body = body_of_types(lambda x: reduce_add(x, axes), TensorType(shape, F32))
    check_region("reduce", body, [random_array(shape, F32) + 1], tolerance=CLOSE)


@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 64, 65, 300, 1000, 4099])
def test_sum_of_a_vector(n: int) -> None:
    check_sum((n,), (0,))


@pytest.mark.parametrize("shape", [(5, 10), (3, 100), (7, 1), (1, 33), (0, 5), (4, 0), (130, 64)])
def test_sum_of_rows(shape: tuple[int, int]) -> None:
    check_sum(shape, (1,))


@pytest.mark.parametrize("shape", [(5, 10), (300, 3), (7, 1), (1, 33), (0, 5), (4, 0), (60, 200), (9, 16), (33, 144)])
def test_sum_of_columns(shape: tuple[int, int]) -> None:
    check_sum(shape, (0,))


@pytest.mark.parametrize(
    "axes", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2), (1, 3), (0, 3), (0, 1, 2, 3)]
)
def test_sum_of_mixed_axes(axes: tuple[int, ...]) -> None:
    if axes == ():
        body = body_of_types(
            lambda x: REDUCE(x, constant(np.float32(2)), dimensions=(), body=body_of(ADD, F32)), TensorType((3, 4), F32)
        )
        check_region("reduce", body, [random_array((3, 4), F32)], tolerance=CLOSE)
    else:
        check_sum((6, 5, 3, 21), axes)


@pytest.mark.parametrize(("shape", "axes"), [((300, 1000), (0, 1)), ((3000, 100), (0,)), ((2, 150_000), (1,)),
                                             ((2000, 5, 40), (0, 2))])  # fmt: skip
def test_large_reductions_are_folded_in_parts(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    body = body_of_types(lambda x, y: ADD(reduce_add(x, axes), y), TensorType(shape, F32),
                         TensorType(tuple(n for a, n in enumerate(shape) if a not in axes), F32))  # fmt: skip
    region = schedule_region("reduce", body, X86_64_V4)
    assert len(region.calls) == 2 and len(region.temporaries) == 1
    arrays = [random_array(shape, F32) + 1, random_array(body.parameters[1].shape, F32)]  # type: ignore[arg-type]
    check_region("reduce", body, arrays, tolerance=CLOSE, targets=(X86_64_V4,))


def test_a_long_float_sum_is_accurate() -> None:
    """A running f32 sum of this vector is off by 1e-3; many partial sums keep it near the rounding of the result."""
    x = np.full(2_000_000, 0.1, np.float32)
    assert abs(float(np.cumsum(x)[-1]) / (float(x[0]) * x.size) - 1) > 1e-4
    body = body_of_types(lambda v: reduce_add(v, (0,)), TensorType(x.shape, F32))
    check_region("reduce", body, [x], tolerance=5e-7, targets=(X86_64_V4,))


REDUCERS = [ADD, MULTIPLY, MAXIMUM, MINIMUM, AND, OR, XOR]


DEFINED = [(op, t) for op in REDUCERS for t in DTYPES.values() if op not in (AND, OR, XOR) or not t.is_float]


@pytest.mark.parametrize(("op", "dtype"), DEFINED, ids=lambda x: str(getattr(x, "name", x)))
@pytest.mark.parametrize("axis", [0, 1])
def test_every_reducer_and_dtype(op: Op, dtype: DType, axis: int) -> None:
    body = body_of_types(lambda x: reduce_with(op, x, (axis,)), TensorType((9, 37), dtype))
    tolerance = {"f16": 2e-3, "bf16": 1e-2, "f32": 2e-6, "f64": 1e-14}.get(dtype.name, 0.0)
    check_region("reduce", body, [random_array((9, 37), dtype)], tolerance, targets=(X86_64_V4,))


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_half_floats_accumulate_in_f32(dtype: DType) -> None:
    x = np.full((4096,), 1.0).astype(dtype.numpy)  # a running bf16 sum stops at 256, an f16 one at 2048
    body = body_of_types(lambda v: reduce_add(v, (0,)), TensorType(x.shape, dtype))
    check_region("reduce", body, [x], EXACT)


@pytest.mark.parametrize("axis", [0, 1])
def test_maximum_passes_nan_on(axis: int) -> None:
    x = random_array((11, 50), F32)
    x[3, 7] = np.nan
    x[4, 49] = -np.inf
    body = body_of_types(
        lambda v: (reduce_with(MAXIMUM, v, (axis,)), reduce_with(MINIMUM, v, (axis,))), TensorType(x.shape, F32)
    )
    check_region("reduce", body, [x], EXACT)


def test_maximum_of_nothing_is_minus_infinity() -> None:
    body = body_of_types(lambda v: reduce_with(MAXIMUM, v, (1,)), TensorType((3, 0), F32))
    check_region("reduce", body, [np.zeros((3, 0))], EXACT)


@pytest.mark.parametrize("axis", [0, 1])
def test_initial_value_is_an_operand(axis: int) -> None:
    def folded(x: Node, first: Node) -> Node:
        return REDUCE(x, ADD(first, first), dimensions=(axis,), body=body_of(ADD, I32))

    body = body_of_types(folded, TensorType((6, 40), I32), TensorType((), I32))
    check_region("reduce", body, [random_array((6, 40), I32), np.int32(100)])


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_siblings_prologue_and_epilogue(axes: tuple[int, ...]) -> None:
    """Mean and variance about a given centre, in one pass."""

    def moments(x: Node, centre: Node, scale: Node) -> list[Node]:
        shifted = SUBTRACT(x, broadcast_in_dim(centre, x.shape, ()))
        total, squares = reduce_add(shifted, axes), reduce_add(MULTIPLY(shifted, shifted), axes)
        count = fill(1 / 300, total.tensor)
        mean = MULTIPLY(total, count)
        return [
            ADD(mean, broadcast_in_dim(scale, mean.shape, ())),
            SUBTRACT(MULTIPLY(squares, count), MULTIPLY(mean, mean)),
        ]

    body = body_of_types(moments, TensorType((23, 70), F32), TensorType((), F32), TensorType((), F32))
    check_region("reduce", body, [random_array((23, 70), F32), np.float32(0.5), np.float32(2)], tolerance=1e-6)


def test_log_of_sums_of_exponentials() -> None:
    def log_sum(x: Node, most: Node) -> Node:
        shifted = EXPONENTIAL(SUBTRACT(x, broadcast_in_dim(most, x.shape, (0,))))
        return ADD(LOG(reduce_add(shifted, (1,))), most)

    x = random_array((13, 10), F32)
    body = body_of_types(log_sum, TensorType((13, 10), F32), TensorType((13,), F32))
    check_region("reduce", body, [x, x.max(axis=1)], tolerance=1e-6)


def test_argmax_is_a_maximum_of_positions() -> None:
    def first_position(x: Node, most: Node) -> Node:
        at = IOTA(shape=x.shape, dtype=I64, dimension=1)
        here = COMPARE(x, broadcast_in_dim(most, x.shape, (0,)), direction="EQ")
        return reduce_with(MINIMUM, SELECT(here, at, full_like(at, 1 << 40)), (1,))

    x = random_array((21, 45), F32)
    x[5, 3] = x[5, 40] = 9
    body = body_of_types(first_position, TensorType(x.shape, F32), TensorType((21,), F32))
    check_region("reduce", body, [x, x.max(axis=1)])


def test_count_of_bools() -> None:
    def hits(labels: Node, guesses: Node) -> Node:
        same = CONVERT(COMPARE(labels, guesses, direction="EQ"), dtype=F32)
        return DIVIDE(reduce_add(same, (0,)), constant(np.float32(100)))

    t = TensorType((100,), I64)
    body = body_of_types(hits, t, t)
    check_region("reduce", body, [np.arange(100) % 10, np.arange(100) % 7], tolerance=1e-7)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2)])
def test_reduction_of_a_transposed_and_reshaped_operand(axes: tuple[int, ...]) -> None:
    def folded(x: Node) -> Node:
        return reduce_add(TRANSPOSE(reshape(x, (7, 4, 24)), permutation=(2, 0, 1)), axes)

    body = body_of_types(folded, TensorType((28, 24), F32))
    check_region("reduce", body, [random_array((28, 24), F32)], tolerance=CLOSE)


@pytest.mark.parametrize("n", [1, 3, 16, 50])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_symbolic_batch(n: int, axes: tuple[int, ...]) -> None:
    batch = dim("batch", 1, 4096)

    def mean(x: Node) -> Node:
        total = reduce_add(x, axes)
        count = CONVERT(SIZE(value=batch), dtype=F32)
        return DIVIDE(total, broadcast_in_dim(count, total.shape, ()))

    body = body_of_types(mean, TensorType((batch, 70), F32))
    check_region("reduce", body, [random_array((n, 70), F32) + 1], tolerance=CLOSE)


@pytest.mark.parametrize("n", [1, 17, 700])
def test_symbolic_columns(n: int) -> None:
    columns = dim("columns", 1, 1000)
    body = body_of_types(lambda x: reduce_add(x, (0,)), TensorType((5, columns), F64))
    check_region("reduce", body, [random_array((5, n), F64)], tolerance=1e-15)


def test_an_accumulator_may_share_memory_with_its_result() -> None:
    def added(total: Node, x: Node, y: Node) -> Node:
        return ADD(total, reduce_add(MULTIPLY(x, y), (0,)))

    t = TensorType((60, 70), F32)
    body = body_of_types(added, TensorType((70,), F32), t, t)
    assert schedule_region("reduce", body, X86_64_V4).in_place == {(0, 0)}
    x = random_array((60, 70), F32) + 1
    check_in_place("reduce", body, [random_array((70,), F32), x, x], {0: 0}, CLOSE)


def test_bytes_are_summed_with_wrap_around() -> None:
    x = np.arange(1000).astype(np.uint8).reshape(10, 100)
    check_region("reduce", body_of_types(lambda v: reduce_add(v, (0, 1)), TensorType(x.shape, U8)), [x])


GOLDEN = """\
kernel @sum sizes 0 {
  buffer %x0 f32[21600] strides [1] read
  buffer %r0 f32[300] strides [1] write
  parallel (%i0 = 300 by 150) {
    loop %i1 = %i0*150 to %i0*150 + 150 step 1 {
      %0 = constant[0.0] : f32x16
      %1 = load %x0[%i1*72] : f32x16
      %2 = add %0, %1 : f32x16
      %3 = load %x0[%i1*72 + 16] : f32x16
      %4 = add %0, %3 : f32x16
      %5 = load %x0[%i1*72 + 32] : f32x16
      %6 = add %0, %5 : f32x16
      %7 = load %x0[%i1*72 + 48] : f32x16
      %8 = add %0, %7 : f32x16
      %9 = tail_mask (64, 72) : boolx16
      %10 = load %x0[%i1*72 + 64] %9 : f32x16
      %11 = add %2, %10 : f32x16
      %12 = select %9, %11, %2 : f32x16
      %13 = add %12, %6 : f32x16
      %14 = add %4, %8 : f32x16
      %15 = add %13, %14 : f32x16
      %16 = reduce.add %15 : f32
      store %r0[%i1] %16
    }
  }
}
"""


def test_text_of_the_sum_of_rows() -> None:
    body = body_of_types(lambda x: reduce_add(x, (1,)), TensorType((300, 72), F32))
    assert str(schedule_region("reduce", body, X86_64_V4).calls[0].kernel) == GOLDEN
