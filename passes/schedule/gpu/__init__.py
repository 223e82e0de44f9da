"""Fused regions of the optimized graph to Kernels of blocks of threads."""

from __future__ import annotations

from collections.abc import Callable

from mlc.errors import UnsupportedError
from mlc.ir.graph import Graph
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.region import KINDS, ScheduledRegion, schedule_in

GpuSchedule = Callable[[Graph, GpuTarget], ScheduledRegion]


def schedule_of(kind: str) -> GpuSchedule:
    """The schedule of fusions of this kind; UnsupportedError where GPUs have none."""
    if kind not in KINDS:
        raise UnsupportedError(f"a fusion of kind {kind} has no schedule for GPUs", hint="run it on cpu:0")
    schedule: GpuSchedule = schedule_in("mlc.passes.schedule.gpu", kind)
    return schedule
