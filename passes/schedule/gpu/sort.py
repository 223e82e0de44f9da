"""sort on a GPU: rows of integers put in ascending order in place, by the exchanges of Batcher's bitonic networks.

A block of two sorted halves becomes sorted by exchanges between elements that mirror each other about its middle and
then, in each half, quarter and so on, between elements at half its length. Chunks are sorted in shared memory, with the
largest integer where a row has ended; short rows share a block of threads. Blocks longer than a chunk take one launch
for each distance of their exchanges that is longer than a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import Graph
from mlc.ir.kernel import Index, KernelBuilder, Memory, Value
from mlc.ir.target import GpuTarget
from mlc.ir.types import I32, DType
from mlc.passes.schedule.region import KernelCall, Operand, ScheduledRegion
from mlc.passes.schedule.sizes import Sizes
from mlc.passes.schedule.update import write_operand

from .threads import BLOCK, power_above

CHUNK = 2048  # elements that a block sorts in shared memory
EACH = 4  # elements of a chunk that a thread has

Stage = tuple[int, bool]  # distance of the exchanges as a power of two, and whether they are mirrored


def schedule_sort(body: Graph, target: GpuTarget) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and those that exchange its elements."""
    (node,) = body.results
    first = write_operand(body, node.operands[0], target)
    *rows, length = node.shape
    assert isinstance(length, int)
    sorts = Sorts(node.dtype, size_product(rows), length, Operand("result", 0), Sizes(body), target)
    calls = [] if node.tensor.size == 0 or length == 1 else sorts.calls()
    return ScheduledRegion((*first.calls, *calls), (), first.in_place, first.copies)


