"""Row fusions, interpreted and compiled, against the graph evaluator (floats summed in f64)."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.errors import InternalError
from mlc.ir.dims import dim
from mlc.ir.graph import (
    ADD,
    COMPARE,
    CONVERT,
    DIVIDE,
    EXPONENTIAL,
    IOTA,
    LOG,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    SELECT,
    SQRT,
    SUBTRACT,
    TRANSPOSE,
    Node,
    broadcast_in_dim,
    fill,
    full_like,
    reduce_add,
    reduce_with,
    reshape,
)
from mlc.ir.target import X86_64_V3, X86_64_V4
from mlc.ir.types import BF16, F16, F32, F64, I32, I64, U8, DType, TensorType
from mlc.passes.schedule import schedule_region
from mlc.passes.schedule.row_form import row_form

from .running import body_of_types, check_in_place, check_region, random_array

CLOSE = 3e-6
SHAPES = [
    (5, 10),
    (3, 100),
    (4, 17),
    (2, 64),
    (3, 128),
    (2, 1000),
    (3, 2, 30),
    (7,),
    (1, 1, 5),
    (5, 1),
    (0, 5),
    (130, 3),
]


def over(x: Node, like: Node) -> Node:
    """A value of each row over the row's elements."""
    return broadcast_in_dim(x, like.shape, tuple(range(len(x.shape))))


def last(x: Node) -> tuple[int, ...]:
    return (len(x.shape) - 1,)


def softmax(x: Node) -> tuple[Node, Node]:
    """The softmax, and the logarithm of the sum of exponentials of each row."""
    largest = reduce_with(MAXIMUM, x, last(x))
    e = EXPONENTIAL(SUBTRACT(x, over(largest, x)))
    total = reduce_add(e, last(x))
    return DIVIDE(e, over(total, x)), ADD(largest, LOG(total))


def layer_norm(x: Node, gain: Node, bias: Node) -> Node:
    n = full_like(reduce_add(x, last(x)), x.shape[-1])
    centred = SUBTRACT(x, over(DIVIDE(reduce_add(x, last(x)), n), x))
    variance = DIVIDE(reduce_add(MULTIPLY(centred, centred), last(x)), n)
    scaled = DIVIDE(centred, over(SQRT(ADD(variance, full_like(variance, 1e-5))), x))
    axes = last(x)
    return ADD(MULTIPLY(scaled, broadcast_in_dim(gain, x.shape, axes)), broadcast_in_dim(bias, x.shape, axes))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax(shape: tuple[int, ...]) -> None:
    body = body_of_types(softmax, TensorType(shape, F32))
    check_region("row", body, [random_array(shape, F32)], CLOSE)


@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) > 1], ids=str)
def test_layer_norm(shape: tuple[int, ...]) -> None:
    row = TensorType(shape[-1:], F32)
    body = body_of_types(layer_norm, TensorType(shape, F32), row, row)
    arrays = [random_array(shape, F32) + 3, random_array(shape[-1:], F32, 1), random_array(shape[-1:], F32, 2)]
    check_region("row", body, arrays, CLOSE)


def test_the_variance_does_not_cancel() -> None:
    """Far from zero E[x^2] - E[x]^2 has no right digit left."""
    row = TensorType((300,), F32)
    body = body_of_types(layer_norm, TensorType((4, 300), F32), row, row)
    ones, zeros = np.ones(300, np.float32), np.zeros(300, np.float32)
    check_region("row", body, [random_array((4, 300), F32) + 2000, ones, zeros], 2e-3)


@pytest.mark.parametrize("dtype", [F64, F16, BF16], ids=str)
@pytest.mark.parametrize("n", [10, 150])
def test_softmax_of_other_floats(dtype: DType, n: int) -> None:
    body = body_of_types(softmax, TensorType((5, n), dtype))
    check_region("row", body, [random_array((5, n), dtype)], {F64: 1e-14, F16: 4e-3, BF16: 3e-2}[dtype])


@pytest.mark.parametrize("n", [9, 200])
def test_nan_and_infinities_stay_in_their_row(n: int) -> None:
    x = random_array((6, n), F32)
    x[0, 3], x[1, 2], x[2, :], x[3, 1] = np.nan, np.inf, -np.inf, -np.inf
    body = body_of_types(softmax, TensorType((6, n), F32))
    check_region("row", body, [x], CLOSE)


