"""The whole compiler as one straight line: graph -> optimize -> schedule and plan -> generate -> link.

The only module that calls passes and codegen. What is in the cache on disk does not come here: see ``program.py``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .devices import attached
from .dump import Dump
from .errors import UnsupportedError
from .failures import reported
from .ir.graph import Graph
from .ir.kernel import Kernel, print_kernel
from .ir.plan import Plan, encode
from .ir.target import GPU_TARGETS, AnyTarget, GpuTarget, Target, named_gpu_target
from .linked import LINKED, KernelCode, kernel_key
from .options import Options, named_target, skipped
from .passes.kernels import lower_kernel
from .passes.plan import make_plan
from .passes.plan_devices import RefusedError
from .passes.runner import PIPELINES, Pass, Timing, on_machine, run_passes
from .refused import Refused

if TYPE_CHECKING:
    from .runtime import Executable

Arrays = tuple[npt.NDArray[np.generic], ...]


@dataclass(frozen=True)
class CompiledFunction:
    """A graph compiled for one target: data that is the same for JIT and artifact.

    ``kernels`` are scheduled kernels in the order of ``plan.kernels``; ``lowered`` are the same, finished for code
    generation; ``constants`` are the arrays of the plan's constants; ``targets`` are what each kernel is made for.
    """

    graph: Graph
    optimized: Graph
    plan: Plan
    kernels: tuple[Kernel, ...]
    constants: Arrays
    options: Options
    timings: tuple[Timing, ...]
    targets: tuple[AnyTarget, ...]

    @cached_property
    def lowered(self) -> tuple[Kernel, ...]:
        with reported("lower-kernels", self.optimized):
            pairs = zip(self.kernels, self.targets, strict=True)
            return tuple(lower_kernel(k, target, self.options.skip) for k, target in pairs)

    @cached_property
    def llvm(self) -> str:
        """LLVM IR of every kernel that runs on the host, finished."""
        with reported("generate", self.optimized):
            return llvm_of(self.lowered_for(self.options.target), self.options)

    @cached_property
    def images(self) -> tuple[str, ...]:
        """PTX for each device of the plan, "" where no kernel runs there."""
        with reported("generate", self.optimized):
            targets = [named_gpu_target(d.target) or GPU_TARGETS[d.target] for d in self.plan.devices]
            made = {t: _ptx_of(self.lowered_for(t), t) for t in dict.fromkeys(targets)}
            return tuple(made[t] for t in targets)

    def lowered_for(self, target: AnyTarget) -> tuple[Kernel, ...]:
        """The finished kernels that are made for ``target``."""
        return tuple(k for k, t in zip(self.lowered, self.targets, strict=True) if t == target)


def compile_function(
    graph: Graph,
    options: Options,
    *,
    result_names: Sequence[str] = (),
    donated: frozenset[int] = frozenset(),
    pipeline: Sequence[Pass] | None = None,
) -> CompiledFunction:
    """Optimize, schedule and plan ``graph``; machine code is generated when it is asked for, but for PTX.

    ``pipeline`` are the graph passes, the target's own where it is None. What a GPU does not take is planned for the
    host, with a notice. Raises InternalError where a step fails.
    """
    dump = Dump(options.dump, graph.name)
    dump.graph("traced", graph)
    passes = PIPELINES[options.target.name] if pipeline is None else pipeline
    refused = Refused()
    while True:
        placed = on_machine(passes, options.machine, options.home, refused.nodes)
        with reported("optimize", graph, dump.folder):
            optimized, timings = run_passes(graph, placed, verify=options.verify, skip=options.skip, observe=dump.graph)
        begin = time.perf_counter()
        try:
            with reported("schedule-and-plan", optimized, dump.folder):
                planned = make_plan(
                    optimized, options.target, result_names=result_names, donated=donated, machine=options.machine,
                    home=options.home,
                )  # fmt: skip
            timings.append(Timing("schedule-and-plan", time.perf_counter() - begin, len(planned.kernels)))
            compiled = CompiledFunction(
                graph, optimized, planned.plan, planned.kernels, planned.constants, options, tuple(timings),
                planned.targets,
            )  # fmt: skip
            _generate_images(compiled, planned.regions)
        except RefusedError as error:
            refused.add(error)
            continue
        break
    dump.text("scheduled.kernels", lambda: kernels_text(planned.kernels))
    dump.text("lowered.kernels", lambda: kernels_text(compiled.lowered))
    dump.plan(planned.plan, planned.constants)
    dump.text("llvm.ll", lambda: compiled.llvm)
    dump.text("asm.s", lambda: assembly_of(compiled.llvm, options))
    for device, ptx in zip(planned.plan.devices, compiled.images if dump.folder else (), strict=False):
        dump.text(f"{device.target}.ptx", ptx.__str__)
    return compiled


def _generate_images(compiled: CompiledFunction, regions: Sequence[Graph]) -> None:
    """The PTX of a plan for GPUs. RefusedError names the region of a kernel that no code can be generated for."""
    try:
        compiled.images  # noqa: B018  # cached: generated here, or refused
    except UnsupportedError:
        for kernel, target, region in zip(compiled.kernels, compiled.targets, regions, strict=True):
            if isinstance(target, GpuTarget):
                try:
                    _ptx_of((lower_kernel(kernel, target, compiled.options.skip),), target)
                except UnsupportedError as error:
                    raise RefusedError(error, region) from error
        raise


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

    codes = kernel_codes(compiled)
    return Executable(
        encode(compiled.plan), [c.address if c else 0 for c in codes], list(compiled.constants),
        [c.owner for c in codes if c], Array, *attached([d.name for d in compiled.plan.devices], compiled.images),
    )  # fmt: skip


def link_kernels(plan: Plan, lowered: Sequence[Kernel], constants: Sequence[Any], options: Options) -> Executable:
    """Generate code for kernels that are finished, named as in ``plan``: the plan, callable with flat leaves."""
    return link_object(plan, object_of(llvm_of(lowered, options), options), constants)


def link_object(plan: Plan, code: bytes, constants: Sequence[Any]) -> Executable:
    """The plan with the kernels of an object, callable with flat leaves. KeyError where the object lacks one."""
    from .array import Array
    from .runtime import Executable

    owner = LINKED.object(LINKED.add_object(code))
    return Executable(encode(plan), [owner.address(name) for name in plan.kernels], list(constants), [owner], Array)


def compile_graph(graph: Graph, options: Options | None = None) -> Executable:
    """Compile ``graph`` for this machine: an object callable with a list of arrays that gives a list of arrays."""
    return link(compile_function(graph, options or Options.from_environment()))


# ---------------------------------------------------------------- machine code, once for equal kernels


def kernel_codes(compiled: CompiledFunction) -> list[KernelCode | None]:
    """The code of every kernel of the plan that the host runs, generated for those that this process has not seen.

    None for kernels of GPUs, whose code is ``compiled.images``.
    """
    keys = [
        kernel_key(k.canonical_text(), compiled.options) if t == compiled.options.target else None
        for k, t in zip(compiled.kernels, compiled.targets, strict=True)
    ]
    missing = [i for i, key in enumerate(keys) if key is not None and key not in LINKED]
    if missing:
        with reported("generate", compiled.optimized):
            digest = _generate([compiled.lowered[i] for i in missing], compiled.options)
        for i in missing:
            LINKED.add_kernel(str(keys[i]), digest, compiled.kernels[i].name)
    return [None if key is None else LINKED[key] for key in keys]


def _generate(kernels: Sequence[Kernel], options: Options) -> str:
    return LINKED.add_object(object_of(llvm_of(kernels, options), options))


def object_of(llvm: str, options: Options) -> bytes:
    """Object code of finished LLVM IR."""
    from .codegen import compile_object

    return compile_object(llvm, options.target, options.llvm_opt)


def _ptx_of(kernels: Sequence[Kernel], target: AnyTarget) -> str:
    from .codegen.nvptx import compile_ptx

    assert isinstance(target, GpuTarget)
    return compile_ptx(kernels, target) if kernels else ""


def llvm_of(kernels: Sequence[Kernel], options: Options) -> str:
    from .codegen import emit_llvm

    return emit_llvm(kernels, options.target)


def check_llvm(llvm: str) -> None:
    """Raises ParseError with LLVM's words for text from elsewhere that is no LLVM IR."""
    from .codegen import check_llvm

    check_llvm(llvm)


def assembled(assembly: str, options: Options) -> bytes:
    """Object code of assembly; LLVM ends the process, with its own message, for other text."""
    from .codegen import assemble

    return assemble(assembly, options.target)


def assembly_of(llvm: str, options: Options) -> str:
    """Assembly of finished LLVM IR."""
    from .codegen import assembly

    return assembly(llvm, options.target, options.llvm_opt)


def kernels_text(kernels: Sequence[Kernel]) -> str:
    return "\n\n".join(print_kernel(k) for k in kernels)


__all__ = [
    "CompiledFunction", "Options", "assembled", "assembly_of", "check_llvm", "compile_for_library", "compile_function",
    "compile_graph", "kernel_codes", "kernels_text", "link", "link_kernels", "link_object", "llvm_of", "named_target",
    "object_of", "skipped",
]  # fmt: skip
