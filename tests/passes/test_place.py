"""place: annotations are kept, costs are least, every crossing is one copy, and results are those of one device."""

from __future__ import annotations

import itertools
import json
import operator
import random
from pathlib import Path

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.compiler import Options
from mlc.errors import ArgumentError, TargetError, UnsupportedError
from mlc.ir.device import Device, Link, Machine, parse_machine
from mlc.ir.graph import COPY, Graph
from mlc.ir.plan import BufferRef, Copy, Launch, Loop
from mlc.ir.target import SM_80
from mlc.passes import place as module
from mlc.passes.place import place

from .check import check_golden, check_same_meaning, check_unchanged

TWO = Machine((Device("cpu:0"), Device("cpu:1")))
THREE = Machine((Device("cpu:0"), Device("cpu:1"), Device("cpu:2")))


def test_what_is_read_on_another_device_is_copied_once() -> None:
    check_golden(
        lambda g: place(g, TWO),
        """
        graph @f(%x: f32[4]) -> (f32[4], f32[4]) {
          %0 = tanh %x : f32[4]
          %1 = exponential %0 : f32[4] device "cpu:1"
          %2 = add %1, %0 : f32[4] device "cpu:1"
          %3 = multiply %2, %0 : f32[4] device "cpu:0"
          return %3, %1
        }""",
        """
        graph @f(%x: f32[4]) -> (f32[4], f32[4]) {
          %0 = tanh %x : f32[4]
          %1 = copy %0 : f32[4] device "cpu:1"
          %2 = exponential %1 : f32[4] device "cpu:1"
          %3 = add %2, %1 : f32[4] device "cpu:1"
          %4 = copy %3 : f32[4]
          %5 = multiply %4, %0 : f32[4]
          %6 = copy %2 : f32[4]
          return %5, %6
        }""",
    )


GPU = Machine((Device("cpu:0"), Device("gpu:0", target=SM_80)))


def test_a_home_has_arguments_results_and_all_that_says_nothing_else() -> None:
    """Collectives are of hosts, and what was refused is done there too."""
    refused = frozenset({("reverse",)})
    check_golden(
        lambda g: place(g, GPU, "gpu:0", refused),
        """
        graph @f(%x: f32[4]) -> (f32[4], f32[4], f32[4]) {
          %0 = tanh %x : f32[4]
          %1 = all_reduce %0, reduction = "add", replica_groups = [[0, 1]] : f32[4]
          %2 = reverse %1, dimensions = [0] : f32[4]
          %3 = exponential %2 : f32[4]
          %4 = add %0, %3 : f32[4] device "cpu:0"
          return %3, %4, %x
        }""",
        """
        graph @f(%x: f32[4]) -> (f32[4], f32[4], f32[4]) {
          %0 = tanh %x : f32[4] device "gpu:0"
          %1 = copy %0 : f32[4]
          %2 = all_reduce %1, reduction = "add", replica_groups = [[0, 1]] : f32[4]
          %3 = reverse %2, dimensions = [0] : f32[4]
          %4 = copy %3 : f32[4] device "gpu:0"
          %5 = exponential %4 : f32[4] device "gpu:0"
          %6 = copy %5 : f32[4]
          %7 = add %1, %6 : f32[4]
          %8 = copy %7 : f32[4] device "gpu:0"
          return %5, %8, %x
        }""",
    )


def test_constants_are_made_where_they_are_read() -> None:
    check_golden(
        lambda g: place(g, TWO),
        """
        graph @f(%x: f32[4]) -> (f32[4]) {
          %0 = iota dimension = 0 : f32[4]
          %1 = add %x, %0 : f32[4] device "cpu:1"
          %2 = multiply %1, %0 : f32[4] device "cpu:0"
          return %2
        }""",
        """
        graph @f(%x: f32[4]) -> (f32[4]) {
          %0 = iota dimension = 0 : f32[4]
          %1 = copy %x : f32[4] device "cpu:1"
          %2 = iota dimension = 0 : f32[4] device "cpu:1"
          %3 = add %1, %2 : f32[4] device "cpu:1"
          %4 = copy %3 : f32[4]
          %5 = multiply %4, %0 : f32[4]
          return %5
        }""",
    )


PLAIN = """
    graph @f(%x: f32[4], %y: f32[4]) -> (f32[4]) {
      %0 = tanh %x : f32[4]
      %1 = add %0, %y : f32[4]
      return %1
    }"""