def cross_entropy(logits: Node, labels: Node) -> tuple[Node, ...]:
    """The loss of each row, whether its label is a class, and the gradient."""
    p, log_sum = softmax(logits)
    chosen = COMPARE(
        broadcast_in_dim(labels, logits.shape, (0,)), IOTA(shape=logits.shape, dtype=I32, dimension=1), direction="EQ"
    )
    zero = fill(0.0, logits.tensor)
    picked = reduce_add(SELECT(chosen, logits, zero), (1,))
    valid = COMPARE(labels, full_like(labels, 0), direction="GE")
    gradient = SUBTRACT(p, SELECT(chosen, fill(1.0, logits.tensor), zero))
    return SUBTRACT(log_sum, picked), valid, SELECT(over(valid, logits), gradient, zero)


@pytest.mark.parametrize("shape", [(12, 10), (3, 40), (2, 700)], ids=str)
def test_cross_entropy_and_its_gradient(shape: tuple[int, int]) -> None:
    body = body_of_types(cross_entropy, TensorType(shape, F32), TensorType(shape[:1], I32))
    labels = np.arange(shape[0], dtype=np.int32) % shape[1]
    labels[1] = -1
    check_region("row", body, [random_array(shape, F32), labels], CLOSE)


@pytest.mark.parametrize("n", [6, 80, 999])
def test_the_position_of_the_largest(n: int) -> None:
    def first_largest(x: Node) -> Node:
        best = COMPARE(x, over(reduce_with(MAXIMUM, x, (1,)), x), direction="EQ")
        positions = IOTA(shape=x.shape, dtype=I64, dimension=1)
        return reduce_with(MINIMUM, SELECT(best, positions, full_like(positions, n)), (1,))

    check_region("row", body_of_types(first_largest, TensorType((5, n), F32)), [random_array((5, n), F32)])


@pytest.mark.parametrize("dtype", [I32, U8], ids=str)
def test_integers_less_their_sum(dtype: DType) -> None:
    body = body_of_types(lambda x: SUBTRACT(x, over(reduce_add(x, (1,)), x)), TensorType((4, 37), dtype))
    check_region("row", body, [random_array((4, 37), dtype)])


def test_rows_of_two_axes_and_an_operand_along_one_of_them() -> None:
    def body(x: Node, g: Node) -> Node:
        y = MULTIPLY(x, broadcast_in_dim(g, x.shape, (1,)))
        return SUBTRACT(y, over(reduce_add(y, (1, 2)), y))

    for shape in ((3, 4, 5), (2, 7, 40)):
        types = (TensorType(shape, F32), TensorType(shape[1:2], F32))
        check_region("row", body_of_types(body, *types), [random_array(t.shape, F32) for t in types], CLOSE)


def test_a_transposed_operand_and_a_reshaped_one() -> None:
    def body(x: Node, y: Node) -> Node:
        z = ADD(TRANSPOSE(x, permutation=(1, 0)), reshape(y, (6, 70)))
        return SUBTRACT(z, over(reduce_add(z, (1,)), z))

    types = (TensorType((70, 6), F32), TensorType((42, 10), F32))
    check_region("row", body_of_types(body, *types), [random_array(t.shape, F32) for t in types], CLOSE)


@pytest.mark.parametrize(("rows", "columns"), [(5, 9), (1, 1), (12, 300)])
def test_symbolic_sizes(rows: int, columns: int) -> None:
    r, c = dim("r", 1, 16), dim("c", 1, 512)
    body = body_of_types(softmax, TensorType((r, c), F32))
    check_region("row", body, [random_array((rows, columns), F32)], CLOSE)


def test_a_value_that_is_stored_early_is_read_again_by_later_walks() -> None:
    def body(x: Node, y: Node) -> tuple[Node, ...]:
        h = ADD(EXPONENTIAL(x), y)
        return h, SUBTRACT(h, over(reduce_add(h, (1,)), h))

    graph = body_of_types(body, TensorType((3, 500), F32), TensorType((3, 500), F32))
    walks = row_form(graph, X86_64_V4).walks
    assert [len(w.reads) for w in walks] == [0, 1] and not any(w.writes for w in walks)
    check_region("row", graph, [random_array((3, 500), F32), random_array((3, 500), F32, 1)], CLOSE)


