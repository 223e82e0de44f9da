"""sort: rows of integers put in ascending order in place, by Batcher's bitonic networks.

A block of two sorted halves becomes sorted by exchanges between elements that mirror each other about its middle and
then, in each half, quarter and so on, between elements at half its length. (Batcher 1968, "Sorting networks and their
applications"; with mirrored exchanges all blocks ascend, so that what would lie behind the end of a row is largest and
never moves.) A tile of a few vectors is sorted in registers, a chunk of tiles in the nearest cache by one task, and
longer blocks by one launch for each distance of their exchanges that is longer than a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlc.ir.dims import Size, size_product
from mlc.ir.graph import Graph
from mlc.ir.kernel import Index, KernelBuilder, Memory, Value
from mlc.ir.target import Target
from mlc.ir.types import I64

from .region import KernelCall, Operand, ScheduledRegion
from .sizes import Sizes
from .tasks import count_tasks, cut
from .update import write_operand

TILE = 8  # vectors that registers hold beside what exchanges them
CHUNK = 32 << 10  # bytes: what one task sorts lies in L1
PER_STAGE = 2  # cost of an element at each distance, as tasks count


def schedule_sort(body: Graph, target: Target) -> ScheduledRegion:
    """The kernel that computes the operand, unless it is there; and those that exchange its elements."""
    first = write_operand(body, body.results[0].operands[0], target)
    return ScheduledRegion((*first.calls, *_Rows(body, target).calls()), (), first.in_place, first.copies)


class _Rows:
    """The rows of a body's result and the kernels that sort them."""

    def __init__(self, body: Graph, target: Target) -> None:
        self.node = body.results[0]
        self.sizes = Sizes(body)
        *rows, length = self.node.shape
        assert isinstance(length, int)
        self.count, self.length = size_product(rows), length
        self.lanes = min(target.vector_bits // self.node.dtype.bits, length)
        self.tile = min(TILE * self.lanes, length)
        self.chunk = CHUNK // self.node.dtype.itemsize

    def calls(self) -> list[KernelCall]:
        """Chunks, then blocks of two chunks, of four and so on."""
        found = [self._chunks("sort", 0)]
        block = 2 * self.chunk
        while block < 2 * self.length:
            found.append(self._exchange(block // 2, 0))
            distance = block // 4
            while distance >= self.chunk:
                levels = 2 if distance > self.chunk else 1
                found.append(self._exchange(distance >> (levels - 1), levels))
                distance >>= levels
            found.append(self._chunks("merge", self.chunk // 2))
            block *= 2
        return found

    def _chunks(self, name: str, merged: int) -> KernelCall:
        """Chunks sorted or, where they are bitonic, merged from exchanges over the distance ``merged`` on."""
        chunks = -(-self.length // self.chunk)
        longest = min(self.chunk, self.length)
        cost = longest * longest.bit_length() ** (1 if merged else 2) * PER_STAGE
        (grain,) = cut((self.count,), cost) if chunks == 1 else (1,)
        tasks: tuple[tuple[Size, int], ...] = ((self.count, grain),) if grain else ()
        tasks = (*tasks, (chunks, 1)) if chunks > 1 else tasks or ((1, 1),)
        b = KernelBuilder(f"{name}_{self.node.dtype.name}", self.sizes.count)
        memory = self._buffer(b)
        with b.parallel(*((self.sizes.index(n), g) for n, g in tasks)) as at:
            rows = self.sizes.index(self.count)
            begin = Index.of(0) if grain is None else at[0] * grain
            with b.loop(begin, rows if grain is None else b.min(begin + grain, rows)) as row:
                start = at[-1] * self.chunk if chunks > 1 else Index.of(0)
                length = b.min(self.length - start, self.chunk)
                network = _Network(b, memory, row.index * self.length + start, length, self.lanes, self.tile)
                network.merge(merged) if merged else network.sort(longest)
        return KernelCall(b.build(), (Operand("result", 0),), self.sizes.operands, tasks, count_tasks(tasks) <= 1)

    def _exchange(self, distance: int, levels: int) -> KernelCall:
        """Exchanges over a distance of chunks, or with two levels over twice that first; with none, mirrored ones.

        One kernel for all distances: how many chunks that is, and how many chunks of them there are, are sizes.
        """
        apart = distance // self.chunk
        width = 1 << max(levels, 1)  # how many elements meet
        parts = -(-self.length // (width * distance)) * apart
        tasks = ((self.count, 1), (parts, 1))
        name = f"exchange_{self.node.dtype.name}_{width}" if levels else f"mirror_{self.node.dtype.name}"
        b = KernelBuilder(name, self.sizes.count + 2)
        memory = self._buffer(b)
        chunks, extent = b.sizes[-2:]
        with b.parallel((self.sizes.index(self.count), 1), (extent, 1)) as (row, part):
            block, low = b.floordiv(part, chunks), b.mod(part, chunks) * self.chunk
            network = _Network(b, memory, row * self.length, Index.of(self.length), self.lanes, self.tile)
            begin, step = block * chunks * (width * self.chunk), chunks * self.chunk
            if levels:
                network.exchange(begin, step, low, low + self.chunk, levels)
            else:
                network.mirror(begin, step, low, low + self.chunk)
        sizes = (*self.sizes.operands, apart, parts)
        return KernelCall(b.build(), (Operand("result", 0),), sizes, tasks, count_tasks(tasks) <= 1)

    def _buffer(self, b: KernelBuilder) -> Memory:
        return b.buffer("r0", self.node.dtype, (self.sizes.index(self.node.tensor.size),), access="readwrite")


@dataclass(frozen=True)
class _Network:
    """Exchanges among ``length`` elements of ``memory`` from ``start`` on, whole tiles of vectors of ``lanes``."""

    b: KernelBuilder
    memory: Memory
    start: Index
    length: Index
    lanes: int
    tile: int

    def sort(self, longest: int) -> None:
        """Tiles, then blocks of two tiles, of four and so on, up to one that holds ``longest`` elements."""
        b = self.b
        self._tiles(self._sorted_tile)
        steps = (-(-longest // self.tile) - 1).bit_length()
        if not steps:
            return
        with b.loop(0, steps, carried=(b.constant(self.tile, I64),)) as step:
            (half,) = step.carried
            distance = b.index_of(half)
            with b.loop(0, self._blocks(distance * 2)) as block:
                self.mirror(block.index * distance * 2, distance, Index.of(0), distance)
            self._exchanges(b.op("shift_right_logical", half, b.constant(1, I64)), step.index)
            self._tiles(self._merged)
            b.yield_(b.op("add", half, half))

    def merge(self, distance: int) -> None:
        """A bitonic sequence sorted by exchanges over ``distance``, then half of that and so on."""
        self._exchanges(self.b.constant(distance, I64), Index.of((distance // self.tile).bit_length()))
        self._tiles(self._merged)

    def mirror(self, begin: Index, half: Index, low: Index, high: Index) -> None:
        """Elements ``low`` .. ``high`` of the block at ``begin`` with those as far from its end."""
        b, end = self.b, begin + half * 2
        with b.loop(b.max(low, end - self.length), high, self.lanes, unroll=2) as at:
            first, second = self.start + begin + at.index, self.start + end - at.index - self.lanes
            x, y = b.load(self.memory, (first,), self.lanes), self._turned(b.load(self.memory, (second,), self.lanes))
            b.store(self.memory, (first,), b.op("minimum", x, y))
            b.store(self.memory, (second,), self._turned(b.op("maximum", x, y)))

    def exchange(self, begin: Index, distance: Index, low: Index, high: Index, levels: int) -> None:
        """Elements ``low`` .. ``high`` from ``begin`` on with those ``distance`` behind them.

        With two levels, exchanges over twice the distance come first: four elements are read and written once for both.
        """
        b, after = self.b, Index.of(0)
        for count in range(1 << levels, 1, -1):  # how many of the elements lie inside
            until = b.min(high, self.length - begin - distance * (count - 1))
            with b.loop(b.max(low, after), until, self.lanes, unroll=2 if count == 1 << levels else 1) as at:
                places = [self.start + begin + at.index + distance * k for k in range(count)]
                found = [b.load(self.memory, (i,), self.lanes) for i in places]
                for level in reversed(range(levels)):
                    for i, k in _pairs(count, 1 << level):
                        x, y = found[i], found[k]
                        found[i], found[k] = b.op("minimum", x, y), b.op("maximum", x, y)
                for place, v in zip(places, found, strict=True):
                    b.store(self.memory, (place,), v)
            after = until

    def _exchanges(self, distance: Value, count: Index) -> None:
        """Exchanges over ``distance``, half of it and so on, ``count`` times: the last over a tile."""
        b = self.b
        pairs = b.floordiv(count, 2)
        distance = self._each(distance, pairs, 2)
        self._each(distance, count - pairs * 2, 1)

    def _each(self, distance: Value, count: Index, levels: int) -> Value:
        """So many walks of some ``levels`` each, from ``distance`` on; gives the next distance."""
        b = self.b
        with b.loop(0, count, carried=(distance,)) as step:
            half = b.op("shift_right_logical", step.carried[0], b.constant(levels - 1, I64))
            apart = b.index_of(half)
            with b.loop(0, self._blocks(apart * (1 << levels))) as block:
                self.exchange(block.index * apart * (1 << levels), apart, Index.of(0), apart, levels)
            b.yield_(b.op("shift_right_logical", half, b.constant(1, I64)))
        (after,) = step.results
        return after

    def _blocks(self, size: Index) -> Index:
        """How many blocks of ``size`` there are, the last of them perhaps cut off."""
        return self.b.floordiv(self.length + size - 1, size)

    # In registers

    def _tiles(self, order: Callable[[list[Value]], list[Value]]) -> None:
        b = self.b
        with b.loop(0, self.length, self.tile) as at:
            places = [self.start + at.index + k for k in range(0, self.tile, self.lanes)]
            vectors = order([b.load(self.memory, (i,), self.lanes) for i in places])
            for i, v in zip(places, vectors, strict=True):
                b.store(self.memory, (i,), v)

    def _sorted_tile(self, vectors: Sequence[Value]) -> list[Value]:
        """Lanes of each vector, then blocks of two vectors, of four and so on."""
        b, found = self.b, [self._sorted_lanes(v) for v in vectors]
        size = 2
        while size <= len(found):
            for begin in range(0, len(found), size):
                half = size // 2
                for i, k in zip(range(begin, begin + half), range(begin + size - 1, begin + half - 1, -1), strict=True):
                    x, y = found[i], self._turned(found[k])
                    found[i], found[k] = b.op("minimum", x, y), self._turned(b.op("maximum", x, y))
                found[begin : begin + half] = self._merged(found[begin : begin + half])
                found[begin + half : begin + size] = self._merged(found[begin + half : begin + size])
            size *= 2
        return found

    def _merged(self, vectors: list[Value]) -> list[Value]:
        """Vectors whose elements are bitonic, in order."""
        b, found = self.b, list(vectors)
        apart = len(found) // 2
        while apart:
            for i, k in _pairs(len(found), apart):
                x, y = found[i], found[k]
                found[i], found[k] = b.op("minimum", x, y), b.op("maximum", x, y)
            apart //= 2
        return [self._merged_lanes(v, self.lanes // 2) for v in found]

    def _sorted_lanes(self, v: Value) -> Value:
        size = 2
        while size <= self.lanes:
            v = self._merged_lanes(self._exchanged_lanes(v, size - 1), size // 4)
            size *= 2
        return v

    def _merged_lanes(self, v: Value, apart: int) -> Value:
        while apart:
            v = self._exchanged_lanes(v, apart)
            apart //= 2
        return v

    def _exchanged_lanes(self, v: Value, bits: int) -> Value:
        """Lanes exchanged with those whose numbers differ in ``bits``."""
        b, lanes = self.b, range(self.lanes)
        other = b.shuffle(v, v, [i ^ bits for i in lanes])
        low, high = b.op("minimum", v, other), b.op("maximum", v, other)
        return b.shuffle(low, high, [i if i < i ^ bits else self.lanes + i for i in lanes])

    def _turned(self, v: Value) -> Value:
        return self.b.shuffle(v, v, range(self.lanes - 1, -1, -1)) if self.lanes > 1 else v


def _pairs(count: int, apart: int) -> list[tuple[int, int]]:
    """Numbers below ``count`` that differ in the bit ``apart``."""
    return [(i, i + apart) for i in range(count - apart) if not i & apart]
