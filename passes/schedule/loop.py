"""Loop fusions: every element of the results from a few elements of the operands, in one nest of vector loops."""

from __future__ import annotations

from contextlib import ExitStack

from mlc.ir.dims import Size, bounds
from mlc.ir.graph import Graph, Node
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Memory, Value
from mlc.ir.target import Target

from .access import Access
from .axes import Group, in_place_pairs, join, leaf_indices, refine
from .elements import Elements, Point
from .region import KernelCall, Operand, ScheduledRegion
from .scalars import kernel_name
from .sizes import Sizes
from .tasks import choose_lanes, count_tasks, cut, vector_loop


def schedule_loop(body: Graph, target: Target) -> ScheduledRegion:
    """One kernel: tasks of blocks, in each the results' elements a vector at a time, all results in one pass."""
    sizes = Sizes(body)
    shape = body.results[0].shape
    domain, accesses = refine(shape, sizes, lambda d: [Access(r, d.coordinates) for r in body.results])
    groups = join(domain, leaf_indices(domain, accesses) | {domain.linear(shape, domain.coordinates)})
    groups = groups or (Group((IndexVariable("d", 0),), 1),)
    inner = groups[-1]
    lanes = choose_lanes(body.nodes, target, inner.extent)
    grains = cut([g.extent for g in groups], element_cost(accesses, body.results), 4 * lanes)
    nest = tuple((g.extent, n) for g, n in zip(groups, grains, strict=True) if n is not None)

    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    memories, operands = parameter_buffers(b, body, sizes)
    results = result_buffers(b, body, sizes)
    operands += tuple(Operand("result", k) for k in range(len(results)))
    elements = Elements(b, sizes, memories)
    with b.parallel(*((sizes.index(e), n) for e, n in nest or ((1, 1),))) as tasks, ExitStack() as stack:
        elements.prepare(body.nodes)
        at: dict[IndexVariable, Index] = {}
        ranges = task_ranges(b, groups, grains, tasks, sizes)
        for group, (lower, upper) in zip(groups[:-1], ranges[:-1], strict=True):
            at |= group.at(enter_loop(b, stack, lower, upper))

        def emit(index: Index, mask: Value | None) -> None:
            point = Point(elements, domain, at | inner.at(index), lanes, inner.variable, mask)
            values = [point.value(r) for r in body.results]
            for memory, value in zip(results, values, strict=True):
                point.store(memory, value)

        vector_loop(b, *ranges[-1], sizes.index(inner.extent), lanes, unroll_of(accesses), emit)
    tasks_of = nest or ((1, 1),)
    call = KernelCall(b.build(), operands, sizes.operands, tasks_of, count_tasks(tasks_of) <= 1)
    return ScheduledRegion((call,), (), in_place_pairs(body))


def parameter_buffers(b: KernelBuilder, body: Graph, sizes: Sizes) -> tuple[dict[Node, Memory], tuple[Operand, ...]]:
    """A flat buffer for each parameter that is used."""
    memories: dict[Node, Memory] = {}
    operands: list[Operand] = []
    used = {o for n in body.nodes for o in n.operands} | set(body.results)
    for k, p in enumerate(body.parameters):
        if p in used and p not in memories:
            memories[p] = b.buffer(str(p["name"] or f"p{k}"), p.dtype, (sizes.index(p.tensor.size),))
            operands.append(Operand("parameter", k))
    return memories, tuple(operands)


def result_buffers(b: KernelBuilder, body: Graph, sizes: Sizes) -> list[Memory]:
    """A flat buffer for each result."""
    return [
        b.buffer(f"r{k}", r.dtype, (sizes.index(r.tensor.size),), access="write") for k, r in enumerate(body.results)
    ]


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


def element_cost(accesses: list[Access], results: tuple[Node, ...]) -> int:
    """Bytes moved and flops done for one element of the results."""
    moved = sum(a.node.dtype.itemsize for a in accesses if a.node.op.name == "parameter" and _varies(a))
    moved += sum(r.dtype.itemsize for r in results)
    return moved + sum(_flops(a.node) for a in accesses if a.node.op.elementwise and _varies(a))


def unroll_of(accesses: list[Access]) -> int:
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
