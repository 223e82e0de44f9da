"""A dumped stage to a function of flat arrays: compiled for this machine, or interpreted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlc.array import asarray
from mlc.cli.feeds import Leaf, leaves_of_graph, leaves_of_plan
from mlc.compiler import (
    Options,
    assembled,
    check_llvm,
    compile_function,
    link,
    link_kernels,
    link_object,
    named_target,
    object_of,
)
from mlc.dump import SUFFIXES, kind_of, located, read_graph, read_kernels, read_plan, read_text
from mlc.errors import ParseError, UnsupportedError
from mlc.ir.plan import Plan

Run = Callable[[list[Any]], Sequence[Any]]
STAGES = (*SUFFIXES, ".txt")  # of file names


class StageFunction:
    """What a stage computes, with the face of an artifact's function: ``inputs``, ``outputs`` and ``run_flat``."""

    def __init__(
        self,
        inputs: list[Leaf],
        outputs: list[Leaf],
        symbols: Sequence[tuple[str, int, int]],
        run: Run,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.symbols = symbols
        self._run = run

    def run_flat(self, leaves: list[Any]) -> list[Any]:
        """The outputs in order from the inputs in order."""
        return list(self._run(leaves))


def open_stage(path: Path, target: str | None = None, interpret: bool = False) -> StageFunction:
    """The function that the stage in the file computes; kernels and what follows run through the plan beside them.

    Raises ParseError for a file that holds no stage, UnsupportedError to ``interpret`` LLVM IR or assembly.
    """
    options = Options.from_environment()
    if target is not None:
        options = replace(options, target=named_target(target))
    kind = kind_of(path)
    if kind == "graph":
        return _of_graph(path, options, interpret)
    if kind in ("kernels", "plan"):
        return _of_kernels(path, kind, options, interpret)
    if interpret:
        raise UnsupportedError(f"{path}: what LLVM made or reads is not interpreted", hint="run it without --interpret")
    return _of_code(path, kind, options)


def read_llvm(path: Path) -> str:
    """The LLVM IR in the file. Raises ParseError with LLVM's words for anything else."""
    text = read_text(path)
    located(path, lambda: check_llvm(text))
    return text


def _of_graph(path: Path, options: Options, interpret: bool) -> StageFunction:
    from mlc.ir.graph.evaluate import evaluate_graph

    graph = read_graph(path)
    outputs = [{"name": f"out{i}", "dtype": r.tensor.dtype.name, "shape": []} for i, r in enumerate(graph.results)]
    symbols = [(s.name, s.lower, s.upper) for s in graph.symbols]
    run = (
        (lambda leaves: evaluate_graph(graph, leaves)) if interpret else _owning(link(compile_function(graph, options)))
    )
    return StageFunction(leaves_of_graph(graph), outputs, symbols, run)


def _of_kernels(path: Path, kind: str, options: Options, interpret: bool) -> StageFunction:
    """Of kernels and the plan beside them, or of a plan and the kernels beside it."""
    from mlc.ir.plan.interpret import interpret_plan
    from mlc.passes.kernels import lower_kernel

    plan, constants = read_plan(path if kind == "plan" else path.parent)
    if kind == "plan":
        beside = sorted(path.parent.glob("*-lowered.kernels"))
        if len(beside) != 1:
            raise ParseError(f"the folder {path.parent} has {len(beside)} files named *-lowered.kernels, not one",
                             hint="a plan runs the kernels that MLC_DUMP writes beside it")  # fmt: skip
        path = beside[0]
    found = {k.name: k for k in read_kernels(path)}
    missing = [name for name in plan.kernels if name not in found]
    if missing:
        raise ParseError(f"{path}: the plan launches the kernel {missing[0]}, which is not there")
    kernels = [found[name] for name in plan.kernels]
    if interpret:
        return _of_plan(plan, lambda leaves: interpret_plan(plan, kernels, constants, leaves))
    lowered = [lower_kernel(k, options.target, options.skip) for k in kernels]
    return _of_plan(plan, _owning(link_kernels(plan, lowered, constants, options)))


def _of_code(path: Path, kind: str, options: Options) -> StageFunction:
    """Of LLVM IR or assembly, and the plan beside it."""
    plan, constants = read_plan(path.parent)
    code = object_of(read_llvm(path), options) if kind == "llvm" else assembled(read_text(path), options)
    try:
        return _of_plan(plan, _owning(link_object(plan, code, constants)))
    except KeyError as error:
        raise ParseError(f"{path}: the plan launches the kernel {error}, which is not there") from error


def _owning(run: Run) -> Run:
    """``run`` on arrays of its own, whose memory a plan may take over."""
    return lambda leaves: run([asarray(x) for x in leaves])


def _of_plan(plan: Plan, run: Run) -> StageFunction:
    symbols = [(s.name, s.lower, s.upper) for s in plan.symbols]
    return StageFunction(leaves_of_plan(plan.inputs), leaves_of_plan(plan.outputs), symbols, run)
