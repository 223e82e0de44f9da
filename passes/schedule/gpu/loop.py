"""Loop fusions on a GPU: a thread computes a vector of neighbouring elements, or one where they do not lie together.

Threads are numbered through the elements of the results in row-major order. A block has neighbouring vectors, some of
them for each thread where there are many, all read before the first is written. Operands that lie along another axis
than the results are turned in tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import Graph, reachable
from mlc.ir.kernel import Index, KernelBuilder
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.axes import Group, in_place_pairs
from mlc.passes.schedule.domain import Domain, divided
from mlc.passes.schedule.elements import Elements, Point
from mlc.passes.schedule.loop_form import LoopForm, Piece
from mlc.passes.schedule.region import KernelCall, ScheduledRegion
from mlc.passes.schedule.scalars import kernel_name
from mlc.passes.schedule.sizes import Sizes

from .threads import block_of, spread, vector_lanes
from .turned import find_squares

MOST_EACH = 4  # vectors that a thread does
FEW_BLOCKS = 16  # blocks of a multiprocessor: with fewer, a thread does one vector


def schedule_loop(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """One kernel for all results; none where they have no elements."""
    calls = loop_calls(body, target, tuple(Piece(r, k) for k, r in enumerate(body.results)))
    return ScheduledRegion(calls, (), in_place_pairs(body))


def loop_calls(body: Graph, target: GpuTarget, pieces: Sequence[Piece]) -> tuple[KernelCall, ...]:
    """The elements of the pieces (of one shape), or nothing where there are none."""
    if pieces[0].node.tensor.size == 0:
        return ()
    form = LoopForm(body, pieces)
    sizes, nodes, domain, groups = form.sizes, form.nodes, form.domain, form.groups
    lanes = vector_lanes(domain, form.accesses, list(zip(form.written, nodes, strict=True)), groups, form.inner, target)

    squares = find_squares(domain, form.accesses, groups, sizes) if all(p.at is None for p in pieces) else None
    flat = _Flat.of(domain, groups, form.inner, lanes, sizes, target)
    nest = flat.nest if squares is None else squares.nest
    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    memories, results, operands = form.buffers(b)
    elements = Elements(b, sizes, memories, in_tables=True)

    def emit(points: Sequence[Point]) -> None:
        """All values before the first is stored."""
        values = [[point.value(n) for n in nodes] for point in points]
        for point, found in zip(points, values, strict=True):
            for memory, value, place, whole in zip(results, found, form.places, form.wholes, strict=True):
                point.store(memory, value, place, whole)

    tiles = [] if squares is None else squares.tiles(b)
    with b.parallel(*((sizes.index(e), n) for e, n in nest), threads=1 if squares is None else 2) as at:
        elements.prepare(reachable(form.roots))
        if squares is None:
            flat.emit(elements, at[0], at[1], emit)
        else:
            squares.emit(elements, tiles, at, lambda point: emit([point]))
    return (KernelCall(b.build(), operands, sizes.operands, nest, False),)


@dataclass(frozen=True)
class _Flat:
    """Vectors of ``lanes`` along ``inner``, numbered through all groups: ``each`` for each of a block's threads."""

    domain: Domain
    groups: tuple[Group, ...]
    inner: Group
    lanes: int
    sizes: Sizes
    total: Size
    threads: int
    each: int

    @staticmethod
    def of(
        domain: Domain, groups: tuple[Group, ...], inner: Group, lanes: int, sizes: Sizes, target: GpuTarget
    ) -> _Flat:
        total = size_product(g.extent for g in groups)
        threads = block_of(-(-bounds(total)[1] // lanes), target)
        each = _vectors_each(bounds(total)[1] // (lanes * threads), target)
        return _Flat(domain, groups, inner, lanes, sizes, total, threads, each)

    @property
    def nest(self) -> tuple[tuple[Size, int], ...]:
        """The axes of the kernel: blocks, then threads."""
        return (self.total, self.lanes * self.threads * self.each), (self.threads, 1)

    def emit(self, elements: Elements, block: Index, thread: Index, store: Callable[[Sequence[Point]], None]) -> None:
        """What this thread does, in as few steps as can be."""
        b, lanes, threads, each = elements.builder, self.lanes, self.threads, self.each
        first = block * (threads * each) + thread
        if isinstance(self.total, int) and self.total % (lanes * threads * each) == 0:
            store([self._vector(elements, first + threads * k) for k in range(each)])
            return
        extent, whole = self.sizes.index(self.total), divided(self.total, lanes)
        count = b.floordiv(extent, lanes) if whole is None else self.sizes.index(whole)
        end = b.min(block * (threads * each) + threads * each if each > 1 else first + 1, count)
        with b.loop(first, end, threads, unroll=each) as loop:
            store([self._vector(elements, loop.index)])
        if whole is None and len(self.groups) == 1:  # fewer than a vector are left
            with b.loop(count * lanes + block * threads + thread, extent, lanes) as rest:
                store([Point(elements, self.domain, self.inner.at(rest.index))])

    def _vector(self, elements: Elements, number: Index) -> Point:
        at = spread(elements.builder, number, self.groups, self.sizes, self.lanes)
        return Point(elements, self.domain, at, self.lanes, self.inner.variable)


def _vectors_each(blocks: int, target: GpuTarget) -> int:
    """How many vectors a thread does where it would take so many blocks with one each."""
    each = 1
    while each < MOST_EACH and blocks >= 2 * each * FEW_BLOCKS * target.multiprocessors:
        each *= 2
    return each
