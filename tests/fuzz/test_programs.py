"""Random programs mean the same evaluated, printed and read back, and compiled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase

from mlc.compiler import Options, compile_function, link
from mlc.ir.graph import OPS, Graph, evaluate_graph, parse_graph, resources_of, verify_graph
from mlc.ir.graph.tolerance import FORMATS, assert_close, expected
from mlc.ir.target import Target
from mlc.ir.types import DType
from mlc.passes.runner import PIPELINES, run_passes
from mlc.passes.schedule import reduce, scatter, tasks, turned
from tests.codegen.native import TARGETS
from tests.fuzz.programs import OF_RANKS, Array, Coverage, Made, allowed, program, programs
from tests.fuzz.walk import Walk

PROGRAMS = int(os.environ.get("MLC_FUZZ_PROGRAMS", "500"))
COMPILED = int(os.environ.get("MLC_FUZZ_COMPILED", "2000"))
WALKED = int(os.environ.get("MLC_FUZZ_WALKED", "50"))
BLOCK = 25
OFTEN = 20  # times that each row is made with each element type
SMALL = 64  # of a task: enough tasks for several workers in programs of this size
ORDERS = ((0, 1), (1, 0), (2, 0, 1))


def blocks(count: int, size: int = BLOCK) -> list[range]:
    return [range(i, min(i + size, count)) for i in range(0, count, size)]


@pytest.mark.parametrize("seeds", blocks(PROGRAMS), ids=str)
def test_print_parse_evaluate(seeds: range) -> None:
    for seed in seeds:
        graph, arrays = program(seed)
        verify_graph(graph)
        text = str(graph)
        again = parse_graph(text, resources_of(graph))
        verify_graph(again)
        assert str(again) == text and again.fingerprint == graph.fingerprint
        for one, two in zip(evaluate_graph(graph, arrays), evaluate_graph(again, arrays), strict=True):
            assert one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes(), seed


@pytest.mark.parametrize("seeds", blocks(PROGRAMS), ids=str)
def test_rounding_at_each_node_stays_in_bounds(seeds: range) -> None:
    """The evaluator rounds to the element type after every node; the bound is carried in f64."""
    for seed in seeds:
        graph, arrays = program(seed)
        assert_close(graph, arrays, evaluate_graph(graph, arrays), f"program {seed}")


@pytest.mark.parametrize("seeds", blocks(COMPILED, 100), ids=str)
def test_compiled(seeds: range) -> None:
    """Hypothesis's programs; one that fails is made small. Fusions are made by the compiler, and so not given to it."""

    @examples(seeds)
    @hypothesis.given(programs(without=("fusion",)))
    def check(made: Made) -> None:
        compare(*made)

    check()


def compare(graph: Graph, arrays: list[Array]) -> None:
    """Compiled for every target, the program gives what it means. Graph passes are those of all, and run once."""
    wanted = expected(graph, arrays)
    (passes,) = {PIPELINES[t.name] for t in TARGETS}
    optimized, _ = run_passes(graph, passes, verify=True)
    for target in TARGETS:
        got = link(compile_function(optimized, Options(target), pipeline=()))(arrays)
        for i, (have, want) in enumerate(zip(got, wanted, strict=True)):
            try:
                want.check(np.asarray(have), f"{target.name}: result {i}")
            except AssertionError as error:  # printing every program would take as long as compiling it
                error.add_note(f"of\n{graph}\n{arrays}")
                raise


def examples(seeds: range) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """As many programs as there are seeds, the same in every run."""
    settings = hypothesis.settings(
        max_examples=len(seeds), database=None, deadline=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    return lambda test: hypothesis.seed(seeds.start)(settings(test))


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("seeds", blocks(WALKED), ids=str)
def test_any_order_of_workers_and_donation_give_the_same_bits(
    seeds: range, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (tasks, reduce, turned, scatter):
        monkeypatch.setattr(module, "TASK_COST", SMALL)
    for seed in seeds:
        graph, arrays = program(seed, without=("fusion",))
        alone: list[bytes] | None = None
        for donated in (frozenset[int](), frozenset(range(len(arrays)))):
            walk = Walk(compile_function(graph, Options(target), donated=donated))
            if alone is None:
                found = walk.run(arrays, (0,))
                assert_close(graph, arrays, found, f"program {seed}")
                alone = [x.tobytes() for x in found]
            for order in ORDERS:
                got = [x.tobytes() for x in walk.run(arrays, order)]
                assert got == alone, f"program {seed} for workers {order}, donated {sorted(donated)}"


def test_wrong_results_are_seen() -> None:
    """One decided element off by a little more than its bound, or an integer by one, fails; few elements are open."""
    decided = changed = elements = 0
    for seed in range(100):
        graph, arrays = program(seed)
        for want, got in zip(expected(graph, arrays), evaluate_graph(graph, arrays), strict=True):
            known = np.isfinite(want.bound)
            decided += int(known.sum())
            elements += known.size
            if want.dtype.is_float:
                known &= np.isfinite(want.want)
            if not known.any():
                continue
            index = tuple(np.argwhere(known)[0])
            bad = got.copy()
            if want.dtype.is_float:
                wide = want.want[index] + (abs(want.want[index]) + want.bound[index]) * 2.0**-4 + want.bound[index] * 2
                wrong = wide + (1 if want.want[index] == 0 else 4 * smallest(want.dtype))
            else:
                wrong = not got[index] if got.dtype == bool else got[index] ^ got.dtype.type(1)
            bad[index] = wrong
            assert want.outside(bad)[index], (seed, wrong, want.want[index], want.bound[index])
            changed += 1
    assert changed > 200 and decided > 0.99 * elements


def smallest(dtype: DType) -> float:
    unit, tiny, _ = FORMATS[dtype.name]
    return tiny * (unit * 2)


def test_programs_are_the_same_every_time() -> None:
    for seed in range(20):
        (one, arrays), (two, again) = program(seed), program(seed)
        assert one.fingerprint == two.fingerprint
        assert all(a.tobytes() == b.tobytes() for a, b in zip(arrays, again, strict=True))


def test_every_row_and_element_type_is_made_often(capsys: pytest.CaptureFixture[str]) -> None:
    """By the programs that `test_compiled` compares; what is rare among them is compared here, in numbered ones."""
    coverage = Coverage()
    for seeds in blocks(2000, 100):

        @examples(seeds)
        @hypothesis.given(programs(without=("fusion",)))
        def count(made: Made) -> None:
            coverage.add(made[0])

        count()
    with capsys.disabled():
        print(f"\n{coverage}")
    assert set(coverage.rows()) == set(OPS).difference({"fusion"}, OF_RANKS)
    cells = {cell for cell, count in coverage.counts.items() if count}
    cells |= {
        (name, dtype.name) for name, op in OPS.items() if op.elementwise and name != "select" for dtype in allowed(op)
    }
    for cell in sorted(cells):
        missing = OFTEN - coverage.counts[cell]
        for graph, arrays in numbered_with(cell, missing) if missing > 0 else ():
            compare(graph, arrays)
            coverage.add(graph)  # what it has of other rare rows counts for them
    assert all(coverage.counts[cell] >= OFTEN for cell in cells)


def numbered_with(cell: tuple[str, str], count: int) -> Iterator[Made]:
    """The first programs that have this row with this element type, of those that are made to have it often."""
    for seed in range(100):
        made, seen = program(seed, ("fusion",), often=cell), Coverage()
        seen.add(made[0])
        if seen.counts[cell]:
            yield made
            count -= seen.counts[cell]
        if count <= 0:
            return
    raise AssertionError(f"{cell} is made too seldom")
