"""What a compiled function takes of memory and what it costs, under JAX's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .compiler import CompiledFunction
from .ir.dims import bounds
from .ir.graph import Graph
from .ir.graph.cost import Cost, cost_by_scope
from .ir.plan import byte_size
from .ir.plan.memory import ArenaBuffer, arena_buffers, peak_bytes, value_bytes


@dataclass(frozen=True, slots=True)
class MemoryAnalysis:
    """Bytes, at the upper bounds of symbolic sizes. ``buffers`` are those of the arena of temporaries.

    ``alias`` are arguments whose memory results take over; ``peak`` is what is in use of the arena at one step;
    ``scratch`` is each thread's own; constants count to neither arguments nor temporaries.
    """

    argument_size_in_bytes: int
    output_size_in_bytes: int
    alias_size_in_bytes: int
    temp_size_in_bytes: int
    peak_temp_size_in_bytes: int
    scratch_size_in_bytes: int
    constant_size_in_bytes: int
    generated_code_size_in_bytes: int
    buffers: tuple[ArenaBuffer, ...]

    def as_dict(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def analyse_memory(compiled: CompiledFunction) -> MemoryAnalysis:
    """What the plan and the machine code of ``compiled`` take."""
    plan = compiled.plan
    buffers = arena_buffers(plan, compiled.kernels)
    aliased = [i for i in plan.inputs if i.donated_to is not None]
    return MemoryAnalysis(
        argument_size_in_bytes=value_bytes(plan.inputs),
        output_size_in_bytes=value_bytes(plan.outputs),
        alias_size_in_bytes=value_bytes(aliased),
        temp_size_in_bytes=plan.arena_bytes + sum(d.arena_bytes for d in plan.devices),
        peak_temp_size_in_bytes=peak_bytes(buffers),
        scratch_size_in_bytes=plan.scratch_bytes,
        constant_size_in_bytes=sum(bounds(byte_size(c.type))[1] for c in plan.constants),
        generated_code_size_in_bytes=code_bytes(compiled),
        buffers=buffers,
    )


def code_bytes(compiled: CompiledFunction) -> int:
    """Bytes of the instructions of all kernels that the host runs. Generates them anew."""
    from llvmlite import binding

    from .codegen import compile_object

    if not compiled.lowered_for(compiled.options.target):
        return 0
    data = compile_object(compiled.llvm, compiled.options.target, compiled.options.llvm_opt)
    return sum(s.size() for s in binding.ObjectFileRef.from_data(data).sections() if s.is_text())


def analyse_cost(graph: Graph, sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
    """``flops``, ``transcendentals`` and ``bytes accessed`` of one call, and the same by scope under ``scopes``.

    Symbolic sizes take ``sizes`` or their upper bound. The sums over scopes equal the total.
    """
    values = {s.name: s.upper for s in graph.symbols} | dict(sizes or {})
    scopes = cost_by_scope(graph, values)
    total = sum(scopes.values(), start=Cost())
    return {**total.as_dict(), "scopes": {name: cost.as_dict() for name, cost in scopes.items()}}
