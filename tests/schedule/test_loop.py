"""Loop fusions, interpreted and compiled, against the graph evaluator."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir.dims import dim
from mlc.ir.graph import (
    ADD,
    CLAMP,
    COMPARE,
    CONCATENATE,
    CONVERT,
    DIVIDE,
    EXPONENTIAL,
    IOTA,
    MAXIMUM,
    MULTIPLY,
    NEGATE,
    PAD,
    POWER,
    REVERSE,
    SELECT,
    SIZE,
    SLICE,
    SUBTRACT,
    TRANSPOSE,
    Node,
    broadcast_in_dim,
    constant,
    fill,
    full_like,
    reshape,
)
from mlc.ir.target import X86_64_V4
from mlc.ir.types import BF16, BOOL, DTYPES, F16, F32, F64, I32, I64, U8, DType, TensorType
from mlc.passes.schedule import schedule_region

from .running import body_of_types, check_in_place, check_region, random_array

SHAPES = [(), (1,), (3,), (16,), (17,), (4096,), (5, 7), (0,), (3, 0), (2, 3, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_elementwise_over_shapes(shape: tuple[int, ...]) -> None:
    t = TensorType(shape, F32)
    body = body_of_types(lambda x, y: (ADD(MULTIPLY(x, y), x), SUBTRACT(x, y)), t, t)
    check_region("loop", body, [random_array(shape, F32, 1), random_array(shape, F32, 2)])


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_dtype(dtype: DType) -> None:
    t = TensorType((3, 21), dtype)

    def both(x: Node, y: Node) -> list[Node]:
        greater = COMPARE(x, y, direction="GT")
        return [ADD(x, MULTIPLY(x, y)), SELECT(greater, x, y), greater]

    x, y = random_array((3, 21), dtype, 1), random_array((3, 21), dtype, 2)
    check_region("loop", body_of_types(both, t, t), [x, y])


@pytest.mark.parametrize("source", DTYPES.values(), ids=str)
@pytest.mark.parametrize("dtype", [F32, F16, BF16, F64, I32, U8, BOOL, I64], ids=str)
def test_convert(source: DType, dtype: DType) -> None:
    body = body_of_types(lambda x: CONVERT(x, dtype=dtype), TensorType((19,), source))
    check_region("loop", body, [random_array((19,), source, 3)], targets=(X86_64_V4,))


def test_broadcast_of_rows_columns_and_scalars() -> None:
    def sums(x: Node, row: Node, column: Node, one: Node) -> Node:
        shape = x.shape
        return ADD(
            ADD(x, broadcast_in_dim(row, shape, (1,))),
            MULTIPLY(broadcast_in_dim(column, shape, (0, 1)), broadcast_in_dim(one, shape, ())),
        )

    body = body_of_types(
        sums, *(TensorType(s, F32) for s in ((37, 45), (45,), (37, 1), ()))
    )  # fmt: skip
    check_region("loop", body, [random_array(s, F32, k) for k, s in enumerate(((37, 45), (45,), (37, 1), ()))])


def test_transpose_of_the_innermost_axis() -> None:
    body = body_of_types(lambda x: NEGATE(TRANSPOSE(x, permutation=(1, 0))), TensorType((19, 37), F32))
    check_region("loop", body, [random_array((19, 37), F32)])


def test_transpose_of_outer_axes_after_reshape_needs_no_division() -> None:
    def heads(x: Node) -> Node:
        return TRANSPOSE(reshape(x, (6, 4, 16)), permutation=(1, 0, 2))

    body = body_of_types(heads, TensorType((6, 64), F32))
    check_region("loop", body, [random_array((6, 64), F32)])
    text = str(schedule_region("loop", body, X86_64_V4).calls[0].kernel)
    assert "floordiv" not in text and "insert" not in text


def test_reshape_after_transpose_splits_the_results_axis() -> None:
    def merge(x: Node) -> Node:
        return reshape(TRANSPOSE(x, permutation=(1, 0, 2)), (6, 64))

    body = body_of_types(merge, TensorType((4, 6, 16), F32))
    check_region("loop", body, [random_array((4, 6, 16), F32)])
    assert "floordiv" not in str(schedule_region("loop", body, X86_64_V4).calls[0].kernel)


@pytest.mark.parametrize("shapes", [((6, 4), (4, 6)), ((2, 3, 35), (7, 30)), ((12,), (3, 1, 4)), ((1, 5), (5,))])
def test_reshape_between_transposes(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    first, second = shapes

    def twisted(x: Node) -> Node:
        turned = TRANSPOSE(x, permutation=tuple(reversed(range(len(first)))))
        return reshape(turned, second)

    body = body_of_types(twisted, TensorType(first, F32))
    check_region("loop", body, [random_array(first, F32)])


@pytest.mark.parametrize("strides", [(1, 1), (2, 3), (1, 2)])
def test_slice(strides: tuple[int, int]) -> None:
    def part(x: Node) -> Node:
        return SLICE(x, start=(2, 3), limit=(9, 40), strides=strides)

    check_region("loop", body_of_types(part, TensorType((11, 43), F32)), [random_array((11, 43), F32)])


@pytest.mark.parametrize("dtype", [F32, F64, BF16, BOOL])
@pytest.mark.parametrize("step", [2, 3, 4, 5])
def test_every_few_elements_up_to_the_last(step: int, dtype: DType) -> None:
    """Whole vectors and a tail, where nothing behind the last element may be read; and with a border around them."""

    def parts(x: Node) -> list[Node]:
        whole = SLICE(x, start=(0, 0), limit=x.shape, strides=(1, step))
        zero = constant(np.zeros((), dtype.numpy), dtype)
        wide = PAD(x, zero, low=(0, 1), high=(0, 1), interior=(0, 0))
        return [whole, SLICE(wide, start=(0, 0), limit=(3, 36 * step + 1), strides=(1, step))]

    type = TensorType((3, 36 * step + 1), dtype)
    check_region("loop", body_of_types(parts, type), [random_array(type.shape, dtype)])


def test_strided_elements_are_picked_from_whole_vectors() -> None:
    body = body_of_types(lambda x: SLICE(x, start=(1,), limit=(65,), strides=(2,)), TensorType((66,), F32))
    text = str(schedule_region("loop", body, X86_64_V4).calls[0].kernel)
    assert "shuffle" in text and "insert" not in text


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_reverse(axes: tuple[int, ...]) -> None:
    body = body_of_types(lambda x: REVERSE(x, dimensions=axes), TensorType((5, 41), F32))
    check_region("loop", body, [random_array((5, 41), F32)])


@pytest.mark.parametrize(
    ("low", "high", "interior"),
    [((1, 2), (3, 4), (0, 0)), ((0, 0), (0, 5), (1, 2)), ((-1, -2), (2, -3), (0, 0)), ((0, 7), (-2, 0), (0, 1))],
)
def test_pad(low: tuple[int, int], high: tuple[int, int], interior: tuple[int, int]) -> None:
    def padded(x: Node, value: Node) -> Node:
        return PAD(MULTIPLY(x, x), value, low=low, high=high, interior=interior)

    body = body_of_types(padded, TensorType((5, 23), F32), TensorType((), F32))
    check_region("loop", body, [random_array((5, 23), F32), np.float32(7.5)])


def test_pad_of_nothing() -> None:
    def padded(x: Node, value: Node) -> Node:
        return PAD(x, value, low=(2, 0), high=(0, 1), interior=(0, 0))

    body = body_of_types(padded, TensorType((0, 4), F32), TensorType((), F32))
    check_region("loop", body, [np.zeros((0, 4)), np.float32(3)])


@pytest.mark.parametrize("axis", [0, 1])
def test_concatenate(axis: int) -> None:
    shapes = [(4, 9), (4, 9), (4, 9)]
    shapes = [(4 + k, 9) if axis == 0 else (4, 9 + 4 * k) for k in range(3)]

    def joined(x: Node, y: Node, z: Node) -> Node:
        return CONCATENATE(x, NEGATE(y), z, dimension=axis)

    body = body_of_types(joined, *(TensorType(s, I32) for s in shapes))
    check_region("loop", body, [random_array(s, I32, k) for k, s in enumerate(shapes)])


def test_concatenate_of_broadcasts_and_of_nothing() -> None:
    def joined(x: Node, y: Node, z: Node) -> Node:
        return CONCATENATE(broadcast_in_dim(x, (3, 5), (0,)), z, broadcast_in_dim(y, (3, 20), (1,)), dimension=1)

    body = body_of_types(joined, TensorType((3,), F32), TensorType((20,), F32), TensorType((3, 0), F32))
    check_region("loop", body, [random_array((3,), F32), random_array((20,), F32), np.zeros((3, 0))])


def test_pad_under_transpose_under_slice() -> None:
    def mixed(x: Node) -> Node:
        zero = constant(np.float32(-1))
        padded = PAD(x, zero, low=(1, 2), high=(0, 3), interior=(0, 0))
        turned = TRANSPOSE(padded, permutation=(1, 0))
        return SLICE(REVERSE(turned, dimensions=(0,)), start=(1, 0), limit=(20, 9), strides=(2, 1))

    check_region("loop", body_of_types(mixed, TensorType((8, 17), F32)), [random_array((8, 17), F32)])


@pytest.mark.parametrize("dtype", [F32, F16, I32, I64, U8], ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_iota(dtype: DType, axis: int) -> None:
    def counted(x: Node) -> Node:
        return ADD(x, IOTA(shape=(7, 33), dtype=dtype, dimension=axis))

    body = body_of_types(counted, TensorType((7, 33), dtype))
    check_region("loop", body, [random_array((7, 33), dtype)])


def test_array_constants_become_tables() -> None:
    table = np.arange(40, dtype=np.float32).reshape(2, 20) ** 2

    def shifted(x: Node) -> Node:
        return ADD(x, broadcast_in_dim(constant(table), (3, 2, 20), (1, 2)))

    body = body_of_types(shifted, TensorType((3, 2, 20), F32))
    check_region("loop", body, [random_array((3, 2, 20), F32)])


@pytest.mark.parametrize("dtype", [U8, I32, F32], ids=str)
@pytest.mark.parametrize("shape", [(33,), (70, 5)], ids=str)
def test_a_reversed_iota_counts_down(dtype: DType, shape: tuple[int, ...]) -> None:
    def write(x: Node) -> Node:
        return ADD(x, REVERSE(IOTA(shape=shape, dtype=dtype, dimension=0), dimensions=tuple(range(len(shape)))))

    body = body_of_types(write, TensorType(shape, dtype))
    check_region("loop", body, [random_array(shape, dtype)])


def test_one_hot_compares_an_iota_with_labels() -> None:
    def one_hot(labels: Node) -> Node:
        classes = IOTA(shape=(9, 10), dtype=I64, dimension=1)
        return CONVERT(COMPARE(broadcast_in_dim(labels, (9, 10), (0,)), classes, direction="EQ"), dtype=F32)

    body = body_of_types(one_hot, TensorType((9,), I64))
    check_region("loop", body, [np.arange(9) % 7])


@pytest.mark.parametrize("dtype", [I32, I64, U8], ids=str)
def test_integer_power(dtype: DType) -> None:
    x = np.array([0, 1, 2, 3, 5, 1, 2, 7, 2, 9, 0], dtype.numpy)
    y = np.array([0, 9, 3, 4, 0, 2, 7, 2, 1, 1, 5], dtype.numpy)
    if dtype.kind == "int":
        x, y = np.concatenate([x, -x]), np.concatenate([y, y - 4])
    t = TensorType(x.shape, dtype)
    check_region("loop", body_of_types(lambda a, b: POWER(a, b), t, t), [x, y])


def test_clamp_keeps_nan() -> None:
    def clamped(x: Node) -> Node:
        return CLAMP(full_like(x, -1.0), x, full_like(x, 1.0))

    x = np.array([np.nan, -np.inf, np.inf, 0.5, -3.0, 2.0, -0.0], np.float32)
    check_region("loop", body_of_types(clamped, TensorType((7,), F32)), [x])


def test_transcendental_functions_stay_close() -> None:
    t = TensorType((3, 50), F32)
    body = body_of_types(lambda x: DIVIDE(EXPONENTIAL(x), ADD(EXPONENTIAL(x), fill(1.0, t))), t)
    check_region("loop", body, [random_array((3, 50), F32)], tolerance=1e-6)


@pytest.mark.parametrize("n", [1, 2, 16, 33, 64])
def test_symbolic_batch(n: int) -> None:
    batch = dim("batch", 1, 64)

    def layer(x: Node, bias: Node) -> list[Node]:
        shifted = ADD(x, broadcast_in_dim(bias, x.shape, (1,)))
        count = CONVERT(SIZE(value=batch), dtype=F32)
        return [MAXIMUM(shifted, full_like(shifted, 0.0)), DIVIDE(shifted, broadcast_in_dim(count, x.shape, ()))]

    body = body_of_types(layer, TensorType((batch, 21), F32), TensorType((21,), F32))
    check_region("loop", body, [random_array((n, 21), F32, 1), random_array((21,), F32, 2)])


@pytest.mark.parametrize("n", [0, 1, 5, 40])
def test_symbolic_reshape_concatenate_and_reverse(n: int) -> None:
    size = dim("n", 0, 40)

    def mixed(x: Node) -> Node:
        turned = REVERSE(reshape(x, (size * 12,)), dimensions=(0,))
        return CONCATENATE(turned, reshape(TRANSPOSE(x, permutation=(1, 0)), (size * 12,)), dimension=0)

    body = body_of_types(mixed, TensorType((size, 12), F32))
    check_region("loop", body, [random_array((n, 12), F32)])


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 5), (3, 40)])
def test_symbolic_inner_axis(n: int, m: int) -> None:
    rows, columns = dim("rows", 1, 100), dim("columns", 1, 1 << 20)

    def layer(x: Node, bias: Node) -> Node:
        return ADD(x, broadcast_in_dim(bias, x.shape, (1,)))

    body = body_of_types(layer, TensorType((rows, columns), F32), TensorType((columns,), F32))
    check_region("loop", body, [random_array((n, m), F32, 1), random_array((m,), F32, 2)])


def test_large_arrays_are_cut_by_shape() -> None:
    body = body_of_types(lambda x: ADD(x, x), TensorType((100_003,), F32))
    call = schedule_region("loop", body, X86_64_V4).calls[0]
    ((extent, grain),) = call.tasks
    assert extent == 100_003 and 10 <= -(-extent // grain) <= 50 and not call.serial
    check_region("loop", body, [random_array((100_003,), F32)], targets=(X86_64_V4,))


def test_what_may_share_memory() -> None:
    def update(w: Node, g: Node, row: Node) -> list[Node]:
        shifted = SUBTRACT(w, MULTIPLY(g, broadcast_in_dim(row, w.shape, (1,))))
        return [shifted, reshape(TRANSPOSE(g, permutation=(1, 0)), (8, 8))]

    t = TensorType((8, 8), F32)
    region = schedule_region("loop", body_of_types(update, t, t, TensorType((8,), F32)), X86_64_V4)
    assert region.in_place == {(0, 0), (0, 1)}


def test_a_reshaped_parameter_may_share_memory() -> None:
    body = body_of_types(lambda x: NEGATE(reshape(x, (6, 64))), TensorType((6, 4, 16), F32))
    assert schedule_region("loop", body, X86_64_V4).in_place == {(0, 0)}


@pytest.mark.parametrize("dtype", [F32, F64, BF16, U8, BOOL], ids=str)
@pytest.mark.parametrize("shape", [(64, 48), (35, 83), (16, 16), (130, 20)])
def test_transposes_are_turned_in_squares(shape: tuple[int, int], dtype: DType) -> None:
    body = body_of_types(lambda x: TRANSPOSE(x, permutation=(1, 0)), TensorType(shape, dtype))
    check_region("loop", body, [random_array(shape, dtype)])


def test_a_turned_operand_meets_a_straight_one_and_a_row() -> None:
    def mixed(x: Node, y: Node, row: Node) -> list[Node]:
        turned = TRANSPOSE(y, permutation=(0, 2, 1))
        return [ADD(x, MULTIPLY(turned, turned)), SUBTRACT(turned, broadcast_in_dim(row, x.shape, (2,)))]

    shapes = ((3, 70, 37), (3, 37, 70), (37,))
    body = body_of_types(mixed, *(TensorType(s, F32) for s in shapes))
    text = str(schedule_region("loop", body, X86_64_V4).calls[0].kernel)
    assert "shuffle" in text
    check_region("loop", body, [random_array(s, F32, k) for k, s in enumerate(shapes)])


@pytest.mark.parametrize("n", [1, 16, 40, 100])
def test_transpose_of_a_symbolic_axis(n: int) -> None:
    rows = dim("rows", 1, 100)
    body = body_of_types(lambda x: TRANSPOSE(x, permutation=(1, 0)), TensorType((rows, 33), F32))
    check_region("loop", body, [random_array((n, 33), F32)])


def test_large_results_are_written_past_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.passes.schedule.loop.PAST_CACHES", 1 << 12)
    flat = body_of_types(lambda x: NEGATE(x), TensorType((2053,), F32))
    check_region("loop", flat, [random_array((2053,), F32)])
    assert "nontemporal" in str(schedule_region("loop", flat, X86_64_V4).calls[0].kernel)

    def shifted(x: Node, row: Node) -> Node:
        return ADD(x, broadcast_in_dim(row, x.shape, (1,)))

    rows = body_of_types(shifted, TensorType((64, 35), F32), TensorType((35,), F32))  # not aligned
    assert "nontemporal" not in str(schedule_region("loop", rows, X86_64_V4).calls[0].kernel)


def test_updates_in_place_by_compiled_code() -> None:
    """Each result in the memory of a parameter, as the plan may do with the pairs of in_place."""

    def update(w: Node, m: Node, g: Node) -> list[Node]:
        new = ADD(MULTIPLY(m, full_like(m, 0.5)), g)
        return [SUBTRACT(w, MULTIPLY(new, full_like(w, 0.25))), new]

    t = TensorType((33, 77), F32)
    body = body_of_types(update, t, t, t)
    check_in_place("loop", body, [random_array((33, 77), F32, k) for k in range(3)], {0: 0, 1: 1})


GOLDEN = """\
kernel @add_max sizes 1 {
  buffer %x0 f32[%n0*37] strides [1] read
  buffer %x1 f32[37] strides [1] read
  buffer %r0 f32[%n0*37] strides [1] write
  parallel (%i0 = %n0 by 94) {
    %q0 = min (%i0*94 + 94, %n0)
    loop %i1 = %i0*94 to %q0 step 1 {
      loop %i2 = 0 to 32 step 16 unroll 4 {
        %0 = load %x0[%i1*37 + %i2] : f32x16
        %1 = load %x1[%i2] : f32x16
        %2 = add %0, %1 : f32x16
        %3 = constant[0.0] : f32
        %4 = constant[0.0] : f32x16
        %5 = maximum %2, %4 : f32x16
        store %r0[%i1*37 + %i2] %5
      }
      %6 = tail_mask (32, 37) : boolx16
      %7 = load %x0[%i1*37 + 32] %6 : f32x16
      %8 = load %x1[32] %6 : f32x16
      %9 = add %7, %8 : f32x16
      %10 = constant[0.0] : f32
      %11 = constant[0.0] : f32x16
      %12 = maximum %9, %11 : f32x16
      store %r0[%i1*37 + 32] %12, %6
    }
  }
}
"""


def test_text_of_a_bias_and_relu() -> None:
    batch = dim("batch", 1, 512)

    def layer(x: Node, bias: Node) -> Node:
        shifted = ADD(x, broadcast_in_dim(bias, x.shape, (1,)))
        return MAXIMUM(shifted, full_like(shifted, 0.0))

    body = body_of_types(layer, TensorType((batch, 37), F32), TensorType((37,), F32))
    assert str(schedule_region("loop", body, X86_64_V4).calls[0].kernel) == GOLDEN