@pytest.mark.parametrize("machine", [Machine(), TWO, THREE])
def test_a_program_that_gains_nothing_stays_as_it_is(machine: Machine) -> None:
    check_unchanged(lambda g: place(g, machine), PLAIN)


def test_an_unknown_device_is_an_error_at_the_users_line() -> None:
    def f(x):  # type: ignore[no-untyped-def]
        with mlc.device("cpu:7"):
            return x + 1  # THERE

    with pytest.raises(TargetError, match="'cpu:7' is not described; there are cpu:0") as caught:
        mlc.jit(f)(np.ones(3, np.float32))
    line = next(i for i, t in enumerate(Path(__file__).read_text().split("\n"), 1) if t.endswith("# THERE"))
    assert f"test_place.py:{line}" in str(caught.value)


@pytest.mark.parametrize("name", ["cpu:1", "cuda:0", "tpu:0", "gpu:99999999999999999999"])
def test_an_unknown_device_outside_of_a_trace_is_the_same_error(name: str) -> None:
    """Calls after it are on the host as before, though the GPU that its number stands for is none."""
    words = f"device '{name}' is not described; there are cpu:0"
    with pytest.raises(TargetError, match=words):
        mlc.jit(lambda x: x + 1, device=name)(np.ones(3, np.float32))
    with pytest.raises(TargetError, match=words), mlc.device(name):
        raise AssertionError("it is entered")
    assert mlc.numpy.ones(3).device == "cpu:0"


def test_a_described_device_outside_of_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DEVICES", '{"devices": [{"name": "cpu:0"}, {"name": "cpu:1"}]}')
    with mlc.device("cpu:1"):
        assert mlc.numpy.ones(3).device == "cpu:0"  # arrays are the host's


@pytest.mark.parametrize("name", [None, 3, b"cpu:0", ""])
def test_what_is_no_name_is_an_error_of_device_put(name: object) -> None:
    with pytest.raises(ArgumentError, match="is no device"):
        mlc.device_put(np.ones(3), name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, 3, ""])
def test_what_is_no_name_is_an_error_at_once(name: object) -> None:
    with pytest.raises(ArgumentError, match="named by a string"), mlc.device(name):  # type: ignore[arg-type]
        pass
    if name is not None:
        with pytest.raises(ArgumentError, match="named by a string"):
            mlc.jit(mnp.tanh, device=name)


# ---------------------------------------------------------------- costs


def random_graph(seed: int, annotated: bool) -> Graph:
    """Up to seven unannotated nodes over squares, with and without contractions."""
    rng = random.Random(seed)

    def f(x, y):  # type: ignore[no-untyped-def]
        values = [x, y]
        ops = [operator.matmul, operator.add, lambda a, b: mnp.tanh(a), operator.mul]
        for _ in range(rng.randint(3, 7)):
            with mlc.device(rng.choice(["cpu:0", "cpu:1", "cpu:2"])) if annotated else mlc.scope("s"):
                values.append(rng.choice(ops)(rng.choice(values), rng.choice(values)))
        return values[-1], rng.choice(values[2:])

    spec = mlc.ShapeDtype((16, 16), "f32")
    graph = mlc.jit(f).lower(spec, spec).graph
    assert isinstance(graph, Graph)
    return graph


def random_machine(seed: int, count: int) -> Machine:
    """Devices and links between which the best choice is not clear."""
    rng = random.Random(seed)
    devices = [Device(f"cpu:{i}", 10 ** rng.uniform(8, 11), 10 ** rng.uniform(8, 11)) for i in range(count)]
    pairs = itertools.combinations([d.name for d in devices], 2)
    links = {frozenset(p): Link(10 ** rng.uniform(7, 10), 10 ** rng.uniform(-8, -6)) for p in pairs}
    return Machine(tuple(devices), links)


def placed_cost(graph: Graph, machine: Machine, where: dict[object, str]) -> int:
    return module._total(graph, where, module._Costs(graph, machine))  # type: ignore[arg-type]


def best_cost(graph: Graph, machine: Machine) -> int:
    """Over all assignments there are."""
    nodes = [n for n in graph.nodes if n.op not in module.ANYWHERE]
    free = [n for n in nodes if n.op.name != "parameter"]
    start = dict.fromkeys(nodes, machine.host.name)
    return min(
        placed_cost(graph, machine, {**start, **dict(zip(free, names, strict=True))})
        for names in itertools.product(machine.names, repeat=len(free))
    )