def test_exponentials_are_computed_once() -> None:
    """Kept beside the row where it is walked by loops, in registers where it is not."""
    body = body_of_types(lambda x: softmax(x)[0], TensorType((3, 500), F32))
    walks = row_form(body, X86_64_V4).walks
    assert [[n.op.name for n in w.writes] for w in walks] == [[], ["exponential"], []]
    for n, vectors in ((50, 4), (128, 8), (129, 0)):
        body = body_of_types(lambda x: softmax(x)[0], TensorType((3, n), F32))
        form = row_form(body, X86_64_V4)
        text = str(schedule_region("row", body, X86_64_V4).calls[0].kernel)
        assert form.vectors == vectors and text.count("= exponential") == (vectors or 4 + 1)


def test_in_place() -> None:
    """A row lies where the operand did that is read no more, an operand that others' elements are read of does not."""
    shape = (6, 300)
    x, y = random_array(shape, F32), random_array((6,), F32)

    def body(x: Node, y: Node) -> tuple[Node, ...]:
        p, log_sum = softmax(x)
        return MULTIPLY(p, over(y, p)), ADD(log_sum, y)

    graph = body_of_types(body, TensorType(shape, F32), TensorType(shape[:1], F32))
    for target in (X86_64_V3, X86_64_V4):
        assert schedule_region("row", graph, target).in_place == {(0, 0), (1, 1)}
    check_in_place("row", graph, [x, y], {0: 0, 1: 1}, CLOSE)

    def early(x: Node, y: Node) -> tuple[Node, ...]:
        h = ADD(x, over(y, x))
        return h, SUBTRACT(x, over(reduce_add(h, (1,)), h))

    graph = body_of_types(early, TensorType(shape, F32), TensorType(shape[:1], F32))
    assert schedule_region("row", graph, X86_64_V4).in_place == {(0, 1)}  # x is read after h is stored

    def turned(x: Node) -> Node:
        z = TRANSPOSE(x, permutation=(1, 0))
        return SUBTRACT(x, over(reduce_add(z, (1,)), x))

    graph = body_of_types(turned, TensorType((20, 20), F32))
    assert schedule_region("row", graph, X86_64_V4).in_place == frozenset()


@pytest.mark.parametrize("n", [13, 300])  # in registers, and in loops
def test_in_place_of_what_another_result_reads(n: int) -> None:
    """All that is stored at an element, or for a row, is computed before one of it overwrites an operand."""

    def wide(x: Node, y: Node) -> tuple[Node, ...]:
        z = SUBTRACT(x, over(reduce_add(x, (1,)), x))
        return z, SUBTRACT(y, MULTIPLY(z, z))

    def narrow(x: Node, y: Node) -> tuple[Node, ...]:
        total = reduce_add(x, (1,))
        return ADD(total, y), SUBTRACT(total, y)

    for body, shape in ((wide, (6, n)), (narrow, (6,))):
        graph = body_of_types(body, TensorType((6, n), F32), TensorType(shape, F32))
        for result in (0, 1):
            check_in_place("row", graph, [random_array((6, n), F32), random_array(shape, F32, 1)], {result: 1}, CLOSE)


def test_folds_of_different_rows_are_refused() -> None:
    def body(x: Node) -> tuple[Node, Node]:
        return reduce_add(x, (1,)), reduce_add(x, (0,))

    with pytest.raises(InternalError, match=r"row body: a fold of f32\[4,5\] over \(0,\)"):
        row_form(body_of_types(body, TensorType((4, 5), F32)), X86_64_V4)


def test_mixed_widths() -> None:
    def body(x: Node) -> Node:
        wide = CONVERT(x, dtype=F64)
        return CONVERT(DIVIDE(wide, over(reduce_add(wide, (1,)), wide)), dtype=F32)

    check_region("row", body_of_types(body, TensorType((3, 90), F32)), [random_array((3, 90), F32) + 4], 1e-6)
