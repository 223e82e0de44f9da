"""dynamic_update_slice: the operand copied (or kept in place), then the update's elements written into their window."""

from __future__ import annotations

from collections.abc import Callable

from mlc.ir.graph import Graph, Node
from mlc.ir.target import Target

from .access import Access, walk_accesses, window_starts
from .domain import Coordinates, Domain
from .loop import Piece, loop_call, schedule_loop
from .region import ScheduledRegion
from .sizes import Sizes


def schedule_update(body: Graph, target: Target) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and the one that computes the update."""
    (node,) = body.results
    x, update, *starts = node.operands
    first = write_operand(body, x, target)

    def at(domain: Domain) -> Coordinates:
        begin = window_starts(x.shape, update.shape, starts, domain)
        return tuple(a + c for a, c in zip(begin, domain.coordinates, strict=True))

    call = loop_call(body, target, (Piece(update, 0, at, tuple(Access(s, ()) for s in starts)),))
    kept = _only_as_written(body, at)
    return ScheduledRegion((*first.calls, call), (), frozenset(p for p in first.in_place if p[0] in kept), first.copies)


def write_operand(body: Graph, x: Node, target: Target) -> ScheduledRegion:
    """What puts ``x``, the operand of the one result, in that result's memory."""
    if x in body.parameters:
        number = body.parameters.index(x)
        return ScheduledRegion((), (), frozenset([(number, 0)]), ((number, 0),))
    return schedule_loop(Graph(body.name, body.parameters, (x,), body.table), target)


def _only_as_written(body: Graph, at: Callable[[Domain], Coordinates]) -> set[int]:
    """The parameters that the update does not read, or that are the operand, read only where it is about to write."""
    x, update, *starts = body.results[0].operands
    domain = Domain.of(update.shape, Sizes(body))
    here = domain.linear(x.shape, at(domain))
    kept = set(range(len(body.parameters)))
    for access in walk_accesses([Access(update, domain.coordinates), *(Access(s, ()) for s in starts)], domain):
        if access.node.op.name != "parameter":
            continue
        if access.node is not x or domain.linear(x.shape, access.coordinates) != here:
            kept.discard(body.parameters.index(access.node))
    return kept
