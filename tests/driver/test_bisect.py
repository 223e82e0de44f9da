"""A wrong rule, pass, schedule, plan, kernel pass or emitter is planted, and bisect names it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.bisect import bisect
from mlc.compiler import Options
from mlc.ir.graph import ADD, Graph, Node, constant
from mlc.ir.kernel import Kernel, parse_kernel, print_kernel
from mlc.passes import plan as plan_module
from mlc.passes import plan_devices
from mlc.passes.kernels import KERNEL_PIPELINE, KernelPass
from mlc.passes.memory import Interval
from mlc.passes.rewrite import fuelled, rewrite
from mlc.passes.runner import CPU_PIPELINE, Pass
from mlc.passes.simplify import RULES, simplify
from tests.cli.command import mlc as command


def program(x, w):  # type: ignore[no-untyped-def]
    y = mnp.maximum(x @ w * 1.0, 0.0) + x * 1.0  # two rules apply before the planted one
    return mnp.sum(mnp.tanh(y) * 2.0, axis=1), mnp.max(y)  # MARK


@pytest.fixture
def graph() -> Graph:
    spec = mlc.ShapeDtype((6, 6), "f32")
    found = mlc.jit(program).lower(spec, spec).graph
    assert isinstance(found, Graph)
    return found


@pytest.fixture
def arrays() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(6, 6)).astype(np.float32) for _ in range(2)]


def tanh_is_identity(n: Node) -> Node | None:
    """The planted mistake."""
    return n.operands[0] if n.op.name == "tanh" else None


def test_a_right_compiler_has_nothing_to_find(graph: Graph, arrays: list[Any]) -> None:
    assert bisect(graph, arrays) is None


def test_a_wrong_rule_is_named_with_its_node_and_line(graph: Graph, arrays: list[Any]) -> None:
    wrong = Pass("simplify", lambda g: rewrite(g, (*RULES, tanh_is_identity)))
    found = bisect(graph, arrays, pipeline=(wrong, *CPU_PIPELINE[1:]))
    assert found is not None
    assert (found.stage, found.rule) == ("pass simplify", "tanh_is_identity")
    assert found.application > 1
    assert "tanh" in found.before and "add" in found.after
    line = next(i for i, text in enumerate(Path(__file__).read_text().split("\n"), 1) if "# MARK" in text)
    assert f"test_bisect.py:{line}" in found.location
    assert "out of bounds" in found.problem and found.rule in str(found)


def test_a_rule_that_breaks_the_graph_is_named(graph: Graph, arrays: list[Any]) -> None:
    def wrong_type(n: Node) -> Node | None:
        return constant(0.0, n.dtype) if n.op.name == "tanh" else None

    wrong = Pass("decompose", lambda g: rewrite(g, (wrong_type,)))
    found = bisect(graph, arrays, pipeline=(CPU_PIPELINE[0], wrong, *CPU_PIPELINE[2:]))
    assert found is not None and (found.stage, found.rule) == ("pass decompose", "wrong_type")


def test_a_wrong_pass_without_rules_is_named(graph: Graph, arrays: list[Any]) -> None:
    def swap(g: Graph) -> Graph:
        with g.table.active():
            return g.with_results([ADD(g.results[0], g.results[0]), g.results[1]])

    found = bisect(graph, arrays, pipeline=(*CPU_PIPELINE[:2], Pass("swap", swap), *CPU_PIPELINE[2:]))
    assert found is not None and (found.stage, found.rule) == ("pass swap", "") and "result 0" in found.problem


def spoil(kernel: Kernel) -> Kernel:
    """Every maximum a minimum."""
    return parse_kernel(print_kernel(kernel).replace("= max ", "= min ").replace("= maximum ", "= minimum "))


def spoil_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    right = plan_module.schedule_region

    def wrong(*args: Any) -> Any:
        region = right(*args)
        return replace(region, calls=tuple(replace(c, kernel=spoil(c.kernel)) for c in region.calls))

    monkeypatch.setattr(plan_module, "schedule_region", wrong)


def test_a_wrong_schedule_is_named(graph: Graph, arrays: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_schedules(monkeypatch)
    found = bisect(graph, arrays)
    assert found is not None and found.stage == "schedule" and "dot" in found.kernel
    assert "test_bisect.py" in found.location


def test_a_wrong_schedule_in_a_loop_is_named(arrays: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def looped(x, w):  # type: ignore[no-untyped-def]
        def step(i, s):  # type: ignore[no-untyped-def]
            return mnp.maximum(s @ w, -s) * 0.5  # MARK 2

        return mlc.cond(mnp.sum(x) > 100, lambda x: x, lambda x: mlc.fori_loop(0, 3, step, x), x)

    graph = mlc.jit(looped).lower(*[mlc.ShapeDtype((6, 6), "f32")] * 2).graph
    assert bisect(graph, arrays) is None
    spoil_schedules(monkeypatch)
    found = bisect(graph, arrays)
    assert found is not None and found.stage == "schedule" and "max" in found.kernel
    line = next(i for i, text in enumerate(Path(__file__).read_text().split("\n"), 1) if "# MARK 2" in text)
    assert f"test_bisect.py:{line}" in found.location


def test_a_wrong_donation_is_named(arrays: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the plan without donated inputs does right."""
    graph = mlc.jit(lambda x, w: (w @ x, x + w)).lower(*[mlc.ShapeDtype((6, 6), "f32")] * 2).graph
    monkeypatch.setattr(plan_module, "donations", lambda graph, donated, *rest: {0: 0} if donated else {})
    assert bisect(graph, arrays, donated=frozenset()) is None
    found = bisect(graph, arrays, donated=frozenset((0,)))
    assert found is not None and found.stage == "plan"


