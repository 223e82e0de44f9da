"""The whole compiler as one straight line: graph -> optimize -> schedule and plan -> generate -> link.

The only module that calls passes and codegen, and the only one below the command line that reads flags:
``MLC_DUMP=dir`` writes every stage, ``MLC_VERIFY=1`` verifies after every pass, ``MLC_SKIP=a,b`` leaves out passes,
``MLC_TARGET`` names the target, ``MLC_LLVM_OPT=n`` runs LLVM's own pipeline at level n (a benchmark column).
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .dump import Dump
from .errors import ArgumentError, TargetError
from .failures import reported
from .ir.graph import Graph
from .ir.kernel import Kernel, print_kernel
from .ir.plan import Plan, encode
from .ir.target import TARGETS, Target, host_target
from .passes.kernels import KERNEL_PIPELINE, KernelPass, lower_kernel
from .passes.plan import make_plan
from .passes.runner import PIPELINES, Pass, Timing, run_passes

if TYPE_CHECKING:
    from .codegen import LoadedObject
    from .runtime import Executable

Arrays = tuple[npt.NDArray[np.generic], ...]


@dataclass(frozen=True)
class Options:
    """What a compilation may be told; ``from_environment`` reads the flags."""

    target: Target
    verify: bool = False
    skip: frozenset[str] = frozenset()
    dump: Path | None = None
    llvm_opt: int = 0

    @staticmethod
    def from_environment() -> Options:
        env = os.environ
        name = env.get("MLC_TARGET", "")
        dump = env.get("MLC_DUMP")
        return Options(
            target=named_target(name) if name else host_target(),
            verify=env.get("MLC_VERIFY", "") not in ("", "0"),
            skip=skipped(env.get("MLC_SKIP", ""), "MLC_SKIP"),
            dump=Path(dump) if dump else None,
            llvm_opt=_level(env.get("MLC_LLVM_OPT") or "0"),
        )


def named_target(name: str) -> Target:
    """The target ``name``. Raises TargetError for one that mlc does not know."""
    if name == "native":
        return host_target()
    if name not in TARGETS:
        raise TargetError(f"target {name!r} is not known", hint=f"it is one of native, {', '.join(TARGETS)}")
    return TARGETS[name]


def skipped(names: str, option: str) -> frozenset[str]:
    """The passes that ``option`` leaves out. ArgumentError for one that is not there or that what follows needs."""
    skip = frozenset(filter(None, names.split(",")))
    passes: list[Pass | KernelPass] = [*itertools.chain(*PIPELINES.values()), *KERNEL_PIPELINE]
    free = list(dict.fromkeys(p.name for p in passes if not p.required))
    for name in sorted(skip.difference(free)):
        raise ArgumentError(f"{option}: no pass {name!r} can be left out", hint=f"these can: {', '.join(free)}")
    return skip


def _level(text: str) -> int:
    """MLC_LLVM_OPT. ArgumentError for what is no level of LLVM's."""
    if text not in ("0", "1", "2", "3"):
        raise ArgumentError(f"MLC_LLVM_OPT={text} is no level of LLVM's pipeline", hint="it is 0, 1, 2 or 3")
    return int(text)


@dataclass(frozen=True)
class CompiledFunction:
    """A graph compiled for one target: data that is the same for JIT and artifact.

    ``kernels`` are scheduled kernels in the order of ``plan.kernels``; ``lowered`` are the same, finished for code
    generation; ``constants`` are the arrays of the plan's constants.
    """

    graph: Graph
    optimized: Graph
    plan: Plan
    kernels: tuple[Kernel, ...]
    constants: Arrays
    options: Options
    timings: tuple[Timing, ...]

    @cached_property
    def lowered(self) -> tuple[Kernel, ...]:
        with reported("lower-kernels", self.optimized):
            return tuple(lower_kernel(k, self.options.target, self.options.skip) for k in self.kernels)

    @cached_property
    def llvm(self) -> str:
        """LLVM IR of every kernel, finished."""
        with reported("generate", self.optimized):
            return llvm_of(self.lowered, self.options)


