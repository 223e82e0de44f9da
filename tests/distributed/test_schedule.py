"""Buckets, order and memory of collectives in plans: early starts, late ends, gradients written into buckets."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import distributed
from mlc.compiler import compile_function
from mlc.distributed.simulation import Simulation
from mlc.distributed.world import pretended
from mlc.ir.device import Device, Machine
from mlc.ir.graph import (
    ADD,
    COLLECTIVE_START,
    COLLECTIVES,
    COPY,
    DOT_GENERAL,
    MULTIPLY,
    SLICE,
    Graph,
    Node,
    Table,
    all_gather,
    all_reduce,
    verify_graph,
)  # fmt: skip
from mlc.ir.kernel import Kernel
from mlc.ir.plan import CollectiveDone, CollectiveStart, Copy, Launch, Plan
from mlc.ir.plan.memory import touched_by
from mlc.ir.types import F32, TensorType
from mlc.options import Options
from mlc.passes import collectives, order
from mlc.passes.buckets import MOST_IN_FLIGHT
from mlc.passes.collectives import combine_all_reduces, split_collectives
from mlc.passes.place import place

from ..passes.check import check_same_meaning

BOTH = ((0, 1),)


def network(widths: list[int]) -> Any:
    """A step of gradient descent of a network with these layers, and its arguments on one of two ranks."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        for w in p[:-1]:
            x = mnp.tanh(x @ w)
        return mnp.mean((x @ p[-1] - y) ** 2)

    def step(p: Any, x: Any, y: Any) -> Any:
        value, gradient = mlc.value_and_grad(loss)(p, x, y)
        return mlc.tree.map(lambda a, g: a - 0.1 * g, p, gradient), value

    rng = np.random.default_rng(0)
    p = [rng.normal(size=s).astype(np.float32) for s in itertools.pairwise(widths)]
    x, y = (rng.normal(size=(4, n)).astype(np.float32) for n in (widths[0], widths[-1]))
    return distributed.data_parallel(mlc.jit(step, donate_argnames="p"), batch_argnames=("x", "y")), (p, x, y)


def planned(step: Any, arguments: Any) -> Plan:
    with pretended(2):
        low = step.lower(*arguments)
        return compile_function(low.graph, Options.from_environment(), donated=low.donated).plan


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectives, "BUCKET_BYTES", 2048)


def test_each_bucket_starts_behind_its_gradients_and_ends_before_its_updates(small_buckets: None) -> None:
    step, arguments = network([16, 24, 24, 24, 24, 4])
    plan = planned(step, arguments)
    starts = [i for i, s in enumerate(plan.steps) if isinstance(s, CollectiveStart)]
    dones = [i for i, s in enumerate(plan.steps) if isinstance(s, CollectiveDone)]
    assert len(starts) == len(dones) >= 4
    assert max(starts) < min(dones) or len(starts) > MOST_IN_FLIGHT  # all of the way back is behind the starts
    for i in starts[:-1]:
        assert any(isinstance(s, Launch) for s in plan.steps[i : starts[starts.index(i) + 1]])  # work between them
    flying = 0
    for s in plan.steps:
        flying += isinstance(s, CollectiveStart) - isinstance(s, CollectiveDone)
        assert 0 <= flying <= MOST_IN_FLIGHT
    assert flying == 0
    first = [s.slot for s in plan.steps if isinstance(s, CollectiveStart)]
    assert [s.slot for s in plan.steps if isinstance(s, CollectiveDone)] == first  # in the order of their starts


def test_gradients_are_written_where_they_are_reduced() -> None:
    """The one copy is of the loss, from the bucket to its output."""
    plan = planned(*network([16, 24, 4]))
    (start,) = [s for s in plan.steps if isinstance(s, CollectiveStart)]
    assert start.source == start.destination and start.source.space == "arena"
    copies = [s for s in plan.steps if isinstance(s, Copy)]
    assert [c.nbytes for c in copies] == [4] and copies[0].source.space == "arena"


def test_more_buckets_change_no_bit_on_two_ranks(small_buckets: None) -> None:
    """What two ranks have is added in one way only: buckets differ, bits do not."""
    step, (p, x, y) = network([16, 24, 24, 24, 24, 4])
    rng = np.random.default_rng(1)
    of_ranks = [(p, rng.normal(size=x.shape).astype("f4"), rng.normal(size=y.shape).astype("f4")) for _ in range(2)]
    found = []
    for size, many in ((2048, True), (1 << 22, False)):
        collectives.BUCKET_BYTES = size
        simulation = Simulation(step, 2)
        found.append(mlc.tree.leaves(simulation(of_ranks)))
        assert (str(simulation.plan).count("start ") > 1) == many
    for one, other in zip(*found, strict=True):
        assert one.tobytes() == other.tobytes()


