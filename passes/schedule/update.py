"""dynamic_update_slice: the operand copied (or kept in place), then the update's elements written into their window."""

from __future__ import annotations

from mlc.ir.graph import Graph, Node
from mlc.ir.target import AnyTarget, Target

from .access import Access, walk_accesses, window_starts
from .domain import Coordinates, Domain
from .loop import loop_call
from .loop_form import Piece
from .region import ScheduledRegion, schedule_region
from .sizes import Sizes


def schedule_update(body: Graph, target: Target) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and the one that computes the update."""
    first = write_operand(body, body.results[0].operands[0], target)
    call = loop_call(body, target, (update_piece(body),))
    return ScheduledRegion((*first.calls, call), (), in_place_of_update(body, first), first.copies)


def update_piece(body: Graph) -> Piece:
    """The elements of the update, at their place in the result."""
    _, update, *starts = body.results[0].operands
    return Piece(update, 0, lambda d: _place(body, d), tuple(Access(s, ()) for s in starts))


def in_place_of_update(body: Graph, first: ScheduledRegion) -> frozenset[tuple[int, int]]:
    """Which of the pairs of what writes the operand may share memory beyond the update."""
    kept = _only_as_written(body)
    return frozenset(p for p in first.in_place if p[0] in kept)


def write_operand(body: Graph, x: Node, target: AnyTarget) -> ScheduledRegion:
    """What puts ``x``, the operand of the one result, in that result's memory."""
    if x in body.parameters:
        number = body.parameters.index(x)
        return ScheduledRegion((), (), frozenset([(number, 0)]), ((number, 0),))
    return schedule_region("loop", Graph(body.name, body.parameters, (x,), body.table), target)


def _place(body: Graph, domain: Domain) -> Coordinates:
    """Where the update's element at the domain's coordinates lies in the result."""
    x, update, *starts = body.results[0].operands
    begin = window_starts(x.shape, update.shape, starts, domain)
    return tuple(a + c for a, c in zip(begin, domain.coordinates, strict=True))


def _only_as_written(body: Graph) -> set[int]:
    """The parameters that the update does not read, or that are the operand, read only where it is about to write."""
    x, update, *starts = body.results[0].operands
    domain = Domain.of(update.shape, Sizes(body))
    here = domain.linear(x.shape, _place(body, domain))
    kept = set(range(len(body.parameters)))
    for access in walk_accesses([Access(update, domain.coordinates), *(Access(s, ()) for s in starts)], domain):
        if access.node.op.name != "parameter":
            continue
        if access.node is not x or domain.linear(x.shape, access.coordinates) != here:
            kept.discard(body.parameters.index(access.node))
    return kept