def compile_function(
    graph: Graph,
    options: Options,
    *,
    result_names: Sequence[str] = (),
    donated: frozenset[int] = frozenset(),
    pipeline: Sequence[Pass] | None = None,
) -> CompiledFunction:
    """Optimize, schedule and plan ``graph``; machine code is generated when it is asked for.

    ``pipeline`` are the graph passes, the target's own where it is None. Raises InternalError where a step fails.
    """
    dump = Dump(options.dump, graph.name)
    dump.graph("traced", graph)
    passes = PIPELINES[options.target.name] if pipeline is None else pipeline
    with reported("optimize", graph, dump.folder):
        optimized, timings = run_passes(graph, passes, verify=options.verify, skip=options.skip, observe=dump.graph)
    begin = time.perf_counter()
    with reported("schedule-and-plan", optimized, dump.folder):
        planned = make_plan(optimized, options.target, result_names=result_names, donated=donated)
    timings.append(Timing("schedule-and-plan", time.perf_counter() - begin, len(planned.kernels)))
    compiled = CompiledFunction(
        graph, optimized, planned.plan, planned.kernels, planned.constants, options, tuple(timings)
    )
    dump.text("scheduled.kernels", lambda: kernels_text(planned.kernels))
    dump.text("lowered.kernels", lambda: kernels_text(compiled.lowered))
    dump.plan(planned.plan, planned.constants)
    dump.text("llvm.ll", lambda: compiled.llvm)
    dump.text("asm.s", lambda: assembly_of(compiled))
    return compiled


def compile_for_library(
    graph: Graph, target: Target, *, result_names: Sequence[str] = (), donated: frozenset[int] = frozenset()
) -> CompiledFunction:
    """``compile_function`` for a named target, with the other options of the environment."""
    options = replace(Options.from_environment(), target=target)
    return compile_function(graph, options, result_names=result_names, donated=donated)


def link(compiled: CompiledFunction) -> Executable:
    """Load the code of ``compiled`` into this process and make it callable with flat leaves."""
    from .array import Array
    from .runtime import Executable

    loaded = [_address(k, text, compiled.options) for k, text in _missing_first(compiled)]
    return Executable(
        encode(compiled.plan), [address for address, _ in loaded], list(compiled.constants),
        [owner for _, owner in loaded], Array,
    )  # fmt: skip


def link_kernels(plan: Plan, lowered: Sequence[Kernel], constants: Sequence[Any], options: Options) -> Executable:
    """Generate code for kernels that are finished, named as in ``plan``: the plan, callable with flat leaves."""
    from .array import Array
    from .runtime import Executable

    loaded = _load(lowered, options)
    return Executable(encode(plan), [loaded.address(name) for name in plan.kernels], list(constants), [loaded], Array)


def compile_graph(graph: Graph, options: Options | None = None) -> Executable:
    """Compile ``graph`` for this machine: an object callable with a list of arrays that gives a list of arrays."""
    return link(compile_function(graph, options or Options.from_environment()))


# ---------------------------------------------------------------- machine code, once for equal kernels


@dataclass
class _Code:
    """Machine code in this process by what it was made from: canonical text, target, LLVM level, skipped passes."""

    addresses: dict[tuple[str, str, int, frozenset[str]], tuple[int, Any]] = field(default_factory=dict)


_code = _Code()


def _key(text: str, options: Options) -> tuple[str, str, int, frozenset[str]]:
    return text, options.target.name, options.llvm_opt, options.skip


def _missing_first(compiled: CompiledFunction) -> list[tuple[Kernel, str]]:
    """Every kernel with its text, after code was generated for those that this process has not seen."""
    pairs = [(k, k.canonical_text()) for k in compiled.kernels]
    missing = [i for i, (_, text) in enumerate(pairs) if _key(text, compiled.options) not in _code.addresses]
    if missing:
        with reported("generate", compiled.optimized):
            loaded = _load([compiled.lowered[i] for i in missing], compiled.options)
        for i in missing:
            kernel, text = pairs[i]
            _code.addresses[_key(text, compiled.options)] = (loaded.address(kernel.name), loaded)
    return pairs


def _address(kernel: Kernel, text: str, options: Options) -> tuple[int, Any]:
    return _code.addresses[_key(text, options)]


def _load(kernels: Sequence[Kernel], options: Options) -> LoadedObject:
    from .codegen import compile_object, load_object

    return load_object(compile_object(llvm_of(kernels, options), options.target, options.llvm_opt))


def llvm_of(kernels: Sequence[Kernel], options: Options) -> str:
    from .codegen import emit_llvm

    return emit_llvm(kernels, options.target)


def assembly_of(compiled: CompiledFunction) -> str:
    from .codegen import assembly

    return assembly(compiled.llvm, compiled.options.target, compiled.options.llvm_opt)


def kernels_text(kernels: Sequence[Kernel]) -> str:
    return "\n\n".join(print_kernel(k) for k in kernels)
