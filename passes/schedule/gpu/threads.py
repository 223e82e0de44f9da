"""How work is given to blocks and threads: by shape and target alone, so that sums have one order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlc.ir.dims import Size, bounds
from mlc.ir.graph import CONSTANT, Node
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.access import Access
from mlc.passes.schedule.axes import Group
from mlc.passes.schedule.domain import Domain, coefficient_of
from mlc.passes.schedule.sizes import Sizes

BLOCK = 256  # threads: enough blocks of them fit on a multiprocessor to hide its memory's latency


def power_below(n: int) -> int:
    """The largest power of two that is at most ``n``, which is positive."""
    return 1 << n.bit_length() - 1


def power_above(n: int) -> int:
    """The least power of two that is at least ``n``."""
    return 1 << max(n - 1, 0).bit_length()


def block_of(count: Size, target: GpuTarget, most: int = BLOCK) -> int:
    """Threads of a block where there are ``count`` things to do: whole warps, a power of two, ``most`` at most."""
    return max(min(power_above(bounds(count)[1]), most), target.warp)


def spread(
    b: KernelBuilder, number: Index, groups: Sequence[Group], sizes: Sizes, lanes: int = 1
) -> dict[IndexVariable, Index]:
    """The variables at the vector of this number, of all those along the groups, the last varying fastest.

    The extent of the last of several groups is a multiple of ``lanes``.
    """
    at: dict[IndexVariable, Index] = {}
    for k in range(len(groups) - 1, -1, -1):
        step = lanes if k == len(groups) - 1 else 1
        if k == 0:
            return at | groups[0].at(number * step)
        extent = groups[k].extent
        count = sizes.index(extent // step if isinstance(extent, int) else extent)
        at |= groups[k].at(b.mod(number, count) * step)
        number = b.floordiv(number, count)
    return at


def vector_lanes(
    domain: Domain, accesses: Iterable[Access], written: Iterable[tuple[Index, Node]], groups: Sequence[Group],
    inner: Group, target: GpuTarget,
) -> int:  # fmt: skip
    """Elements along ``inner`` that a thread takes at once: 16 bytes of the widest, where all lie side by side.

    ``written`` are the positions of results. A power of two; 1 where something is not contiguous, is at no multiple of
    16 bytes, or is guarded element by element.
    """
    places: list[tuple[Index, int]] = [(place, node.dtype.itemsize) for place, node in written]
    for access in accesses:
        if any(inner.variable in domain.dependencies(g.index) for g in access.guards):
            return 1
        if access.node.op.name == "parameter" or access.node.op is CONSTANT:
            places.append((domain.linear(access.node.shape, access.coordinates), access.node.dtype.itemsize))
    moving = [(place, itemsize) for place, itemsize in places if inner.variable in domain.dependencies(place)]
    lanes = min([16 // itemsize for _, itemsize in moving], default=1)
    lanes = min(lanes, power_below(max(bounds(inner.extent)[1], 1)))
    while lanes > 1 and not all(is_vector(domain, place, inner.variable, lanes) for place, _ in moving):
        lanes //= 2
    if len(groups) > 1:
        while lanes > 1 and not (isinstance(inner.extent, int) and inner.extent % lanes == 0):
            lanes //= 2
    return lanes


def is_vector(domain: Domain, place: Index, variable: IndexVariable, lanes: int) -> bool:
    """Whether the elements from ``place`` on lie side by side along the variable, at a multiple of ``lanes``."""
    for monomial, coefficient in place.terms:
        if monomial == (variable,):
            if coefficient != 1:
                return False
        elif variable in domain.dependencies(Index([(monomial, 1)])) or coefficient % lanes:
            return False
    return coefficient_of(place, variable) == Index.of(1)
