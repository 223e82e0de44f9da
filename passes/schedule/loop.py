"""Loop fusions: every element of the results from a few elements of the operands, in one nest of vector loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from mlc.ir.dims import Size, bounds
from mlc.ir.graph import Graph, Node, reachable
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Value
from mlc.ir.target import Target

from .access import Access
from .axes import Group, in_place_pairs
from .domain import Domain, coefficient_of
from .elements import Elements, Point
from .loop_form import LoopForm, Piece
from .region import KernelCall, ScheduledRegion
from .scalars import kernel_name
from .sizes import Sizes
from .tasks import choose_lanes, count_tasks, cut, vector_loop
from .turned import MOST_APART, cut_squares, find_turned, lies_apart, turned_loops

PAST_CACHES = 32 << 20  # bytes of a result: written past the caches, 64 MB took half the time and the caches stay warm


def schedule_loop(body: Graph, target: Target) -> ScheduledRegion:
    """One kernel for all results."""
    call = loop_call(body, target, tuple(Piece(r, k) for k, r in enumerate(body.results)))
    return ScheduledRegion((call,), (), in_place_pairs(body))


def loop_call(body: Graph, target: Target, pieces: Sequence[Piece]) -> KernelCall:
    """Tasks of blocks, in each the elements of the pieces (of one shape) a vector at a time, all in one pass."""
    form = LoopForm(body, pieces)
    sizes, nodes, domain, accesses = form.sizes, form.nodes, form.domain, form.accesses
    groups, inner = form.groups, form.inner
    lanes = choose_lanes(reachable(nodes), target, inner.extent)
    if lies_apart(domain, accesses, inner):
        lanes = min(lanes, MOST_APART)
    cost = element_cost(accesses, nodes)
    turned = find_turned(domain, accesses, groups, lanes)
    if turned is not None:
        groups = (*(g for g in groups[:-1] if g != turned.group), turned.group, inner)
        grains = cut_squares(groups, cost, lanes)
    else:
        grains = cut([g.extent for g in groups], cost, 4 * lanes)
    nest = tuple((g.extent, n) for g, n in zip(groups, grains, strict=True) if n is not None) or ((1, 1),)

    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    memories, results, operands = form.buffers(b)
    elements = Elements(b, sizes, memories)
    past = [p.at is None and _goes_past_caches(p.node, domain, groups, lanes) for p in pieces]

    def store(point: Point) -> None:
        values = [point.value(n) for n in nodes]
        for memory, value, place, whole, nontemporal in zip(
            results, values, form.places, form.wholes, past, strict=True
        ):
            point.store(memory, value, place, whole, nontemporal=nontemporal)

    with b.parallel(*((sizes.index(e), n) for e, n in nest)) as tasks, ExitStack() as stack:
        elements.prepare(reachable(nodes))
        at: dict[IndexVariable, Index] = {}
        ranges = task_ranges(b, groups, grains, tasks, sizes)
        outer = len(groups) - (1 if turned is None else 2)
        for group, (lower, upper) in zip(groups[:outer], ranges[:outer], strict=True):
            at |= group.at(enter_loop(b, stack, lower, upper))

        def emit(index: Index, mask: Value | None) -> None:
            store(Point(elements, domain, at | inner.at(index), lanes, inner.variable, mask))

        if turned is not None:
            turned_loops(elements, domain, turned, inner, (ranges[-2], ranges[-1]), lanes, at, store)
        else:
            vector_loop(b, *ranges[-1], sizes.index(inner.extent), lanes, unroll_of(accesses), emit)
    return KernelCall(b.build(), operands, sizes.operands, nest, count_tasks(nest) <= 1)


def _goes_past_caches(result: Node, domain: Domain, groups: tuple[Group, ...], lanes: int) -> bool:
    """Whether a result is large enough to be written past the caches, and all its whole vectors are aligned."""
    size = result.tensor.size
    if not isinstance(size, int) or size * result.dtype.itemsize < PAST_CACHES or lanes * result.dtype.itemsize > 64:
        return False
    here = domain.linear(result.shape, domain.coordinates)
    steps = [coefficient_of(here, g.variable) for g in groups[:-1]]
    return all(s is not None and s.constant is not None and s.constant % lanes == 0 for s in steps)


def task_ranges(
    b: KernelBuilder, groups: tuple[Group, ...], grains: tuple[int | None, ...], tasks: tuple[Index, ...], sizes: Sizes
) -> list[tuple[Index, Index]]:
    """The iterations of each group that the task at ``tasks`` does."""
    ranges, left = [], list(tasks)
    for group, grain in zip(groups, grains, strict=True):
        extent = sizes.index(group.extent)
        if grain is None:
            ranges.append((Index.of(0), extent))
            continue
        lower = left.pop(0) * grain
        whole = grain == 1 or (isinstance(group.extent, int) and group.extent % grain == 0)
        ranges.append((lower, lower + grain if whole else b.min(lower + grain, extent)))
    return ranges


def enter_loop(b: KernelBuilder, stack: ExitStack, lower: Index, upper: Index) -> Index:
    """The index of a new loop that ``stack`` closes; no loop for one iteration."""
    if (upper - lower).constant == 1:
        return lower
    return stack.enter_context(b.loop(lower, upper)).index


def element_cost(accesses: Iterable[Access], results: tuple[Node, ...]) -> int:
    """Bytes moved and operations done for one element of the results."""
    return work_of(accesses) + sum(r.dtype.itemsize for r in results)


def work_of(accesses: Iterable[Access]) -> int:
    """Bytes read and operations done for one element."""
    varying = [a for a in accesses if _varies(a)]
    return sum(a.node.dtype.itemsize for a in varying if a.node.op.name == "parameter") + operations_of(varying)


def operations_of(accesses: Iterable[Access]) -> int:
    """Operations done for one element: a move or a copy of a value is none."""
    return sum(_flops(a.node) for a in accesses if a.node.op.elementwise and _varies(a))


def unroll_of(accesses: Iterable[Access]) -> int:
    """Copies of an innermost body: more for short ones."""
    work = sum(1 for a in accesses if _varies(a))
    return 4 if work <= 8 else 2 if work <= 20 else 1


def _varies(access: Access) -> bool:
    return any(c.constant is None for c in access.coordinates)


def _flops(node: Node) -> int:
    total: Size = node.tensor.size
    flops = node.op.flops(node)
    most = bounds(total)[1]
    return max(bounds(flops)[1] // most, 1) if most > 0 else 1
