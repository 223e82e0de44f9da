"""dynamic_update_slice on a GPU: the operand copied (or kept in place), then the update's elements written over it."""

from __future__ import annotations

from mlc.ir.graph import Graph
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.region import ScheduledRegion
from mlc.passes.schedule.update import in_place_of_update, update_piece, write_operand

from .loop import loop_calls


def schedule_update(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and the one that computes the update."""
    first = write_operand(body, body.results[0].operands[0], target)
    calls = loop_calls(body, target, (update_piece(body),))
    return ScheduledRegion((*first.calls, *calls), (), in_place_of_update(body, first), first.copies)
