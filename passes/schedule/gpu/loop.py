"""Loop fusions on a GPU: a thread computes a vector of neighbouring elements, or one where they do not lie together.

Threads are numbered through the elements of the results in row-major order. A block has neighbouring vectors, some of
them for each thread where there are many, all read before the first is written.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import Graph, reachable
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Value
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.access import Access
from mlc.passes.schedule.axes import Group, in_place_pairs, join, leaf_indices, refine
from mlc.passes.schedule.domain import divided
from mlc.passes.schedule.elements import Elements, Point
from mlc.passes.schedule.loop import Piece, parameter_buffers
from mlc.passes.schedule.region import KernelCall, Operand, ScheduledRegion
from mlc.passes.schedule.scalars import kernel_name
from mlc.passes.schedule.sizes import Sizes

from .threads import block_of, spread, vector_lanes

MOST_EACH = 4  # vectors that a thread does
FEW_BLOCKS = 16  # blocks of a multiprocessor: with fewer, a thread does one vector


def schedule_loop(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """One kernel for all results; none where they have no elements."""
    calls = loop_calls(body, target, tuple(Piece(r, k) for k, r in enumerate(body.results)))
    return ScheduledRegion(calls, (), in_place_pairs(body))


def loop_calls(body: Graph, target: GpuTarget, pieces: Sequence[Piece]) -> tuple[KernelCall, ...]:
    """The elements of the pieces (of one shape), or nothing where there are none."""
    sizes = Sizes(body)
    nodes = tuple(p.node for p in pieces)
    if nodes[0].tensor.size == 0:
        return ()
    needs = [a for p in pieces for a in p.needs]
    domain, accesses = refine(nodes[0].shape, sizes, lambda d: [*(Access(n, d.coordinates) for n in nodes), *needs])
    places = [domain.coordinates if p.at is None else p.at(domain) for p in pieces]
    wholes = [body.results[p.result].shape for p in pieces]
    written = [domain.linear(whole, place) for whole, place in zip(wholes, places, strict=True)]
    groups = join(domain, leaf_indices(domain, accesses) | set(written))
    groups = groups or (Group((IndexVariable("d", 0),), 1),)
    inner = groups[-1]
    lanes = vector_lanes(domain, accesses, list(zip(written, nodes, strict=True)), groups, inner, target)

    total = size_product(g.extent for g in groups)
    threads = block_of(-(-bounds(total)[1] // lanes), target)
    each = _vectors_each(bounds(total)[1] // (lanes * threads), target)
    nest: tuple[tuple[Size, int], ...] = ((total, lanes * threads * each), (threads, 1))
    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    roots = (*nodes, *(a.node for a in needs))
    memories, operands = parameter_buffers(b, Graph(body.name, body.parameters, roots, body.table), sizes)
    results = [
        b.buffer(f"r{p.result}", p.node.dtype, (sizes.index(size_product(w)),), access="write")
        for p, w in zip(pieces, wholes, strict=True)
    ]
    operands += tuple(Operand("result", p.result) for p in pieces)
    elements = Elements(b, sizes, memories, in_tables=True)

    def emit(vectors: Sequence[dict[IndexVariable, Index]], width: int) -> None:
        points = [Point(elements, domain, at, width, inner.variable) for at in vectors]
        values: list[list[Value]] = [[point.value(n) for n in nodes] for point in points]
        for point, found in zip(points, values, strict=True):
            for memory, value, place, whole in zip(results, found, places, wholes, strict=True):
                point.store(memory, value, place, whole)

    with b.parallel(*((sizes.index(e), n) for e, n in nest), threads=1) as (block, thread):
        elements.prepare(reachable(roots))
        first = block * (threads * each) + thread
        if isinstance(total, int) and total % (lanes * threads * each) == 0:
            emit([spread(b, first + threads * k, groups, sizes, lanes) for k in range(each)], lanes)
        else:
            extent = sizes.index(total)
            whole = divided(total, lanes)
            count = b.floordiv(extent, lanes) if whole is None else sizes.index(whole)
            end = b.min(block * (threads * each) + threads * each if each > 1 else first + 1, count)
            with b.loop(first, end, threads, unroll=each) as loop:
                emit([spread(b, loop.index, groups, sizes, lanes)], lanes)
            if whole is None and len(groups) == 1:  # fewer than a vector are left
                with b.loop(count * lanes + block * threads + thread, extent, lanes) as rest:
                    emit([inner.at(rest.index)], 1)
    return (KernelCall(b.build(), operands, sizes.operands, nest, False),)


def _vectors_each(blocks: int, target: GpuTarget) -> int:
    """How many vectors a thread does where it would take so many blocks with one each."""
    each = 1
    while each < MOST_EACH and blocks >= 2 * each * FEW_BLOCKS * target.multiprocessors:
        each *= 2
    return each
