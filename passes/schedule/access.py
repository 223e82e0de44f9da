"""Which elements of its operands each element of a node is made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from mlc.errors import InternalError
from mlc.ir.graph import (
    BROADCAST_IN_DIM,
    CONCATENATE,
    DYNAMIC_SLICE,
    GATHER,
    PAD,
    RESHAPE,
    REVERSE,
    SLICE,
    TRANSPOSE,
    Node,
    Windows,
    windows_of,
)  # fmt: skip
from mlc.ir.kernel import Index
from mlc.ir.types import Shape

from .domain import Coordinates, Domain, group_axes


@dataclass(frozen=True, slots=True)
class Guard:
    """Holds where 0 <= index < extent."""

    index: Index
    extent: Index


@dataclass(frozen=True, slots=True)
class Access:
    """The element of ``node`` at ``coordinates``, wanted only where all ``guards`` hold."""

    node: Node
    coordinates: Coordinates
    guards: tuple[Guard, ...] = ()

    @property
    def indices(self) -> tuple[Index, ...]:
        """Every expression that the element depends on."""
        return (*self.coordinates, *(g.index for g in self.guards))


def operand_accesses(access: Access, domain: Domain) -> tuple[Access, ...]:
    """The elements of the operands that an element of a node depends on, one for each operand.

    A pad depends on its operand and its padding value, a concatenate on each operand, where their guards hold; a
    gather on its operand, then on each index that says where.
    """
    node = access.node
    if node.op is GATHER:
        return _gather(access, domain)
    if node.op is DYNAMIC_SLICE:
        return _dynamic_slice(access, domain)
    if node.op.elementwise:
        return tuple(Access(o, access.coordinates, access.guards) for o in node.operands)
    if not node.operands or node.op.name == "get_dimension_size":
        return ()
    rule = _RULES.get(node.op.name)
    if rule is None:
        raise InternalError(f"{node.op.name} has no element-by-element meaning in a loop")
    return tuple(
        Access(operand, coordinates, _merge(access.guards, guards, domain))
        for operand, (coordinates, guards) in zip(node.operands, rule(node, access.coordinates, domain), strict=True)
    )


def walk_accesses(roots: Sequence[Access], domain: Domain, stop: Collection[Node] = ()) -> Iterator[Access]:
    """Every element that the roots depend on, once each; what is in ``stop`` is not looked into."""
    seen: set[Access] = set()
    work = list(reversed(roots))
    while work:
        access = work.pop()
        if access in seen:
            continue
        seen.add(access)
        yield access
        if access.node not in stop:
            work.extend(reversed(operand_accesses(access, domain)))


def _merge(guards: tuple[Guard, ...], new: Sequence[Guard], domain: Domain) -> tuple[Guard, ...]:
    kept = [g for g in new if g not in guards and not domain.is_within(g.index, g.extent)]
    return (*guards, *kept)


def _gather(access: Access, domain: Domain) -> tuple[Access, ...]:
    """The element of the operand, at coordinates that look up the indices behind it."""
    node, at = access.node, access.coordinates
    windows = windows_of(node)
    x, indices = node.operands
    looked_up = vector_accesses(windows, indices, at, access.guards)
    first = [ZERO] * len(x.shape)
    for axis, of in zip(windows.index_map, looked_up, strict=True):
        limit = domain.sizes.index(x.shape[axis] - windows.sizes[axis])
        first[axis] = domain.look_up(of, limit) if limit.constant != 0 else ZERO
    for axis, dim in (*zip(windows.batching, windows.batching_dims, strict=True),
                      *zip(windows.window_axes, windows.window_dims, strict=True)):  # fmt: skip
        first[axis] = first[axis] + at[dim]
    return (Access(x, tuple(first), access.guards), *looked_up)


def vector_accesses(windows: Windows, indices: Node, at: Coordinates, guards: tuple[Guard, ...] = ()) -> list[Access]:
    """The elements of the index vector of the window in which the windowed tensor's element ``at`` lies."""
    where = dict(zip(windows.index_axes, (at[d] for d in windows.batch_dims), strict=True))
    found = []
    for k in range(len(windows.index_map)):
        vector = where | {windows.index_vector_dim: Index.of(k)}
        found.append(Access(indices, tuple(vector[i] for i in range(len(indices.shape))), guards))
    return found