def test_what_others_read_is_not_reduced_in_place() -> None:
    """The operand itself, an input, a constant and an operand of two collectives keep their values."""

    def step(x: Any) -> Any:
        y = x * 2.0
        return y, mlc.all_reduce(y), mlc.all_reduce(x), mlc.all_reduce(y, "max"), mlc.all_reduce(mnp.ones(3)), x

    found = Simulation(mlc.jit(step, donate_argnames="x"), 2)([(np.full(3, r + 1.0, np.float32),) for r in range(2)])
    for r, (y, total, of_input, largest, ones, x) in enumerate(found):
        assert [v[0] for v in (y, total, of_input, largest, ones, x)] == [2 * r + 2, 6, 3, 4, 2, r + 1]


def test_empty_scalar_and_what_is_no_number() -> None:
    """Infinities and zeros of two signs and NaN, of every kind of fold, beside arrays without elements."""
    special = [np.array([np.nan, np.inf, -0.0, 1.0], "f4"), np.array([1.0, -np.inf, 0.0, np.nan], "f4")]

    def step(empty: Any, x: Any, i: Any) -> Any:
        folds = [mlc.all_reduce((empty, x[1], x, i), op) for op in ("sum", "max", "min", "prod")]
        return folds, distributed.all_gather(empty), mlc.all_reduce(i > 3, "or"), mlc.all_reduce(i, "xor")

    of_ranks = [(np.zeros((0, 3), "f4"), special[r], np.array([3, 250 + r], np.uint8)) for r in range(2)]
    for folds, both, some, bits in Simulation(mlc.jit(step), 2)(of_ranks):
        with np.errstate(all="ignore"):
            want = [f(*special) for f in (np.add, np.maximum, np.minimum, np.multiply)]
        for (empty, scalar, x, _), y in zip(folds, want, strict=True):
            assert empty.shape == (0, 3)
            np.testing.assert_array_equal(x, y)
            np.testing.assert_array_equal(scalar, y[1])
        assert [int(f[3][1]) for f in folds] == [(250 + 251) % 256, 251, 250, 250 * 251 % 256]
        assert (both.shape, some.tolist(), bits.tolist()) == ((0, 3), [False, True], [0, 1])


