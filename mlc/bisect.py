"""A graph whose compiled results are wrong to the first step of the compiler that makes them so.

The steps are the graph passes (and within one the first application of a rule), schedule and plan, the kernel passes,
and code generation. Right is what the tolerance table allows (``mlc.ir.graph.tolerance``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .array import asarray
from .compiler import Options, link_kernels
from .errors import InternalError, MlcError, VerifyError
from .ir.graph import CASE, FUSION, Graph, Node, Table
from .ir.graph.evaluate import evaluate_graph
from .ir.graph.node import Locations
from .ir.graph.structure import results_of
from .ir.graph.text import print_node
from .ir.graph.tolerance import Expected, expected
from .ir.graph.verify import verify_graph
from .ir.kernel import Kernel, verify_kernel
from .ir.plan.interpret import interpret_plan
from .passes.kernels import KERNEL_PIPELINE, KernelPass
from .passes.plan import Planned, make_plan
from .passes.regions import is_control, regions_of
from .passes.rewrite import fuelled
from .passes.runner import PIPELINES, Pass, on_machine

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Finding:
    """The first wrong step: its ``stage`` (a pass's name, ``schedule``, ``plan``, ``codegen``), and what is wrong.

    ``rule`` is the rewrite rule whose ``application``-th use did it, from the node ``before`` to ``after``; ``kernel``
    names the kernels of the region that is wrong; ``location`` is the user's line.
    """

    stage: str
    problem: str
    rule: str = ""
    application: int = 0
    before: str = ""
    after: str = ""
    kernel: str = ""
    location: str = ""

    def __str__(self) -> str:
        lines = [f"{self.stage} is wrong: {self.problem}"]
        if self.rule:
            lines.append(f"  rule {self.rule}, application {self.application}")
            lines += [f"    before: {self.before}", f"    after:  {self.after}"]
        if self.kernel:
            lines.append(f"  kernels: {self.kernel}")
        if self.location:
            lines.append(f"  at {self.location}")
        return "\n".join(lines)


def bisect(
    graph: Graph,
    arrays: Sequence[Array],
    options: Options | None = None,
    *,
    pipeline: Sequence[Pass] | None = None,
    kernel_pipeline: Sequence[KernelPass] = KERNEL_PIPELINE,
    reference: Sequence[Array] | None = None,
    donated: frozenset[int] = frozenset(),
) -> Finding | None:
    """The first step that makes a result of ``graph`` on ``arrays`` wrong, or None where all are right.

    Right is what the evaluator says, or ``reference`` (one array a result), within the table's bounds. ``donated`` are
    the parameters whose memory the plan may take over.
    """
    options = options or Options.from_environment()
    passes = on_machine(PIPELINES[options.target.name] if pipeline is None else pipeline, options.machine)
    return _Search(graph, arrays, options, kernel_pipeline, reference, donated).run(passes)


class _Search:
    def __init__(
        self,
        graph: Graph,
        arrays: Sequence[Array],
        options: Options,
        kernel_pipeline: Sequence[KernelPass],
        reference: Sequence[Array] | None,
        donated: frozenset[int],
    ) -> None:
        self.graph = graph
        self.donated = donated
        self.arrays = [np.asarray(a) for a in arrays]
        self.options = options
        self.kernel_pipeline = [p for p in kernel_pipeline if p.required or p.name not in options.skip]
        self.wanted = expected(graph, self.arrays)
        if reference is not None:
            self.wanted = [replace(w, want=_as_wanted(r, w)) for w, r in zip(self.wanted, reference, strict=True)]

    def run(self, pipeline: Sequence[Pass]) -> Finding | None:
        problem = self.of_graph(self.graph)
        if problem:
            return Finding("the evaluator", problem)
        graph = self.graph
        for p in pipeline:
            if p.name in self.options.skip and not p.required:
                continue
            before = graph
            try:
                graph = p(graph)
            except Exception as error:
                return Finding(f"pass {p.name}", _failure(error))
            problem = self.of_graph(graph)
            if problem:
                return self.in_pass(p, before, problem)
        return self.after_passes(graph)

    def of_graph(self, graph: Graph) -> str:
        """What is wrong with the results of ``graph``, or nothing."""
        try:
            verify_graph(graph)
            return problem_of(self.wanted, evaluate_graph(graph, self.arrays))
        except MlcError as error:
            return error.message

    # ---------------------------------------------------------------- graph passes

    def in_pass(self, p: Pass, before: Graph, problem: str) -> Finding:
        """The first application of a rule by which ``p`` makes ``before`` wrong, where it has rules."""
        with fuelled() as fuel:
            p(before)
        bad, good = fuel.used, 0
        with fuelled(0):
            if not bad or self.of_graph(p(before)):  # wrong by itself, whatever the rules do
                return Finding(f"pass {p.name}", problem)
        while bad - good > 1:
            middle = (good + bad) // 2
            with fuelled(middle):
                if self.of_graph(p(before)):
                    bad = middle
                else:
                    good = middle
        with fuelled(bad) as fuel:
            wrong = p(before)
        assert fuel.last is not None
        last = fuel.last
        nodes = print_node(last.before), print_node(last.after)
        return Finding(
            f"pass {p.name}", self.of_graph(wrong), last.rule, bad, *nodes, location=_line(last.locations)
        )  # fmt: skip

    # ---------------------------------------------------------------- kernels

    def after_passes(self, graph: Graph) -> Finding | None:
        """The first wrong step behind the graph passes."""
        try:
            planned = make_plan(graph, self.options.target, donated=self.donated)
        except Exception as error:
            return Finding("schedule-and-plan", _failure(error))
        problem = self.of_plan(self.wanted, planned, self.arrays)
        if not problem:
            return None
        for fusion, values, locations in fusions_of(graph, self.arrays):
            found = self.in_region(fusion, values, _line(locations))
            if found is not None:
                return found
        interpreted = self.interpreted(self.wanted, planned, planned.kernels, self.arrays)
        if interpreted:
            return Finding("plan", interpreted)  # every region is right by itself: order, memory or barriers
        return Finding("codegen", problem, kernel=", ".join(planned.plan.kernels))

    def in_region(self, fusion: Node, arrays: Sequence[Array], location: str) -> Finding | None:
        """What is wrong with one fused region as a program of its own."""
        region = isolated(fusion)
        if {s.name for s in region.symbols} - {n.name for p in region.parameters for n in _bare_symbols(p)}:
            return None  # its sizes are known only to the whole
        wanted = expected(region, arrays)
        planned = make_plan(region, self.options.target)
        problem = self.of_plan(wanted, planned, arrays)
        if not problem:
            return None
        names = ", ".join(planned.plan.kernels)
        wrong = self.interpreted(wanted, planned, planned.kernels, arrays)
        if wrong:
            return Finding("schedule", wrong, kernel=names, location=location)
        kernels = list(planned.kernels)
        for p in self.kernel_pipeline:
            before = list(kernels)
            for i, kernel in enumerate(before):
                try:
                    kernels[i] = p.run(kernel, self.options.target)
                    wrong = self.interpreted(wanted, planned, kernels, arrays)
                except Exception as error:
                    wrong = _failure(error)
                if wrong:
                    return Finding(f"kernel pass {p.name}", wrong, kernel=kernel.name, location=location)
        return Finding("codegen", problem, kernel=names, location=location)

    def interpreted(
        self, wanted: Sequence[Expected], planned: Planned, kernels: Sequence[Kernel], arrays: Sequence[Array]
    ) -> str:
        try:
            for kernel in kernels:
                verify_kernel(kernel)
            return problem_of(wanted, interpret_plan(planned.plan, kernels, planned.constants, arrays))
        except VerifyError as error:
            return error.message

    def of_plan(self, wanted: Sequence[Expected], planned: Planned, arrays: Sequence[Array]) -> str:
        """What is wrong with the compiled plan, or nothing."""
        lowered = list(planned.kernels)
        try:
            for p in self.kernel_pipeline:
                lowered = [p.run(k, self.options.target) for k in lowered]
            call = link_kernels(planned.plan, lowered, planned.constants, self.options)
        except Exception as error:
            return _failure(error)
        return problem_of(wanted, [np.asarray(x) for x in call([asarray(a) for a in arrays])])  # donated: copies


def fusions_of(graph: Graph, arrays: Sequence[Array]) -> Iterator[tuple[Node, list[Array], Locations]]:
    """The fused regions of ``graph``, what each is given and where it is from: those in loops at the first trip."""
    todo = [(graph, list(arrays))]
    while todo:
        graph, arrays = todo.pop()
        steps = [n for n in graph.nodes if n.op is FUSION or is_control(n)]
        operands = list(dict.fromkeys(o for n in steps for o in n.operands))
        values = dict(zip(operands, evaluate_graph(graph.with_results(operands), arrays), strict=True))
        for node in steps:
            given = [values[o] for o in node.operands]
            if node.op is FUSION:
                yield node, given, graph.locations(node)
            else:
                todo += [(region, given[node.op is CASE :]) for region in regions_of(node)]


def isolated(fusion: Node) -> Graph:
    """One fused region as a graph of its own, with a parameter for each operand."""
    table = Table()
    with table.active():
        parameters = [table.parameter(o.tensor, f"x{i}") for i, o in enumerate(fusion.operands)]
        node = table.rebuild(fusion, parameters)
        return Graph("region", parameters, results_of(node), table)


def problem_of(wanted: Sequence[Expected], results: Sequence[Array]) -> str:
    """The first result that is not what is wanted, in words, or nothing."""
    for i, (want, got) in enumerate(zip(wanted, results, strict=True)):
        try:
            want.check(np.asarray(got), f"result {i}")
        except AssertionError as error:
            return str(error)
    return ""


def _failure(error: Exception) -> str:
    """In words, why there is no result; what the user's program is to blame for is raised again."""
    if isinstance(error, MlcError) and not isinstance(error, (InternalError, VerifyError)):
        raise error
    return f"it fails: {error!r}" if not isinstance(error, MlcError) else error.message


def _as_wanted(array: Array, like: Expected) -> Array:
    return np.asarray(array, like.want.dtype).reshape(like.want.shape)


def _bare_symbols(parameter: Node) -> list[Any]:
    from .ir.dims import Dim

    return [n.symbols[0] for n in parameter.shape if isinstance(n, Dim) and n == Dim({n.symbols[:1]: 1})]


def _line(locations: Locations) -> str:
    return str(locations[0]) if locations else ""