def _dynamic_slice(access: Access, domain: Domain) -> tuple[Access, ...]:
    node = access.node
    x, *starts = node.operands
    firsts = window_starts(x.shape, node.shape, starts, domain)
    at = tuple(a + c for a, c in zip(firsts, access.coordinates, strict=True))
    return (Access(x, at, access.guards), *(Access(s, ()) for s in starts))


def window_starts(whole: Shape, window: Shape, starts: Sequence[Node], domain: Domain) -> Coordinates:
    """Where a window of a tensor begins that starts at these scalars, moved inside."""
    limits = [domain.sizes.index(n - m) for n, m in zip(whole, window, strict=True)]
    return tuple(
        ZERO if limit.constant == 0 else domain.look_up(Access(start, ()), limit)
        for start, limit in zip(starts, limits, strict=True)
    )


Rule = Callable[[Node, Coordinates, Domain], list[tuple[Coordinates, list[Guard]]]]
ZERO = Index.of(0)


def _broadcast(node: Node, at: Coordinates, domain: Domain) -> list[tuple[Coordinates, list[Guard]]]:
    shape = node.operands[0].shape
    return [(tuple(ZERO if n == 1 else at[axis] for n, axis in zip(shape, node["dimensions"], strict=True)), [])]


def _reshape(node: Node, at: Coordinates, domain: Domain) -> list[tuple[Coordinates, list[Guard]]]:
    shape = node.operands[0].shape
    found = [ZERO] * len(shape)
    if 0 in shape or 0 in node.shape:
        return [(tuple(found), [])]
    axes, kept = ([a for a, n in enumerate(s) if n != 1] for s in (shape, node.shape))
    for mine, theirs in group_axes([shape[a] for a in axes], [node.shape[a] for a in kept]):
        part = [kept[i] for i in theirs]
        position = domain.linear(tuple(node.shape[a] for a in part), tuple(at[a] for a in part))
        inner = [axes[i] for i in mine]
        for a, c in zip(inner, domain.delinearize(position, [shape[a] for a in inner]), strict=True):
            found[a] = c
    return [(tuple(found), [])]


def _transpose(node: Node, at: Coordinates, domain: Domain) -> list[tuple[Coordinates, list[Guard]]]:
    found = [ZERO] * len(at)
    for axis, operand_axis in enumerate(node["permutation"]):
        found[operand_axis] = at[axis]
    return [(tuple(found), [])]


def _slice(node: Node, at: Coordinates, domain: Domain) -> list[tuple[Coordinates, list[Guard]]]:
    return [(tuple(c * s + a for c, a, s in zip(at, node["start"], node["strides"], strict=True)), [])]


def _reverse(node: Node, at: Coordinates, domain: Domain) -> list[tuple[Coordinates, list[Guard]]]:
    turned = node["dimensions"]
    ends = domain.sizes.shape(node.shape)
    return [(tuple(ends[a] - 1 - c if a in turned else c for a, c in enumerate(at)), [])]


def _pad(node: Node, at: Coordinates, domain: Domain) -> list[tuple[Coordinates, list[Guard]]]:
    found: list[Index] = []
    guards: list[Guard] = []
    operand = node.operands[0]
    parts = zip(at, node["low"], node["high"], node["interior"], operand.shape, node.shape, strict=True)
    for c, low, high, interior, n, whole in parts:
        if low > 0 or high > 0 or interior:
            inner = domain.sizes.index(n)
            guards.append(Guard(c - low, inner * (interior + 1) - interior if interior else inner))
        c = c - low
        if interior:
            c, remainder = domain.divide(c, interior + 1, whole)
            guards.append(Guard(remainder, Index.of(1)))
        found.append(c)
    return [(tuple(found), guards), ((), [])]


def _concatenate(node: Node, at: Coordinates, domain: Domain) -> list[tuple[Coordinates, list[Guard]]]:
    axis, begin, found = node["dimension"], ZERO, []
    for operand in node.operands:
        extent = domain.sizes.index(operand.shape[axis])
        c = at[axis] - begin
        found.append(((*at[:axis], c, *at[axis + 1 :]), [Guard(c, extent)]))
        begin = begin + extent
    return found


_RULES: dict[str, Rule] = {
    BROADCAST_IN_DIM.name: _broadcast,
    RESHAPE.name: _reshape,
    TRANSPOSE.name: _transpose,
    SLICE.name: _slice,
    REVERSE.name: _reverse,
    PAD.name: _pad,
    CONCATENATE.name: _concatenate,
}
