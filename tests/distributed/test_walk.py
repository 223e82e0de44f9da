"""Collective steps in the C walker, among ranks that are threads: what it asks of a world, and how it fails."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from mlc.ir.collective import ORDERS
from mlc.ir.plan import (
    COLLECTIVES,
    CollectiveDone,
    CollectiveStart,
    Copy,
    Launch,
    Plan,
    PlanInput,
    PlanOutput,
    Progress,
)
from mlc.ir.plan.interpret import NativeKernel, interpret_ranks
from mlc.ir.types import DTYPES, F32, TensorType

from ..runtime.conftest import addresses, cc, kernels  # noqa: F401
from ..runtime.plans import KERNELS, place
from .worlds import Meeting, Outcome, Rank, run_ranks

N = 100  # not a multiple of ranks, tasks or vectors
SIZES = {"all_gather": (1, 4), "reduce_scatter": (4, 1)}
ALL = ((0, 1, 2, 3),)
GROUPED = ((2, 0), (1, 3))


def values(count: int, dtype: str, rank: int) -> np.ndarray:
    rng = np.random.default_rng(rank)
    if dtype == "bool":
        return rng.integers(0, 2, count).astype(bool)
    kind = DTYPES[dtype]
    return (
        (rng.normal(size=count) * 8).astype(kind.numpy)
        if kind.is_float
        else rng.integers(0, 99, count).astype(kind.numpy)
    )


def alone(kind: str, dtype: str = "f32", groups: tuple[tuple[int, ...], ...] = ALL, **how: object) -> Plan:
    """One collective from the input to the output."""
    members = len(groups[0])
    shapes = {"all_gather": (N, N * members), "reduce_scatter": (N * members, N)}.get(kind, (N, N))
    took, gave = (TensorType((n,), DTYPES[dtype]) for n in shapes)
    start = CollectiveStart(
        kind, 7, place("input"), place("output"), N, DTYPES[dtype], groups, label=f"{kind} at model.py:3", **how
    )
    steps = (start, Progress(), CollectiveDone(7))
    return Plan(kind, (), (PlanInput("x", took),), (PlanOutput("y", gave),), (), 0, 0, (), steps)


@pytest.mark.parametrize("dtype", ["f32", "bf16", "i64", "bool"])
@pytest.mark.parametrize("groups", [ALL, GROUPED])
@pytest.mark.parametrize("kind", COLLECTIVES)
def test_every_collective(kind: str, groups: tuple[tuple[int, ...], ...], dtype: str) -> None:
    root = {"root": len(groups[0]) - 1} if kind == "collective_broadcast" else {}
    plan = alone(kind, dtype, groups, **root)
    inputs = [values(int(plan.inputs[0].type.shape[0]), dtype, rank) for rank in range(4)]
    found = run_ranks([plan] * 4, [], [], [[x] for x in inputs], [Rank(m, r) for m in [Meeting(4)] for r in range(4)])
    assert [o.text for o in found] == [""] * 4
    for rank in range(4):
        (group,) = [g for g in groups if rank in g]
        parts = [inputs[r] for r in group]
        total = parts[0]
        for part in parts[1:]:
            total = (total + part).astype(total.dtype)
        want = {
            "all_reduce": total,
            "all_gather": np.concatenate(parts),
            "collective_broadcast": parts[-1],
            "reduce_scatter": np.split(total, len(parts))[group.index(rank)] if kind == "reduce_scatter" else None,
        }
        np.testing.assert_array_equal(found[rank].outputs[0], want[kind])
    again = interpret_ranks(plan, [], [], [[x] for x in inputs])
    for rank in range(4):
        np.testing.assert_array_equal(found[rank].outputs[0], again[rank][0])


def overlapped() -> Plan:
    """y = reverse(2 x) + c while the ranks' x are summed in place in the arena; then z = y + that sum's total."""
    vector, grain = TensorType((N,), F32), 16
    at, total, doubled = place("arena"), place("arena", 0, 448), place("arena", 0, 512)
    launch = (N, grain), ((N, grain),)
    steps = (
        Copy(at, place("input"), N * 4),
        CollectiveStart("all_reduce", 0, at, at, N, F32, ALL, barrier=True, label="all_reduce at model.py:8"),
        Launch(0, (place("input"), doubled), *launch),
        Progress(),
        Launch(1, (doubled, place("input", 1), place("output")), *launch, barrier=True),
        CollectiveDone(0),
        Launch(2, (at, total), (N,), (), serial=True),
        Launch(3, (place("output"), total), *launch, barrier=True),
    )
    inputs = PlanInput("x", vector), PlanInput("c", TensorType((), F32))
    return Plan("overlapped", (), inputs, (PlanOutput("z", vector),), (), 1024, grain * 4, KERNELS, steps)


@pytest.mark.parametrize("threads", [1, 3])
def test_work_goes_on_while_a_collective_is_in_flight(kernels: ctypes.CDLL, threads: int) -> None:  # noqa: F811
    plan, meeting = overlapped(), Meeting(4, "recursive_doubling")
    inputs = [[values(N, "f32", rank), np.float32(rank)] for rank in range(4)]
    ranks = [Rank(meeting, r) for r in range(4)]
    inputs = [[x, np.asarray(c)] for x, c in inputs]
    found = run_ranks([plan] * 4, addresses(kernels), [], inputs, ranks, threads=threads, runs=3)
    native = [NativeKernel(a) for a in addresses(kernels)]
    want = interpret_ranks(plan, native, [], inputs, order="recursive_doubling")
    exact = sum(x.astype(np.float64) for x, _ in inputs).sum()
    for rank, (x, c) in enumerate(inputs):
        assert not found[rank].text
        np.testing.assert_array_equal(found[rank].outputs[0], want[rank][0])
        np.testing.assert_allclose(want[rank][0], 2 * x[::-1].astype(np.float64) + c + exact, rtol=1e-5, atol=1e-4)
        log = ranks[rank].log
        assert log[:2] == ["agree", "start 0 all_reduce"] and log.count("agree") == 1  # once for the program
        trip = log[log.index("start 0 all_reduce") : log.index("done 0")]
        assert trip.count("progress") >= 3  # the step, and between the pieces of both launches


def test_orders_differ_and_are_what_they_say() -> None:
    """Values whose f32 sums depend on the order; expected by hand."""
    big = 2.0**24
    ranks = [(big, big), (1, 1), (1, -big), (-big, 1)]
    want = {"linear": (0, 1), "linear_from_last": (2, 2), "recursive_doubling": (1, 1), "recursive_halving": (1, 2),
            "ring": (0, 1), "ring_from_next": (2, 2)}  # fmt: skip
    assert set(want) == set(ORDERS)
    padded = [np.asarray([*pair, *np.zeros(N - 2)], np.float32) for pair in ranks]
    for order, total in want.items():
        found = interpret_ranks(alone("all_reduce"), [], [], [[v] for v in padded], order=order)
        assert [tuple(f[0][:2]) for f in found] == [total] * 4, order


def failing(plans: list[Plan], ranks: list[Rank | None]) -> list[Outcome]:
    inputs = [[values(int(p.inputs[0].type.shape[0]), "f32", r)] for r, p in enumerate(plans)]
    return run_ranks(plans, [], [], inputs, ranks)


def test_without_a_world() -> None:
    (found,) = failing([alone("all_reduce")], [None])
    assert found.status < 0 and "collectives among 4 ranks" in found.text and "mlc launch -n 4" in found.text


def test_a_world_of_another_size() -> None:
    (found,) = failing([alone("all_reduce")], [Rank(Meeting(1), 0)])
    assert found.text == "all_reduce: it was compiled for 4 ranks, and this world has 1"


def test_ranks_with_different_programs_do_not_start() -> None:
    pair, meeting = ((0, 1),), Meeting(2)
    other = replace(alone("all_reduce", groups=pair).steps[0], reduction="maximum")
    plans = [alone("all_reduce", groups=pair)]
    plans.append(replace(plans[0], steps=(other, *plans[0].steps[1:])))
    ranks = [Rank(meeting, r) for r in range(2)]
    for found, rank in zip(failing(plans, list(ranks)), ranks, strict=True):
        assert found.status == -71 and "different programs" in found.text
        assert rank.log == ["agree"]


def test_the_text_of_the_world_is_that_of_the_call() -> None:
    meeting = Meeting(1)
    meeting.fail_at = 1
    rank = Rank(meeting, 0)
    (found,) = failing([alone("all_reduce", groups=((0,),))], [rank])
    assert (found.status, found.text) == (-5, "rank 0: all_reduce at model.py:3: no way")
    assert rank.log == ["agree", "start 7 all_reduce"]  # nothing was waited for