def test_in_loops_and_branches() -> None:
    def step(x: Any) -> Any:
        def trip(i: Any, carry: Any) -> Any:
            x, total = carry
            both = mlc.all_reduce({"a": x, "b": x * x})
            return both["a"] / 2.0 + 1.0, total + mnp.sum(both["b"])

        x, total = mlc.fori_loop(0, 5, trip, (x, mnp.zeros(())))
        return mlc.cond(total > 3.0, lambda v: mlc.all_reduce(v), lambda v: v * 0.0, x), total

    x = [np.array([r, 1.0], np.float32) for r in range(2)]
    found = Simulation(mlc.jit(step), 2)([(v,) for v in x])
    total, now = 0.0, [v.astype(np.float64) for v in x]
    for _ in range(5):
        total += float(np.sum(sum(v * v for v in now)))
        now = [sum(now) / 2.0 + 1.0] * 2
    for y, sum_of in found:
        np.testing.assert_allclose(y, sum(now), rtol=1e-6)
        np.testing.assert_allclose(sum_of, total, rtol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_random_loops(seed: int) -> None:
    """What a trip reads of the values before it stays until it is read, wherever their followers are reduced."""
    rng = random.Random(seed)
    recipe = [(rng.choice(["flip", "cos", "sum", "max", "add"]), rng.random(), rng.random()) for _ in range(9)]
    chosen = [rng.random() for _ in range(3)]

    def trip(carry: Any, flip: Any, cos: Any, reduce: Any) -> Any:
        values = list(carry)
        for kind, p, q in recipe:
            x, y = (values[int(r * len(values))] for r in (p, q))
            own = {"flip": lambda x, y: flip(x) * 0.5, "cos": lambda x, y: cos(x), "add": lambda x, y: (x + y) * 0.25}
            values.append(own[kind](x, y) if kind in own else reduce(x, kind))
        return tuple(values[2 + int(r * (len(values) - 2))] for r in chosen)

    def step(*carry: Any) -> Any:
        one = lambda i, carry: trip(carry, lambda x: x[::-1], mnp.cos, mlc.all_reduce)  # noqa: E731
        return mlc.fori_loop(0, 3, one, carry)

    def of_all(x: Any, kind: str) -> Any:
        return np.stack([x.sum(0) if kind == "sum" else x.max(0)] * 2)

    first = np.random.default_rng(seed).standard_normal((3, 2, 5)).astype(np.float32)
    found = Simulation(mlc.jit(step), 2)([tuple(first[:, r]) for r in range(2)])
    want = tuple(first.astype(np.float64))
    for _ in range(3):
        want = trip(want, lambda x: x[:, ::-1], np.cos, of_all)
    for r in range(2):
        for got, wanted in zip(found[r], want, strict=True):
            np.testing.assert_allclose(got, wanted[r], rtol=1e-4, atol=1e-5)


def check_flights(plan: Plan, kernels: Sequence[Kernel]) -> int:
    """Nobody touches what a collective in flight uses; what one has used is left alone by other workers, which may be
    ahead of worker 0, until a barrier behind its end. How many collectives there were."""
    flying: dict[int, list[tuple[str, int, int]]] = {}
    ended: list[tuple[str, int, int]] = []
    count = 0
    for step in plan.steps:
        touched = [(r.space, r.index, r.offset, r.offset + n) for r, n, _ in touched_by(step, kernels, {})]
        shared = (isinstance(step, Launch) and not step.serial) or isinstance(step, Copy)
        if getattr(step, "barrier", False):
            ended = []
        used = [u for own in flying.values() for u in own] + (ended if shared else [])
        for a in touched:
            assert not any(a[:2] == b[:2] and a[2] < b[3] and b[2] < a[3] for b in used), f"{step} in\n{plan}"
        if isinstance(step, CollectiveStart):
            flying[step.slot] = touched
            count += 1
        elif isinstance(step, CollectiveDone):
            ended += flying.pop(step.slot)
    assert not flying
    return count


@pytest.mark.parametrize("seed", range(8))
def test_memory_of_collectives_is_left_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gathers, whose source dies at their end, among products that want memory; one in flight, to end early."""
    monkeypatch.setattr(order, "MOST_IN_FLIGHT", 1)
    rng, table = random.Random(seed), Table()
    with table.active():
        nodes = [table.parameter(TensorType((64, 64), F32), f"p{i}") for i in range(2)]
        parameters = tuple(nodes)
        for i in range(16):
            x = rng.choice(nodes)
            if i % 2:
                both = all_gather(MULTIPLY(x, x), BOTH)
                nodes.append(SLICE(both, start=(32, 0), limit=(96, 64), strides=(1, 1)))
            else:
                how = {"lhs_contracting": (1,), "rhs_contracting": (0,), "lhs_batch": (), "rhs_batch": ()}
                nodes.append(DOT_GENERAL(x, rng.choice(nodes), **how))
        graph = Graph("random", parameters, nodes[-8:], table)
    compiled = compile_function(graph, Options.from_environment())
    assert check_flights(compiled.plan, compiled.kernels) >= 3


def test_memory_of_buckets_is_left_alone(small_buckets: None) -> None:
    step, arguments = network([32, 64, 64, 64, 64, 4])
    with pretended(2):
        compiled = compile_function(step.lower(*arguments).graph, Options.from_environment())
    assert check_flights(compiled.plan, compiled.kernels) >= 4


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed: int) -> None:
    """Any graph of collectives combines and splits to one that means the same, within the buckets' rules."""
    rng, table = random.Random(seed), Table()
    with table.active():
        nodes: list[Node] = [table.parameter(TensorType((n,), F32), f"p{n}") for n in (2, 2, 4)]
        parameters = tuple(nodes)
        for _ in range(24):
            node = rng.choice(nodes)
            same = rng.choice([n for n in nodes if n.type == node.type])
            kind = rng.choice(["add", "multiply", "all_reduce", "all_reduce", "maximum", "gather"])
            if kind in ("add", "multiply"):
                nodes.append((ADD if kind == "add" else MULTIPLY)(node, same))
            elif kind == "gather":
                nodes.append(all_gather(node, BOTH) if node.shape == (2,) else node)
            else:
                nodes.append(all_reduce(node, "add" if kind == "all_reduce" else kind, BOTH))
        graph = Graph("random", parameters, nodes[-6:], table)
    combined = combine_all_reduces(graph)
    split = split_collectives(combined)
    for g in (combined, split):
        verify_graph(g)
        check_same_meaning(graph, g, rtol=1e-5)
    assert not any(n.op in COLLECTIVES for n in split.nodes)
    before = sum(n.op in COLLECTIVES for n in graph.nodes)
    assert sum(n.op is COLLECTIVE_START for n in split.nodes) <= before


def test_collectives_are_on_the_host() -> None:
    table = Table()
    with table.active():
        x = table.parameter(TensorType((4,), F32), "x")
        with table.at((), "cpu:1"):
            result = ADD(y := all_reduce(MULTIPLY(x, x), "add", BOTH), y)
        graph = Graph("g", (x,), (result,), table)
    placed = place(graph, Machine((Device("cpu:0"), Device("cpu:1"))))
    on = {n.op.name: n.device for n in placed.nodes if n.op is not COPY}
    assert (on["multiply"], on["all_reduce"], on["add"]) == ("cpu:1", None, "cpu:1")
    check_same_meaning(graph, placed)
