"""scatter on a GPU: the operand copied (or kept in place), then one update after the other combined with what is there.

Every element of the result belongs to one thread, which looks at all indices in order and does the updates that fall
on what it owns: elements of the windows and, where those are few, blocks of an axis that indices address. Where updates
are many, they are sorted first. So there are no atomics, and sums have one order.
"""

from __future__ import annotations

from contextlib import ExitStack

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import Graph, Node, windows_of
from mlc.ir.kernel import Index, KernelBuilder
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.access import Access
from mlc.passes.schedule.axes import Group
from mlc.passes.schedule.buffers import parameter_buffers
from mlc.passes.schedule.domain import Domain, divided
from mlc.passes.schedule.elements import Elements
from mlc.passes.schedule.loop import enter_loop
from mlc.passes.schedule.region import KernelCall, Operand, ScheduledRegion
from mlc.passes.schedule.scalars import kernel_name
from mlc.passes.schedule.scatter import in_place_of_scatter
from mlc.passes.schedule.scatter_form import ScatterNest, ScatterWriter, analyse_scatter
from mlc.passes.schedule.sizes import Sizes
from mlc.passes.schedule.update import write_operand

from .scatter_sorted import sorted_calls, sorts_updates
from .threads import block_of, spread, vector_lanes

BUSY = 1024  # threads of a multiprocessor: with more, they own more each


def schedule_scatter(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and the one that combines the updates with it."""
    (node,) = body.results
    first = write_operand(body, node.operands[0], target)
    calls: list[KernelCall] = []
    temporaries: tuple[int, ...] = ()
    if node.tensor.size != 0 and node.operands[2].tensor.size != 0:
        sizes = Sizes(body)
        nest = _analyse(body, sizes, target)
        if sorts_updates(nest):
            calls, nbytes = sorted_calls(body, nest, sizes, target)
            temporaries = (nbytes,)
        else:
            calls = [_kernel(body, nest, sizes, target)]
    return ScheduledRegion((*first.calls, *calls), temporaries, in_place_of_scatter(body, first), first.copies)


def _kernel(body: Graph, nest: ScatterNest, sizes: Sizes, target: GpuTarget) -> KernelCall:
    shape = nest.windows.operand.shape
    vectors = divided(size_product(g.extent for g in nest.groups), nest.lanes)
    assert vectors is not None
    axis, block, blocks = _blocks(nest, vectors, target)
    count = vectors * blocks
    threads = block_of(count, target)
    tasks: tuple[tuple[Size, int], ...] = ((count, threads), (threads, 1))

    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    part = Graph(body.name, body.parameters, nest.node.operands[1:], body.table)
    memories, operands = parameter_buffers(b, part, sizes)
    result = b.buffer("r0", nest.node.dtype, (sizes.index(nest.node.tensor.size),), access="readwrite")
    elements = Elements(b, sizes, memories, in_tables=True)
    with b.parallel(*((sizes.index(e), n) for e, n in tasks), threads=1) as (group, thread), ExitStack() as stack:
        elements.prepare(part.nodes)
        number = group * threads + thread
        if not (isinstance(count, int) and count % threads == 0):
            number = stack.enter_context(b.loop(number, b.min(number + 1, sizes.index(count)))).index
        limits = [(Index.of(0), n) for n in sizes.shape(shape)]
        if block:
            begin = (number if vectors == 1 else b.floordiv(number, sizes.index(vectors))) * block
            number = Index.of(0) if vectors == 1 else b.mod(number, sizes.index(vectors))
            limits[axis] = (begin, b.min(begin + block, limits[axis][1]))
        at = spread(b, number, nest.groups, sizes, nest.lanes)
        writer = ScatterWriter(b, nest, elements, result, tuple(limits), sizes.shape(shape))
        for g in nest.serial:
            at |= g.at(enter_loop(b, stack, Index.of(0), sizes.index(g.extent)))
        window = writer.enter_window(at, stack)
        for g in nest.moved:
            at |= g.at(enter_loop(b, stack, Index.of(0), sizes.index(g.extent)))
        writer.combine(writer.enter_elements(window, at, stack), at, None)
    return KernelCall(b.build(), (*operands, Operand("result", 0)), sizes.operands, tasks, False)


def _analyse(body: Graph, sizes: Sizes, target: GpuTarget) -> ScatterNest:
    (node,) = body.results

    def choose(domain: Domain, accesses: list[Access], place: Index, along: Group) -> int:
        lanes = vector_lanes(domain, accesses, [(place, node)], (along,), along, target)
        while lanes > 1 and (divided(along.extent, lanes) is None or not _starts_aligned(node, lanes)):
            lanes //= 2
        return lanes

    return analyse_scatter(body, sizes, choose)


def _starts_aligned(node: Node, lanes: int) -> bool:
    """Whether windows begin at multiples of ``lanes`` elements wherever indices say."""
    return all(divided(size_product(node.shape[a + 1 :]), lanes) is not None for a in windows_of(node).index_map)


def _blocks(nest: ScatterNest, vectors: Size, target: GpuTarget) -> tuple[int, int, Size]:
    """An axis that indices address, how much of it one thread owns, and how many such blocks; 0 for all of it."""
    windows = nest.windows
    if not windows.index_map:
        return 0, 0, 1
    axis = max(windows.index_map, key=lambda a: bounds(windows.operand.shape[a])[1])
    extent = windows.operand.shape[axis]
    most = max(target.multiprocessors * BUSY // bounds(vectors)[1], 1)  # blocks
    if not isinstance(extent, int):
        return (axis, 1, extent) if most > 1 else (0, 0, 1)
    block = -(-extent // min(most, extent))
    return (axis, block, -(-extent // block)) if block < extent else (0, 0, 1)
