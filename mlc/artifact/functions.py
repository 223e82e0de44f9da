"""Exports to compiled functions: each traced graph once for every target, with the names that users gave."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from mlc import tree
from mlc.artifact.exporting import Export
from mlc.artifact.gpu import GpuVariant, check_gpus, compile_for_gpu
from mlc.artifact.signature import Signature, signature_of
from mlc.artifact.structure import Json, to_json
from mlc.errors import InternalError, UnsupportedError
from mlc.ir.plan import Plan
from mlc.ir.plan.memory import ArenaBuffer
from mlc.ir.target import TARGETS, GpuTarget, Target

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Variant:
    """A function compiled for one target; ``kernels`` is their text, ``optimize`` the level of LLVM's own passes.

    ``buffers`` are those of its arena, as ``mlc inspect`` shows them.
    """

    target: Target
    plan: Plan
    llvm: str
    kernels: str
    optimize: int = 0
    buffers: tuple[ArenaBuffer, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """An exported function for all targets; its constants have the places of the Plans' constants.

    ``cost`` is that of one call as traced, at the upper bounds of its sizes.
    """

    signature: Signature
    variants: tuple[Variant, ...]
    constants: tuple[tuple[str, npt.NDArray[Any]], ...]
    cost: Json = None
    gpus: tuple[GpuVariant, ...] = ()


def compile_exports(
    exports: Sequence[Export], targets: Sequence[str], report: Report, gpus: Sequence[str] = ()
) -> list[Function]:
    """Compile every export for every target and GPU; UnsupportedError for one that mlc does not have."""
    unknown = [t for t in targets if t not in TARGETS]
    if unknown:
        raise UnsupportedError(f"no target {unknown[0]!r}", hint=f"there are {', '.join(TARGETS)}")
    kinds = check_gpus(gpus)
    return [_compile_export(export, [TARGETS[t] for t in targets], report, kinds) for export in exports]


def _compile_export(export: Export, targets: Sequence[Target], report: Report, gpus: Sequence[GpuTarget]) -> Function:
    from mlc.analysis import analyse_cost
    from mlc.compiler import compile_for_library, kernels_text
    from mlc.ir.plan.memory import arena_buffers

    names = [output_name(path) for path in tree.paths(export.traced.out_tree, "result")]
    variants, tables = [], []
    for target in targets:
        report(f"compiling {export.name} for {target.name}")
        compiled = compile_for_library(export.traced.graph, target, result_names=names)
        text = kernels_text(compiled.kernels)
        buffers = arena_buffers(compiled.plan, compiled.kernels)
        variants.append(Variant(target, compiled.plan, compiled.llvm, text, compiled.options.llvm_opt, buffers))
        tables.append(compiled.constants)
    for table in tables[1:]:
        same = [a.tobytes() for a in table] == [a.tobytes() for a in tables[0]]
        if not same:
            raise InternalError(f"{export.name}: its targets do not share their constants")
    arguments, result = _structures(export)
    signature = signature_of(export.name, variants[0].plan, arguments, result)
    constants = zip((c.name for c in variants[0].plan.constants), tables[0], strict=True)
    found = []
    for gpu in gpus:
        report(f"compiling {export.name} for {gpu.name}")
        variant = compile_for_gpu(export, gpu, names)
        found += [variant] if variant is not None else []
    return Function(signature, tuple(variants), tuple(constants), analyse_cost(export.traced.graph), tuple(found))


def output_name(path: str) -> str:
    """What an output is called by its path in the result.

    >>> output_name("result"), output_name("result['probs']"), output_name("result['a'][0]"), output_name("result[1]")
    ('result', 'probs', 'a[0]', 'result[1]')
    """
    return re.sub(r"^result\['([^']*)'\]", r"\1", path)


def _structures(export: Export) -> tuple[dict[str, Json], Json]:
    """The arguments by name with the structure of their leaves, and the structure of the result."""
    traced = export.traced
    count = len(traced.in_types)
    positional, named = tree.unflatten(traced.in_tree, range(count))
    arguments = {**dict(zip(export.positional, positional, strict=True)), **named}
    result = tree.unflatten(traced.out_tree, range(len(traced.out_types)))
    return {name: to_json(a) for name, a in arguments.items()}, to_json(result)
