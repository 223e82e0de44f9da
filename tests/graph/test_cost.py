"""Costs: known counts, sums over scopes that equal the total before and after optimization, and memory that adds up."""

from __future__ import annotations

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp

F32 = 4


def program(x, w):  # type: ignore[no-untyped-def]
    with mlc.scope("dense"):
        y = mnp.tanh(x @ w)
        with mlc.scope("inner"):
            z = y * 3.0
    with mlc.scope("loss"):
        return mnp.sum(z, axis=0), mnp.reshape(y, (-1,))


def lowered(rows: object = 8) -> object:
    return mlc.jit(program).lower(mlc.ShapeDtype((rows, 16), "f32"), mlc.ShapeDtype((16, 32), "f32"))


def test_a_product_has_two_operations_for_each_of_its_multiplications() -> None:
    f = mlc.jit(lambda x, y: x @ y).lower(mlc.ShapeDtype((5, 7)), mlc.ShapeDtype((7, 3)))
    cost = f.cost_analysis()
    assert cost["flops"] == 2 * 5 * 7 * 3
    assert cost["bytes accessed"] == F32 * (5 * 7 + 7 * 3 + 5 * 3)
    assert cost["transcendentals"] == 0


@pytest.mark.parametrize("stage", ["lowered", "compiled"])
def test_scopes_add_up_to_the_total(stage: str) -> None:
    one = lowered()
    cost = (one if stage == "lowered" else one.compile()).cost_analysis()  # type: ignore[attr-defined]
    for key in ("flops", "transcendentals", "bytes accessed"):
        assert cost[key] == sum(scope[key] for scope in cost["scopes"].values()), key
    assert cost["transcendentals"] == 8 * 32
    assert cost["flops"] >= 2 * 8 * 16 * 32


def test_each_scope_has_its_own() -> None:
    scopes = lowered().cost_analysis()["scopes"]  # type: ignore[attr-defined]
    assert scopes["dense"]["transcendentals"] == 8 * 32 and scopes["dense"]["flops"] > 2 * 8 * 16 * 32
    assert scopes["dense/inner"]["flops"] == 8 * 32
    assert scopes["loss"]["flops"] == 8 * 32
    assert scopes["loss"]["transcendentals"] == 0


@pytest.mark.parametrize("stage", ["lowered", "compiled"])
def test_what_is_in_loops_and_calls_counts_to_its_scope(stage: str) -> None:
    @mlc.jit
    def layer(x, w):  # type: ignore[no-untyped-def]
        with mlc.scope("product"):
            return x @ w

    def run(x, w):  # type: ignore[no-untyped-def]
        with mlc.scope("net"):
            x = layer(x, w)
            return mlc.scan(lambda c, _: (mnp.tanh(layer(c, w)), None), x, None, length=5)[0]

    one = mlc.jit(run).lower(mlc.ShapeDtype((4, 16)), mlc.ShapeDtype((16, 16)))
    scopes = (one if stage == "lowered" else one.compile()).cost_analysis()["scopes"]
    assert scopes["net/layer/product"]["flops"] >= 6 * 2 * 4 * 16 * 16
    assert stage == "compiled" or scopes["net"]["transcendentals"] == 5 * 4 * 16


def test_fusion_saves_bytes_and_no_operation() -> None:
    one = lowered()
    before, after = one.cost_analysis(), one.compile().cost_analysis()  # type: ignore[attr-defined]
    assert after["bytes accessed"] < before["bytes accessed"]
    assert after["flops"] == before["flops"]


def test_symbolic_sizes_take_their_bound_or_what_is_said() -> None:
    one = lowered(mlc.dim("n", 1, 64))
    exact = lowered(64)
    assert one.cost_analysis()["flops"] == exact.cost_analysis()["flops"]  # type: ignore[attr-defined]
    small = one.cost_analysis({"n": 8})  # type: ignore[attr-defined]
    assert small["flops"] == lowered().cost_analysis()["flops"]  # type: ignore[attr-defined]


def test_a_call_costs_what_is_in_it() -> None:
    inner = mlc.jit(lambda x: mnp.exp(x) + 1)
    spec = mlc.ShapeDtype((10,), "f32")
    called = mlc.jit(lambda x: inner(x)).lower(spec).cost_analysis()
    plain = mlc.jit(lambda x: mnp.exp(x) + 1).lower(spec).cost_analysis()
    assert called["flops"] == plain["flops"] and called["transcendentals"] == 10
    assert called["bytes accessed"] == plain["bytes accessed"]


def test_memory_adds_up() -> None:
    lowered = mlc.jit(lambda x, y: mnp.sum((x @ y) @ (y @ x), axis=0)).lower(*[mlc.ShapeDtype((32, 32))] * 2)
    compiled = lowered.compile()
    memory = compiled.memory_analysis()
    assert lowered.memory_analysis() == memory
    assert memory.argument_size_in_bytes == 2 * 32 * 32 * F32
    assert memory.output_size_in_bytes == 32 * F32
    assert memory.temp_size_in_bytes == compiled.function.plan.arena_bytes
    assert 0 < memory.peak_temp_size_in_bytes <= memory.temp_size_in_bytes
    assert memory.generated_code_size_in_bytes > 100
    assert memory.constant_size_in_bytes == memory.alias_size_in_bytes == 0
    assert len(memory.buffers) >= 2
    steps = len(compiled.function.plan.steps)
    for a in memory.buffers:
        assert 0 <= a.first <= a.last < steps and a.offset + a.nbytes <= memory.temp_size_in_bytes
        for b in memory.buffers:  # what lives at the same time does not overlap
            if a is not b and a.first <= b.last and b.first <= a.last:
                assert a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset


def test_donated_arguments_are_aliases() -> None:
    f = mlc.jit(lambda state, x: state + x, donate_argnames="state")
    memory = f.lower(np.ones(50, np.float32), np.ones(50, np.float32)).compile().memory_analysis()
    assert memory.alias_size_in_bytes == 50 * F32
    assert memory.as_dict()["argument_size_in_bytes"] == 100 * F32
