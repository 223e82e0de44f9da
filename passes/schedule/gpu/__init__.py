"""Fused regions of the optimized graph to Kernels of blocks of threads."""

from __future__ import annotations

from collections.abc import Callable

from mlc.errors import UnsupportedError
from mlc.ir.graph import Graph
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.region import ScheduledRegion

GpuSchedule = Callable[[Graph, GpuTarget], ScheduledRegion]


def schedule_of(kind: str) -> GpuSchedule:
    """The schedule of fusions of this kind; UnsupportedError where GPUs have none."""
    if kind == "loop":
        from .loop import schedule_loop

        return schedule_loop
    if kind == "reduce":
        from .reduce import schedule_reduce

        return schedule_reduce
    if kind == "row":
        from .row import schedule_row

        return schedule_row
    if kind == "contraction":
        from .contraction import schedule_contraction

        return schedule_contraction
    if kind == "convolution":
        from .convolution import schedule_convolution

        return schedule_convolution
    if kind == "update":
        from .update import schedule_update

        return schedule_update
    if kind == "scatter":
        from .scatter import schedule_scatter

        return schedule_scatter
    if kind == "cumulative":
        from .cumulative import schedule_cumulative

        return schedule_cumulative
    if kind == "sort":
        from .sort import schedule_sort

        return schedule_sort
    raise UnsupportedError(f"a fusion of kind {kind} has no schedule for GPUs", hint="run it on cpu:0")