def fails(*args: Any) -> Any:
    raise ZeroDivisionError("planted")


def test_what_fails_is_named(graph: Graph, arrays: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = bisect(graph, arrays, pipeline=(Pass("first", fails), *CPU_PIPELINE))
    assert found is not None and (found.stage, found.problem) == (
        "pass first", "it fails: ZeroDivisionError('planted')",
    )  # fmt: skip
    found = bisect(graph, arrays, kernel_pipeline=(*KERNEL_PIPELINE, KernelPass("last", fails)))
    assert found is not None and found.stage == "kernel pass last"
    with monkeypatch.context() as changed:
        changed.setattr("mlc.codegen.emit_llvm", fails)
        found = bisect(graph, arrays)
        assert found is not None and found.stage == "codegen" and "planted" in found.problem
    monkeypatch.setattr(plan_module, "schedule_region", fails)
    found = bisect(graph, arrays)
    assert found is not None and found.stage == "schedule-and-plan"


def test_a_wrong_kernel_pass_is_named(graph: Graph, arrays: list[Any]) -> None:
    at = [p.name for p in KERNEL_PIPELINE].index("hoist-invariants")
    pipeline = (*KERNEL_PIPELINE[:at], KernelPass("spoil", spoil), *KERNEL_PIPELINE[at:])
    found = bisect(graph, arrays, kernel_pipeline=pipeline)
    assert found is not None and found.stage == "kernel pass spoil" and "dot" in found.kernel


def test_wrong_code_is_named(graph: Graph, arrays: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc import codegen

    right = codegen.emit_llvm
    monkeypatch.setattr(codegen, "emit_llvm", lambda *args: right(*args).replace("fadd", "fsub"))
    found = bisect(graph, arrays)
    assert found is not None and found.stage == "codegen" and found.kernel


def test_a_wrong_memory_plan_is_named(arrays: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def overlapping(values: list[Interval]) -> tuple[list[int], int]:
        return [0] * len(values), max((v.nbytes for v in values), default=0)

    graph = mlc.jit(lambda x, w: (x @ w) @ ((w @ x) @ w)).lower(*[mlc.ShapeDtype((6, 6), "f32")] * 2).graph
    monkeypatch.setattr(plan_devices, "assign_offsets", overlapping)
    found = bisect(graph, arrays)
    assert found is not None and found.stage == "plan"


def test_a_reference_from_elsewhere(graph: Graph, arrays: list[Any]) -> None:
    x, w = (a.astype(np.float64) for a in arrays)
    y = np.maximum(x @ w, 0) + x
    right = [(np.tanh(y) * 2).sum(1), y.max()]
    assert bisect(graph, arrays, reference=right) is None
    found = bisect(graph, arrays, reference=[right[0], right[1] + 1])
    assert found is not None and found.stage == "the evaluator" and "result 1" in found.problem


def test_fuel_stops_after_as_many_rules(graph: Graph) -> None:
    with fuelled() as all_of_it:
        simplify(graph)
    assert all_of_it.used > 2
    texts = []
    for limit in range(all_of_it.used + 1):
        with fuelled(limit) as fuel:
            texts.append(str(simplify(graph)))
        assert fuel.used == limit
    assert len(set(texts)) == len(texts) and texts[0] == str(graph) and texts[-1] == str(simplify(graph))


PLANTED = """
import sys
from dataclasses import replace
import mlc, mlc.numpy as mnp, numpy as np
from mlc import codegen
from mlc.ir.kernel import parse_kernel
from mlc.passes import plan, simplify

def sum_is_double(n):
    if n.op.name == "add" and n.operands[0] is not n.operands[1]:
        return n.op(n.operands[0], n.operands[0])

emit, schedule = codegen.emit_llvm, plan.schedule_region

def schedule_wrongly(*args):
    region = schedule(*args)
    spoilt = [replace(c, kernel=parse_kernel(str(c.kernel).replace("= add ", "= subtract "))) for c in region.calls]
    return replace(region, calls=tuple(spoilt))

if "rule" in sys.argv:
    simplify.RULES = (*simplify.RULES, sum_is_double)
if "schedule" in sys.argv:
    plan.schedule_region = schedule_wrongly
if "emitter" in sys.argv:
    codegen.emit_llvm = lambda *args: emit(*args).replace("= fadd ", "= fsub ")
f = mlc.jit(lambda x, y: x * 1 + mnp.sqrt(y))  # MARK 3
g = mlc.jit(lambda x: x * 3)
print(f(np.ones(4, np.float32), np.ones(4, np.float32)), g(np.ones(4, np.float32)))
"""


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        ("", ()),
        ("rule", ("pass simplify is wrong", "rule sum_is_double, application 2", "before: %", "after:  %")),
        ("schedule", ("schedule is wrong", "kernels: sqrt_add")),
        ("emitter", ("codegen is wrong", "kernels: sqrt_add")),
    ],
)
def test_the_command_tries_all_that_a_program_compiles(tmp_path: Path, planted: str, named: tuple[str, ...]) -> None:
    (tmp_path / "p.py").write_text(PLANTED)
    command = [sys.executable, "-m", "mlc", "bisect", "p.py", *planted.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (4 if planted else 0), done.stderr
    assert done.stdout.count("every step is right") == (1 if planted else 2)
    line = next(i for i, text in enumerate(PLANTED.split("\n"), 1) if "# MARK 3" in text)
    for words in (*named, f"p.py:{line}") if planted else ():
        assert words in done.stdout, done.stdout


EXPORTS = 'import mlc\nmlc.export("twice", lambda x: x + x, x=mlc.ShapeDtype((3,), "f32"))\n'


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        (EXPORTS, 0, "twice: every step is right"),
        ("x = 1\n", 1, "p.py exports nothing and compiles nothing"),
        ("raise SystemExit('no data')\n", 1, "no data"),
    ],
)
def test_what_a_program_exports_is_tried_and_its_failure_told(
    tmp_path: Path, program: str, code: int, said: str
) -> None:
    (tmp_path / "p.py").write_text(program)
    done = command("bisect", "p.py", cwd=tmp_path)
    assert done.returncode == code and said in done.stdout + done.stderr


def test_symbolic_sizes() -> None:
    n = mlc.dim("n", 1, 20)
    graph = mlc.jit(lambda x: mnp.sum(mnp.exp(x), axis=0)).lower(mlc.ShapeDtype((n, 3), "f32")).graph
    assert bisect(graph, [np.ones((7, 3), np.float32)], Options.from_environment()) is None
