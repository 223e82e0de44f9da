"""A dumped stage, graph or kernels, to a function of flat arrays: compiled for this machine, or interpreted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlc.cli.feeds import Leaf, leaves_of_graph, leaves_of_plan
from mlc.compiler import Options, compile_function, link, link_kernels, named_target
from mlc.dump import kind_of, read_graph, read_kernels, read_plan
from mlc.errors import ParseError

STAGES = (".graph", ".kernels")


class StageFunction:
    """What a stage computes, with the face of an artifact's function: ``inputs``, ``outputs`` and ``run_flat``."""

    def __init__(
        self,
        inputs: list[Leaf],
        outputs: list[Leaf],
        symbols: Sequence[tuple[str, int, int]],
        run: Callable[[list[Any]], Sequence[Any]],
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.symbols = symbols
        self._run = run

    def run_flat(self, leaves: list[Any]) -> list[Any]:
        """The outputs in order from the inputs in order."""
        return list(self._run(leaves))


def open_stage(path: Path, target: str | None = None, interpret: bool = False) -> StageFunction:
    """The function of the graph or the kernels in the file. Raises ParseError for a file that holds neither."""
    options = Options.from_environment()
    if target is not None:
        options = replace(options, target=named_target(target))
    return (_of_graph if kind_of(path) == "graph" else _of_kernels)(path, options, interpret)


def _of_graph(path: Path, options: Options, interpret: bool) -> StageFunction:
    from mlc.ir.graph.evaluate import evaluate_graph

    graph = read_graph(path)
    outputs = [{"name": f"out{i}", "dtype": r.tensor.dtype.name, "shape": []} for i, r in enumerate(graph.results)]
    symbols = [(s.name, s.lower, s.upper) for s in graph.symbols]
    run = (lambda leaves: evaluate_graph(graph, leaves)) if interpret else link(compile_function(graph, options))
    return StageFunction(leaves_of_graph(graph), outputs, symbols, run)


def _of_kernels(path: Path, options: Options, interpret: bool) -> StageFunction:
    from mlc.ir.plan.interpret import interpret_plan
    from mlc.passes.kernels import lower_kernel

    plan, constants = read_plan(path.parent)
    found = {k.name: k for k in read_kernels(path)}
    missing = [name for name in plan.kernels if name not in found]
    if missing:
        raise ParseError(f"{path}: the plan launches the kernel {missing[0]}, which is not there")
    kernels = [found[name] for name in plan.kernels]
    inputs, outputs = leaves_of_plan(plan.inputs), leaves_of_plan(plan.outputs)
    symbols = [(s.name, s.lower, s.upper) for s in plan.symbols]
    if interpret:
        return StageFunction(inputs, outputs, symbols, lambda leaves: interpret_plan(plan, kernels, constants, leaves))
    run = link_kernels(plan, [lower_kernel(k, options.target, options.skip) for k in kernels], constants, options)
    return StageFunction(inputs, outputs, symbols, run)