@pytest.mark.parametrize("seed", range(40))
def test_two_devices_take_the_least_time_there_is(seed: int) -> None:
    graph, machine = random_graph(seed, False), random_machine(seed, 2)
    where = module._assigned(graph, machine, {}, machine.host.name)
    assert placed_cost(graph, machine, where) == best_cost(graph, machine)


def test_some_of_these_use_both_devices_and_some_one() -> None:
    used = [
        len(set(module._assigned(random_graph(s, False), random_machine(s, 2), {}, "cpu:0").values()))
        for s in range(40)
    ]
    assert min(used) == 1 and used.count(2) >= 5


@pytest.mark.parametrize("seed", range(10))
def test_three_devices_are_never_worse_than_the_host_alone_nor_far_from_the_best(seed: int) -> None:
    graph, machine = random_graph(seed, False), random_machine(seed, 3)
    cost = placed_cost(graph, machine, module._assigned(graph, machine, {}, machine.host.name))
    alone = placed_cost(graph, machine, {n: "cpu:0" for n in graph.nodes if n.op not in module.ANYWHERE})
    assert cost <= alone and cost <= 1.25 * best_cost(graph, machine)


# ---------------------------------------------------------------- plans


@pytest.mark.parametrize("seed", range(12))
def test_results_are_those_of_one_device_and_memories_are_apart(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(seed, True)
    check_same_meaning(graph, place(graph, THREE))
    monkeypatch.setenv("MLC_DEVICES", json.dumps({"devices": [{"name": d.name} for d in THREE.devices]}))
    spec = mlc.ShapeDtype((16, 16), "f32")
    rng = random.Random(seed)

    def f(x, y):  # type: ignore[no-untyped-def]
        values = [x, y]
        for _ in range(6):
            with mlc.device(rng.choice(THREE.names)):
                values.append(mnp.tanh(rng.choice(values) @ rng.choice(values)) + rng.choice(values) * 0.5)
        return values[-1], values[2]

    lowered = mlc.jit(f).lower(spec, spec)
    compiled = lowered.compile()
    arrays = [np.random.default_rng(seed + i).normal(size=(16, 16)).astype(np.float32) for i in range(2)]
    found = [np.asarray(r) for r in compiled(*arrays)]
    rng.seed(seed)
    values = [a.astype(np.float64) for a in arrays]
    for _ in range(6):
        rng.choice(THREE.names)
        values.append(np.tanh(rng.choice(values) @ rng.choice(values)) + rng.choice(values) * 0.5)
    for got, want in zip(found, (values[-1], values[2]), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)
    check_apart(compiled.function.optimized)


def check_apart(graph: Graph) -> None:
    """Every launch touches its own device's memory alone; copies go between memories."""
    from mlc.passes.plan import make_plan

    planned = make_plan(graph, Options.from_environment().target)
    crossings = 0

    def home(ref: BufferRef) -> str:
        if ref.space != "arena":
            return "anywhere" if ref.space == "constant" else "cpu:0"
        ((device, _),) = [
            (d, o) for d, (o, n) in planned.spaces.items() if o <= ref.offset < o + n
        ]  # fmt: skip
        return device or "cpu:0"

    steps = list(planned.plan.steps)
    for step in steps:
        if isinstance(step, Loop):
            steps += step.body  # while it is walked
        elif isinstance(step, Launch):
            device = step.label.split(" on ")[1].split()[0] if " on " in step.label else "cpu:0"
            assert {home(r) for r in step.operands} <= {device, "anywhere"}, step
        elif isinstance(step, Copy):
            crossings += step.source.space != "constant" and home(step.source) != home(step.destination)
    assert crossings == sum(n.op is COPY for n in graph.nodes)


def test_gradients_are_computed_where_the_values_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DEVICES", '{"devices": [{"name": "cpu:0"}, {"name": "cpu:1"}]}')

    def loss(w, x):  # type: ignore[no-untyped-def]
        with mlc.device("cpu:1"):
            h = mnp.tanh(x @ w)
        return mnp.sum(h * h)

    x = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    compiled = mlc.jit(mlc.grad(loss)).lower(x, x).compile()
    labels = [s.label for s in compiled.function.plan.steps if isinstance(s, Launch)]
    assert sum(" on cpu:1" in label for label in labels) >= 2
    assert any(isinstance(s, Copy) and "to cpu:1" in s.label for s in compiled.function.plan.steps)
    h = np.tanh(x.astype(np.float64) @ x)
    np.testing.assert_allclose(np.asarray(compiled(x, x)), x.T @ (2 * h * (1 - h * h)), rtol=1e-4, atol=1e-4)


def test_jit_takes_a_device_and_loops_stay_on_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DEVICES", '{"devices": [{"name": "cpu:0"}, {"name": "cpu:1"}]}')
    f = mlc.jit(lambda x: mlc.fori_loop(0, 5, lambda i, s: s * 0.5 + x, x), device="cpu:1")
    x = np.linspace(-1, 1, 33, dtype=np.float32)
    want = x.astype(np.float64)
    for _ in range(5):
        want = want * 0.5 + x
    np.testing.assert_allclose(np.asarray(f(x)), want, rtol=1e-6)
    graph = f.lower(x).compile().function.optimized
    assert sum(n.op is COPY for n in graph.nodes) >= 2


def loop_on(inside: str, around: str | None = None) -> mlc.Compiled:
    def body(i, s):  # type: ignore[no-untyped-def]
        with mlc.device(inside):
            return mnp.where(i > 2, s * 0.5 + 1, s)

    f = mlc.jit(lambda x: mlc.fori_loop(0, 5, body, x) + 1, device=around)
    compiled: mlc.Compiled = f.lower(mlc.ShapeDtype((3,), "f32")).compile()
    return compiled


@pytest.mark.parametrize("around", [None, "cpu:1"])
def test_a_loop_is_where_its_body_says(around: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DEVICES", '{"devices": [{"name": "cpu:0"}, {"name": "cpu:1"}]}')
    compiled = loop_on("cpu:1", around)
    check_apart(compiled.function.optimized)
    (loop,) = [s for s in compiled.function.plan.steps if isinstance(s, Loop)]
    assert all(" on cpu:1" in s.label for s in loop.body if isinstance(s, Launch))
    np.testing.assert_array_equal(compiled(np.full(3, 4, np.float32)), np.full(3, 3.5))


def test_a_function_that_computes_nothing_is_refused_on_an_unknown_device_too() -> None:
    for given in (np.ones(3, np.float32), mlc.ShapeDtype((3,))):
        with pytest.raises(TargetError, match="'cpu:7' is not described"):
            mlc.jit(lambda x: x, device="cpu:7").lower(given)


def test_a_loop_that_names_two_devices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DEVICES", '{"devices": [{"name": "cpu:0"}, {"name": "cpu:1"}, {"name": "cpu:2"}]}')
    with pytest.raises(UnsupportedError, match=r"this one names cpu:1 and cpu:2") as caught:
        loop_on("cpu:2", "cpu:1")
    assert "test_place.py:" in str(caught.value)
    with pytest.raises(TargetError, match="'cpu:9' is not described"):
        loop_on("cpu:9")


# ---------------------------------------------------------------- descriptions


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[]", "no list of devices"),
        ('{"devices": []}', "no list of devices"),
        ('{"devices": [{}]}', "a device has a name"),
        ('{"devices": [{"name": "a"}, {"name": "a"}]}', "two devices"),
        ('{"devices": [{"name": "a", "flops": 0}]}', "flops is 0"),
        ('{"devices": [{"name": "a", "bandwidth": "fast"}]}', "bandwidth is 'fast'"),
        ('{"devices": [{"name": "a"}], "links": [{"between": ["a", "b"]}]}', "between two of a"),
        ('{"devices": [{"name": "a"}, {"name": "b"}], "links": [{"between": ["a", "b"], "latency": -1}]}', "latency"),
    ],
)
def test_descriptions_that_do_not_fit(text: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        parse_machine(text)


def test_a_description_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d.json").write_text('{"devices": [{"name": "cpu:0"}, {"name": "cpu:1", "flops": 5e12}]}')
    monkeypatch.setenv("MLC_DEVICES", str(tmp_path / "d.json"))
    assert Options.from_environment().machine.device("cpu:1").flops == 5e12
    monkeypatch.setenv("MLC_DEVICES", str(tmp_path / "none.json"))
    with pytest.raises(ArgumentError, match="cannot read"):
        Options.from_environment()
