"""while and case: types, meaning, text, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.errors import MlcError, VerifyError
from mlc.ir.graph import (
    ADD,
    CASE,
    COMPARE,
    MULTIPLY,
    NEGATE,
    WHILE,
    Graph,
    Node,
    Table,
    constant,
    evaluate_graph,
    parse_graph,
    print_graph,
    results_of,
    trip_count,
    verify_graph,
)  # fmt: skip
from mlc.ir.graph.verify import check_attributes
from mlc.ir.types import F64, I32, I64, TensorType, scalar

COUNT = scalar(I64)
VECTOR = TensorType((3,), F64)


def region(name, types, make):
    table = Table()
    with table.active():
        parameters = [table.parameter(t) for t in types]
        made = make(*parameters)
        results = made if isinstance(made, tuple) else (made,)
        return Graph(name, parameters, results, table)


def below(limit: int) -> Graph:
    return region("cond", [COUNT, VECTOR], lambda i, x: COMPARE(i, constant(np.int64(limit)), direction="LT"))


def doubled() -> Graph:
    return region("body", [COUNT, VECTOR], lambda i, x: (ADD(i, constant(np.int64(1))), ADD(x, x)))


def loop(limit: int) -> Graph:
    def make(x: Node):
        return results_of(WHILE(constant(np.int64(0)), x, cond=below(limit), body=doubled()))

    return region("loop", [VECTOR], make)


@pytest.mark.parametrize("limit", [-1, 0, 1, 7])
def test_a_while_runs_as_often_as_its_cond_holds(limit):
    x = np.array([1.0, -0.5, np.inf])
    count, result = evaluate_graph(loop(limit), [x])
    assert count == max(limit, 0)
    np.testing.assert_array_equal(result, x * 2.0 ** max(limit, 0))


@pytest.mark.parametrize("limit", [-1, 0, 7])
def test_the_trips_of_a_counter_are_known_and_cost(limit):
    (count, _) = loop(limit).results
    node = count.operands[0]
    assert trip_count(node) == max(limit, 0)
    assert node.op.flops(node) == max(limit, 0) * (1 + 3 + 1)


def test_a_while_in_a_while_is_evaluated_without_recursion():
    """Three deep: 5 * 4 * 3 additions."""

    def nested(depth: int, trips: tuple[int, ...]) -> Graph:
        def body(i: Node, x: Node):
            inner = x
            if depth + 1 < len(trips):
                inner = results_of(
                    WHILE(constant(np.int64(0)), x, cond=cond(depth + 1), body=nested(depth + 1, trips))
                )[1]
            else:
                inner = ADD(x, constant(np.float64(1)))
            return ADD(i, constant(np.int64(1))), inner

        return region(f"body{depth}", [COUNT, scalar(F64)], body)

    def cond(depth: int) -> Graph:
        limit = np.int64((5, 4, 3)[depth])
        return region(f"cond{depth}", [COUNT, scalar(F64)], lambda i, x: COMPARE(i, constant(limit), direction="LT"))

    whole = region(
        "whole", [scalar(F64)],
        lambda x: results_of(WHILE(constant(np.int64(0)), x, cond=cond(0), body=nested(0, (5, 4, 3))))[1],
    )  # fmt: skip
    assert evaluate_graph(whole, [np.float64(0.5)])[0] == 60.5
    verify_graph(whole)
    assert print_graph(parse_graph(print_graph(whole))) == print_graph(whole)


def choice() -> Graph:
    branches = (
        region("same", [VECTOR], lambda x: x),
        region("negative", [VECTOR], NEGATE),
        region("square", [VECTOR], lambda x: MULTIPLY(x, x)),
    )
    return region("choice", [scalar(I32), VECTOR], lambda i, x: CASE(i, x, branches=branches))


@pytest.mark.parametrize(("index", "sign"), [(0, 1), (1, -1), (2, None), (3, None), (-1, None), (2**31 - 1, None)])
def test_a_case_takes_the_last_branch_for_what_numbers_none(index, sign):
    x = np.array([1.5, -2.0, 0.0])
    (found,) = evaluate_graph(choice(), [np.int32(index), x])
    np.testing.assert_array_equal(found, x * x if sign is None else sign * x)


@pytest.mark.parametrize("graph", [loop(5), choice()])
def test_text_and_verifier_know_regions(graph):
    verify_graph(graph)
    text = print_graph(graph)
    back = parse_graph(text)
    assert print_graph(back) == text and back.fingerprint == graph.fingerprint


def test_a_case_costs_its_dearest_branch():
    (node,) = choice().results
    assert node.op.flops(node) == 3


def test_unfit_regions_are_refused_with_both_types():
    wrong = region("body", [COUNT, VECTOR], lambda i, x: (i, constant(np.zeros(3, np.float32))))
    other = region("cond", [COUNT], lambda i: COMPARE(i, i, direction="EQ"))
    number = region("cond", [COUNT, VECTOR], lambda i, x: i)
    cases = [
        (below(3), wrong, "value 1 is f64[3] and f32[3]"),
        (other, doubled(), "cond takes (i64[]); was given (i64[], f64[3])"),
        (number, doubled(), "cond gives (i64[]), not one bool[]"),
    ]
    table = Table()
    with table.active():
        operands = table.parameter(COUNT), table.parameter(VECTOR)
        for cond, body, words in cases:
            with pytest.raises(MlcError, match="while: ") as error:
                WHILE(*operands, cond=cond, body=body)
            assert words in error.value.message
        with pytest.raises(MlcError, match="carries no value"):
            WHILE(cond=below(3), body=doubled())
        index, x = table.parameter(scalar(I32)), operands[1]
        same, narrow = (
            region("same", [VECTOR], lambda x: x),
            region("narrow", [VECTOR], lambda x: constant(np.float32(1))),
        )
        with pytest.raises(MlcError, match=r"branch 0 gives \(f64\[3\]\), branch 1 gives \(f32\[\]\)"):
            CASE(index, x, branches=(same, narrow))
        with pytest.raises(MlcError, match="the index is f64"):
            CASE(x, x, branches=(same,))
        with pytest.raises(MlcError, match="no branch"):
            CASE(index, x, branches=())
        with pytest.raises(VerifyError, match="branches is a list of graphs"):
            check_attributes(CASE, {"branches": same})


def test_trips_are_unknown_where_the_limit_changes():
    cond = region("cond", [COUNT, COUNT], lambda i, n: COMPARE(i, n, direction="LT"))
    step = region("step", [COUNT, COUNT], lambda i, n: (ADD(i, constant(np.int64(2))), ADD(n, constant(np.int64(-1)))))
    fixed = region("fixed", [COUNT, COUNT], lambda i, n: (ADD(i, constant(np.int64(2))), n))
    table = Table()
    with table.active():
        start, limit = constant(np.int64(0)), constant(np.int64(9))
        assert trip_count(WHILE(start, limit, cond=cond, body=step)) is None
        assert trip_count(WHILE(start, limit, cond=cond, body=fixed)) == 5
