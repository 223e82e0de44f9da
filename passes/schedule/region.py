"""A fused region of the optimized graph to the kernels that compute it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

from mlc.errors import InternalError
from mlc.ir.dims import Size
from mlc.ir.graph import Graph
from mlc.ir.kernel import Kernel
from mlc.ir.target import AnyTarget, GpuTarget, Target


@dataclass(frozen=True, slots=True)
class Operand:
    """What a kernel's buffer is: a parameter or result of the region's body, or a temporary between its kernels."""

    kind: Literal["parameter", "result", "temporary"]
    index: int


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One kernel of a region: ``operands`` are its buffers and ``sizes`` the values of its size parameters, in order.

    ``tasks`` are the (extent, grain) pairs of its parallel loop. ``serial`` says that one worker should run them all.
    """

    kernel: Kernel
    operands: tuple[Operand, ...]
    sizes: tuple[Size, ...]
    tasks: tuple[tuple[Size, int], ...]
    serial: bool


@dataclass(frozen=True, slots=True)
class ScheduledRegion:
    """Kernels that compute a region when they run one after another.

    ``temporaries`` are sizes in bytes (at the bound of symbolic sizes). An ``in_place`` pair (parameter, result) may
    share memory: each element of the parameter is read only by the iteration that writes the same element of the
    result, before the write. Before the calls, each of ``copies`` (parameter, result) is made, unless the two share
    memory.
    """

    calls: tuple[KernelCall, ...]
    temporaries: tuple[int, ...] = ()
    in_place: frozenset[tuple[int, int]] = frozenset()
    copies: tuple[tuple[int, int], ...] = ()


def redirected(call: KernelCall, places: Mapping[tuple[str, int], Operand]) -> KernelCall:
    """``call`` with other operands: those at ``places``, by kind and index."""
    return replace(call, operands=tuple(places.get((o.kind, o.index), o) for o in call.operands))


Schedule = Callable[[Graph, Target], ScheduledRegion]

KINDS = ("loop", "reduce", "row", "contraction", "convolution", "scatter", "update", "sort", "cumulative")
"""What fusions are, one schedule each."""


def schedule_region(kind: str, body: Graph, target: AnyTarget) -> ScheduledRegion:
    """The kernels that compute ``body``: with blocks of threads for a GPU. UnsupportedError for what a GPU cannot do.

    ``kind`` is the fusion's, one of ``KINDS``. Buffers of parameters and results are dense row-major arrays of
    their types.
    """
    if isinstance(target, GpuTarget):
        from .gpu import schedule_of
        from .gpu.separate import mark_separate

        return mark_separate(schedule_of(kind)(body, target))
    if kind not in KINDS:
        raise InternalError(f"schedule_region: no schedule for a fusion of kind {kind}; there are {', '.join(KINDS)}")
    schedule: Schedule = schedule_in("mlc.passes.schedule", kind)
    return schedule(body, target)


def schedule_in(package: str, kind: str) -> Any:
    """The function ``schedule_KIND`` of module ``KIND`` of a package, which is imported when it is first asked for."""
    return getattr(import_module(f"{package}.{kind}"), f"schedule_{kind}")
