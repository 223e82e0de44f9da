"""Goldens of every stage: what each pass changes and must not change, the kernels of each schedule, plans.

``goldens/passes``, ``goldens/kernel_passes`` and ``goldens/schedules`` have a file for every name that the pipelines
and the schedules list: a new one without a golden fails. Texts are evaluated before and after, and the numbers agree.
``MLC_BLESS=1 pytest tests/passes`` writes what the stages make today: read the diff.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from mlc.ir.device import Device, Machine
from mlc.ir.graph.evaluate import bind_sizes, evaluate_graph, evaluate_ranks
from mlc.ir.graph.parser import parse_graph
from mlc.ir.graph.verify import verify_graph
from mlc.ir.kernel import Kernel, interpret_kernel, parse_kernel, print_kernel, verify_kernel
from mlc.ir.plan.interpret import interpret_ranks
from mlc.ir.target import X86_64_V3
from mlc.passes.kernels import KERNEL_PIPELINE, KernelPass
from mlc.passes.plan import make_plan
from mlc.passes.runner import PIPELINES, Pass, on_machine, run_passes
from mlc.passes.schedule import KINDS, schedule_region
from tests.schedule.running import assert_close, interpret

from .check import arguments_of_ranks, check_same_meaning, random_array
from .golden_files import Golden

GOLDENS = Path(__file__).parent / "goldens"
MACHINE = Machine((Device("cpu:0"), Device("cpu:1")))
PASSES = {p.name: p for pipeline in PIPELINES.values() for p in on_machine(pipeline, MACHINE)}
KERNEL_PASSES = {p.name: p for p in KERNEL_PIPELINE}
PLANS = sorted((GOLDENS / "plans").glob("*.txt"))


@pytest.mark.parametrize(
    ("folder", "names"), [("passes", PASSES), ("kernel_passes", KERNEL_PASSES), ("schedules", KINDS)]
)
def test_there_is_a_golden_for_each(folder: str, names: Iterable[str]) -> None:
    assert sorted(p.stem for p in (GOLDENS / folder).glob("*.txt")) == sorted(names)


@pytest.mark.parametrize("p", PASSES.values(), ids=PASSES)
def test_pass(p: Pass) -> None:
    golden = Golden.read(GOLDENS / "passes" / f"{p.name}.txt")
    before, unchanged = parse_graph(golden["before"]), parse_graph(golden["unchanged"])
    after = p(before)
    verify_graph(after)
    golden.check("after", str(after))
    assert golden["after"] != golden["before"]
    check_same_meaning(before, after)
    assert p(unchanged) is unchanged


@pytest.mark.parametrize("p", KERNEL_PASSES.values(), ids=KERNEL_PASSES)
def test_kernel_pass(p: KernelPass) -> None:
    golden = Golden.read(GOLDENS / "kernel_passes" / f"{p.name}.txt")
    before, unchanged = parse_kernel(golden["before"]), parse_kernel(golden["unchanged"])
    after = p.run(before, X86_64_V3)
    verify_kernel(after)
    golden.check("after", print_kernel(after))
    assert golden["after"] != golden["before"]
    got, want = results_of(after), results_of(before)
    np.testing.assert_allclose(got, want, rtol=1e-3 if want.dtype == np.float16 else 1e-6)
    assert np.any(want)
    assert print_kernel(p.run(unchanged, X86_64_V3)) == print_kernel(unchanged)


@pytest.mark.parametrize("kind", KINDS)
def test_schedule(kind: str) -> None:
    golden = Golden.read(GOLDENS / "schedules" / f"{kind}.txt")
    body = parse_graph(golden["body"])
    region = schedule_region(kind, body, X86_64_V3)
    golden.check("kernels", "\n".join(print_kernel(call.kernel) for call in region.calls))
    arrays = [random_array(np.random.default_rng(i), p.tensor, {}) for i, p in enumerate(body.parameters)]
    found = interpret(region, body, arrays, bind_sizes(body, arrays, {}))
    assert_close(found, evaluate_graph(body, arrays), 1e-6, kind)


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_plan(path: Path) -> None:
    golden = Golden.read(path)
    graph = parse_graph(golden["graph"])
    optimized, _ = run_passes(graph, on_machine(PIPELINES[X86_64_V3.name], MACHINE))
    planned = make_plan(optimized, X86_64_V3, donated=frozenset(map(int, golden["donated"].split())))
    golden.check("plan", str(planned.plan))
    sizes = {s.name: min(s.upper, 5) for s in graph.symbols}
    ranks = arguments_of_ranks(graph, np.random.default_rng(0), sizes)
    found = interpret_ranks(planned.plan, planned.kernels, planned.constants, ranks)
    for got, want in zip(found, evaluate_ranks(graph, ranks), strict=True):
        assert_close(got, want, 1e-5, path.stem)


def results_of(kernel: Kernel) -> np.ndarray:
    """The second buffer, which the kernel updates, from random arrays."""
    rng = np.random.default_rng(0)
    x, y = ((8 * rng.normal(size=64)).astype(b.dtype.numpy) for b in kernel.buffers)
    interpret_kernel(kernel, [x, y], [])
    return y
