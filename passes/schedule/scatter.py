"""scatter: the operand copied (or kept in place), then one window after the other combined with what is there.

Tasks own disjoint parts of the result, so that none waits for another and additions keep their order: parts
of the windows, of the axes that operand and indices share and, where those give too few tasks, blocks of the first axis
that indices address. A task of such a block looks at every index and does the updates that fall into its block.
"""

from __future__ import annotations

from contextlib import ExitStack

from mlc.ir.dims import bounds, size_product
from mlc.ir.graph import Graph, reachable
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder
from mlc.ir.target import Target

from .access import Access
from .axes import Group
from .buffers import parameter_buffers
from .domain import Domain
from .elements import Elements
from .loop import element_cost, enter_loop, task_ranges
from .region import KernelCall, Operand, ScheduledRegion
from .scalars import kernel_name
from .scatter_form import ScatterNest, ScatterWriter, analyse_scatter
from .sizes import Sizes
from .tasks import TASK_COST, choose_lanes, count_tasks, cut, vector_loop
from .turned import MOST_APART, lies_apart
from .update import write_operand

FEWEST_TASKS = 8  # below this many, the result is cut in blocks
SCAN = 8  # elements of a window that cost as much to combine as one index to look at


def schedule_scatter(body: Graph, target: Target) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and the one that combines the updates with it."""
    x = body.results[0].operands[0]
    first = write_operand(body, x, target)
    return ScheduledRegion((*first.calls, _kernel(body, target)), (), in_place_of_scatter(body, first), first.copies)


def in_place_of_scatter(body: Graph, first: ScheduledRegion) -> frozenset[tuple[int, int]]:
    """Which of the pairs of what writes the operand may share memory beyond the updates."""
    read = {body.parameters.index(n) for n in reachable(body.results[0].operands[1:]) if n in body.parameters}
    return frozenset(p for p in first.in_place if p[0] not in read)


def _kernel(body: Graph, target: Target) -> KernelCall:
    sizes = Sizes(body)

    def choose(domain: Domain, accesses: list[Access], place: Index, along: Group) -> int:
        lanes = choose_lanes([a.node for a in accesses], target, along.extent)
        return min(lanes, MOST_APART) if lies_apart(domain, accesses, along) else lanes

    nest = analyse_scatter(body, sizes, choose)
    cost = max(element_cost(nest.accesses, (nest.node,)), 1)
    turns = max(bounds(size_product(g.extent for g in (*nest.serial, *nest.moved)))[1], 1)
    groups = nest.groups
    grains = cut([g.extent for g in groups], cost * turns, 4 * nest.lanes if nest.along else 1)
    pairs = tuple((g.extent, n) for g, n in zip(groups, grains, strict=True) if n is not None)
    block_axis, block = _blocks(nest, count_tasks(pairs), cost * turns)
    shape = nest.windows.operand.shape
    tasks_of = (*pairs, (shape[block_axis], block)) if block else pairs
    tasks_of = tasks_of or ((1, 1),)

    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    part = Graph(body.name, body.parameters, nest.node.operands[1:], body.table)
    memories, operands = parameter_buffers(b, part, sizes)
    result = b.buffer("r0", nest.node.dtype, (sizes.index(nest.node.tensor.size),), access="readwrite")
    elements = Elements(b, sizes, memories)
    with b.parallel(*((sizes.index(e), n) for e, n in tasks_of)) as tasks, ExitStack() as stack:
        elements.prepare(part.nodes)
        limits = [(Index.of(0), n) for n in sizes.shape(shape)]
        if block:
            whole = limits[block_axis][1]
            limits[block_axis] = (tasks[-1] * block, b.min(tasks[-1] * block + block, whole))
        ranges = task_ranges(b, groups, grains, tasks, sizes)
        writer = ScatterWriter(b, nest, elements, result, tuple(limits), sizes.shape(shape))
        at: dict[IndexVariable, Index] = {}
        for group, (lower, upper) in zip(nest.owned, ranges, strict=False):  # the last range may be that of ``along``
            at |= group.at(enter_loop(b, stack, lower, upper))
        for group in nest.serial:
            at |= group.at(enter_loop(b, stack, Index.of(0), sizes.index(group.extent)))
        begin = writer.enter_window(at, stack)
        for group in nest.moved:
            at |= group.at(enter_loop(b, stack, Index.of(0), sizes.index(group.extent)))
        place = writer.enter_elements(begin, at, stack)
        if nest.along is None:
            writer.combine(place, at, None)
        else:
            along = nest.along
            emit = lambda i, mask: writer.combine(place, at | along.at(i), mask)  # noqa: E731
            vector_loop(b, *ranges[-1], sizes.index(along.extent), nest.lanes, 2, emit)
    call_operands = (*operands, Operand("result", 0))
    return KernelCall(b.build(), call_operands, sizes.operands, tasks_of, count_tasks(tasks_of) <= 1)


def _blocks(nest: ScatterNest, tasks: int, cost: int) -> tuple[int, int]:
    """An axis of the operand and how much of it one task owns; 0 for all, where there are tasks enough without."""
    windows = nest.windows
    if not windows.index_map or not 0 < tasks < FEWEST_TASKS:
        return 0, 0
    axis = max(windows.index_map, key=lambda a: bounds(windows.operand.shape[a])[1])
    most = bounds(windows.operand.shape[axis])[1]
    width = bounds(nest.along.extent)[1] if nest.along else 1
    elements = width * bounds(size_product(g.extent for g in nest.owned))[1]
    wanted = min(elements * cost // TASK_COST // tasks, FEWEST_TASKS // tasks, width // SCAN, most)
    return (axis, -(-most // wanted)) if wanted > 1 else (0, 0)
