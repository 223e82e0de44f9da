"""simplify: what is computed of constants alone is a constant, unless that is long, large, or already free."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir.graph import (
    ADD,
    CONSTANT,
    DIVIDE,
    EXPONENTIAL,
    MULTIPLY,
    NEGATE,
    TRANSPOSE,
    Graph,
    Node,
    Table,
    broadcast_in_dim,
    constant,
    dot_general,
    evaluate_graph,
    reduce_add,
)
from mlc.ir.types import F32, TensorType
from mlc.passes.simplify import simplify

SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.5], np.float32)


def simplified(make, shape=(7,)) -> tuple[list[str], np.ndarray]:
    """The ops that are left of x * (what ``make`` builds of constants), and the right factor's values."""
    table = Table()
    with table.active():
        x = table.parameter(TensorType(shape, F32), "x")
        graph = Graph("f", (x,), (MULTIPLY(x, make()),), table)
    after = simplify(graph)
    ones = np.ones(shape, np.float32)
    before, now = evaluate_graph(graph, [ones])[0], evaluate_graph(after, [ones])[0]
    assert before.tobytes() == now.tobytes() or np.array_equal(before, now, equal_nan=True)
    assert np.array_equal(np.signbit(before), np.signbit(now))
    return [n.op.name for n in after.nodes if n.op.name != "parameter"], now


@pytest.mark.parametrize(
    "make",
    [
        lambda c: NEGATE(c),
        lambda c: EXPONENTIAL(c),
        lambda c: DIVIDE(broadcast_in_dim(constant(1.0, F32), (7,), ()), c),
        lambda c: ADD(MULTIPLY(c, c), c),
        lambda c: reduce_add(broadcast_in_dim(c, (2, 7), (1,)), (0,)),
    ],
)
def test_special_values_come_out_as_the_evaluator_says(make) -> None:
    ops, _ = simplified(lambda: make(constant(SPECIAL)))
    assert ops == ["constant", "multiply"]


def test_the_sign_of_zero_is_kept() -> None:
    _, values = simplified(lambda: NEGATE(constant(SPECIAL)))
    assert list(np.signbit(values[:2])) == [True, False]


def test_numbers_that_are_repeated_stay_numbers() -> None:
    ops, _ = simplified(lambda: broadcast_in_dim(constant(2.0, F32), (7,), ()))
    assert ops == ["constant", "broadcast_in_dim", "multiply"]


def test_what_would_grow_stays() -> None:
    ops, _ = simplified(
        lambda: broadcast_in_dim(constant(np.arange(1.0, 8.0, dtype=np.float32)), (40, 7), (1,)), (40, 7)
    )
    assert ops == ["constant", "broadcast_in_dim", "multiply"]

    def outer() -> Node:
        c = constant(np.ones((300, 1), np.float32))
        return dot_general(c, c, (1,), (1,), (), ())

    ops, _ = simplified(outer, (300, 300))
    assert "dot_general" in ops


def test_a_large_constant_that_is_only_moved_stays_where_it_is() -> None:
    large = np.ones((200, 100), np.float32)
    ops, _ = simplified(lambda: TRANSPOSE(constant(large), permutation=(1, 0)), (100, 200))
    assert ops == ["constant", "transpose", "multiply"]
    ops, _ = simplified(lambda: TRANSPOSE(constant(large[:9]), permutation=(1, 0)), (100, 9))
    assert ops == ["constant", "multiply"]


def test_long_work_stays() -> None:
    weights = np.ones((700, 700), np.float32)

    def product() -> Node:
        c = constant(weights)
        return dot_general(c, c, (1,), (0,), (), ())

    ops, _ = simplified(product, (700, 700))
    assert ops == ["constant", "dot_general", "multiply"]


def test_a_folded_constant_is_at_the_line_of_what_it_replaces() -> None:
    table = Table()
    with table.active():
        c = constant(SPECIAL)
        with table.at((("model.py", 3),)):  # type: ignore[arg-type]
            negated = NEGATE(c)
        graph = Graph("f", (), (negated,), table)
    after = simplify(graph)
    assert after.results[0].op is CONSTANT and after.locations(after.results[0]) == (("model.py", 3),)