@dataclass(frozen=True)
class Sorts:
    """``count`` rows of ``length`` integers, and the kernels that sort them where they lie."""

    dtype: DType
    count: Size
    length: int
    operand: Operand
    sizes: Sizes
    target: GpuTarget

    @property
    def chunk(self) -> int:
        """Elements that a block sorts."""
        return min(CHUNK, power_above(self.length))

    def calls(self) -> list[KernelCall]:
        """Chunks, then blocks of two chunks, of four and so on."""
        levels = self.chunk.bit_length() - 1
        merges = [(d, False) for d in reversed(range(levels))]
        found = [self._chunks("sort", [s for level in range(levels) for s in _block(level)])]
        block = levels + 1
        while 1 << block < 2 * self.length:
            found.append(self._exchange(block - 1, mirrored=True))
            found += [self._exchange(d, mirrored=False) for d in range(block - 2, levels - 1, -1)]
            found.append(self._chunks("merge", merges))
            block += 1
        return found

    # ---------------------------------------------------------------- in shared memory

    def _chunks(self, name: str, stages: Sequence[Stage]) -> KernelCall:
        """All stages in each chunk of each row."""
        along = max(self.chunk // EACH, 1)
        rows = min(max(BLOCK // 2 // along, 1), power_above(bounds(self.count)[1]))
        rows = max(rows, self.target.warp // along)
        chunks = -(-self.length // self.chunk)
        b = KernelBuilder(f"{name}_{self.dtype.name}", self.sizes.count)
        memory = self._buffer(b)
        tile = b.shared("tile", self.dtype, (rows, self.chunk))
        distances = b.table("distances", I32, (len(stages),), [d for d, _ in stages])
        mirrors = b.table("mirrors", I32, (len(stages),), [int(m) for _, m in stages])
        tasks: tuple[tuple[Size, int], ...] = ((self.count, rows), (chunks, 1), (rows, 1), (along, 1))
        with b.parallel(*((self.sizes.index(n), g) for n, g in tasks), threads=2) as (group, part, mine, thread):
            row, length = group * rows + mine, self.length - part * self.chunk
            inside = b.min(row, self.sizes.index(self.count) - 1)  # threads behind the last row sort it too
            begin = inside * self.length + part * self.chunk
            places = [thread + along * k for k in range(self.chunk // along)]
            largest = b.constant(self.dtype.limits[1], self.dtype)
            for place in places:
                with b.loop(place, b.min(place + 1, length), carried=(largest,)) as there:
                    b.yield_(b.load(memory, (begin + place,)))
                b.store(tile, (mine, place), there.results[0])
            b.machine("barrier")
            with b.loop(0, len(stages)) as stage:
                distance, mirrored = b.load(distances, (stage.index,)), b.load(mirrors, (stage.index,))
                for k in range(max(self.chunk // along // 2, 1)):
                    first, second = _pair(b, b.index_value(thread + along * k, I32), distance, mirrored)
                    with b.loop(thread + along * k, b.min(thread + along * k + 1, self.chunk // 2)):
                        _exchange(b, tile, (mine, first), (mine, second))
                b.machine("barrier")
            with b.loop(row, b.min(row + 1, self.sizes.index(self.count))):
                for place in places:
                    with b.loop(place, b.min(place + 1, length)):
                        b.store(memory, (begin + place,), b.load(tile, (mine, place)))
        return KernelCall(b.build(), (self.operand,), self.sizes.operands, tasks, False)

    # ---------------------------------------------------------------- between chunks

    def _exchange(self, level: int, *, mirrored: bool) -> KernelCall:
        """Exchanges over a distance of ``1 << level``: a size of the kernel, so that one does all distances."""
        distance = 1 << level
        pairs = -(-self.length // (2 * distance)) * distance
        tasks: tuple[tuple[Size, int], ...] = ((self.count, 1), (pairs, BLOCK), (BLOCK, 1))
        name = f"{'mirror' if mirrored else 'exchange'}_{self.dtype.name}"
        b = KernelBuilder(name, self.sizes.count + 2)
        memory = self._buffer(b)
        apart, extent = b.sizes[-2:]
        with b.parallel((self.sizes.index(self.count), 1), (extent, BLOCK), (BLOCK, 1), threads=1) as (row, part, at):
            number = part * BLOCK + at  # pairs are a multiple of a block
            block, place = b.floordiv(number, apart), b.mod(number, apart)
            first = block * apart * 2 + place
            second = block * apart * 2 + apart * 2 - 1 - place if mirrored else first + apart
            with b.loop(second, b.min(second + 1, self.length)):
                _exchange(b, memory, (row * self.length + first,), (row * self.length + second,))
        sizes = (*self.sizes.operands, distance, pairs)
        return KernelCall(b.build(), (self.operand,), sizes, tasks, False)

    def _buffer(self, b: KernelBuilder) -> Memory:
        return b.buffer(
            f"{self.operand.kind[0]}0", self.dtype, (self.sizes.index(self.count) * self.length,), access="readwrite"
        )


def _block(level: int) -> list[Stage]:
    """The stages that sort blocks of two sorted halves of ``1 << level`` elements."""
    return [(level, True), *((d, False) for d in reversed(range(level)))]


def _pair(b: KernelBuilder, number: Value, distance: Value, mirrored: Value) -> tuple[Index, Index]:
    """The elements of a pair of this number, ``1 << distance`` apart or mirrored about the middle of their block."""
    one = b.constant(1, I32)
    last = b.op("subtract", b.op("shift_left", one, distance), one)
    block = b.op("shift_right_logical", number, distance)
    begin = b.op("shift_left", block, b.op("add", distance, one))
    place = b.op("and", number, last)
    other = b.op("xor", place, b.op("multiply", mirrored, last))
    second = b.op("add", b.op("add", begin, other), b.op("add", last, one))
    return b.index_of(b.op("add", begin, place)), b.index_of(second)


def _exchange(b: KernelBuilder, memory: Memory, first: Sequence[Index], second: Sequence[Index]) -> None:
    x, y = b.load(memory, first), b.load(memory, second)
    b.store(memory, first, b.op("minimum", x, y))
    b.store(memory, second, b.op("maximum", x, y))
