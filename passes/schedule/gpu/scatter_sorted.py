"""Many rows scattered to many on a GPU: updates in the order of the rows that they go to, then each row its own.

Pairs of index and place are sorted, so that every element of the result finds its updates side by side, by bisection,
and combines them in their order. What is not inside of the result comes last, and is nobody's.
"""

from __future__ import annotations

from mlc.ir.dims import Size, bounds, size_product
from mlc.ir.graph import Graph, combiner_of
from mlc.ir.kernel import Index, KernelBuilder, Memory, Value
from mlc.ir.target import GpuTarget
from mlc.ir.types import I32, I64
from mlc.passes.schedule.buffers import parameter_buffers
from mlc.passes.schedule.domain import divided
from mlc.passes.schedule.elements import Elements, Point
from mlc.passes.schedule.region import KernelCall, Operand
from mlc.passes.schedule.scalars import kernel_name
from mlc.passes.schedule.scatter_form import ScatterNest, signed_index, window_offsets
from mlc.passes.schedule.sizes import Sizes
from mlc.passes.sorting import whole_length

from .sort import Sorts
from .threads import block_of, spread

FEWEST, MOST = 512, 1 << 22  # updates: fewer are looked at by every thread
MOST_UNKNOWN = 1 << 16  # of a symbolic number, as all that there may be are sorted
TOGETHER = 4  # updates of a row that are read before the first is added
HALF = 32  # bits of a key that are the place


def sorts_updates(nest: ScatterNest) -> bool:
    """Whether updates are rows, or elements, of which one index says where they go, and are many."""
    windows = nest.windows
    if len(windows.index_map) != 1 or nest.moved or windows.batching or windows.sizes[windows.index_map[0]] != 1:
        return False
    return FEWEST <= _most(nest) <= (MOST if isinstance(_count(nest), int) else MOST_UNKNOWN)


def sorted_calls(body: Graph, nest: ScatterNest, sizes: Sizes, target: GpuTarget) -> tuple[list[KernelCall], int]:
    """The kernels, and the bytes of their temporary: a key for each update."""
    length = whole_length(_most(nest))
    keys = Sorts(I64, 1, length, Operand("temporary", 0), sizes, target)
    calls = [_keys(body, nest, sizes, length, target), *keys.calls(), _combine(body, nest, sizes, length, target)]
    return calls, length * I64.itemsize


def _count(nest: ScatterNest) -> Size:
    return size_product(g.extent for g in nest.serial)


def _most(nest: ScatterNest) -> int:
    return bounds(_count(nest))[1]


def _keys(body: Graph, nest: ScatterNest, sizes: Sizes, length: int, target: GpuTarget) -> KernelCall:
    """The index of each update in the upper half and its place in the lower; the largest for those outside."""
    threads = block_of(length, target)
    tasks: tuple[tuple[Size, int], ...] = ((length, threads), (threads, 1))
    b = KernelBuilder("scatter_keys", sizes.count)
    part = Graph(body.name, body.parameters, (nest.node.operands[1],), body.table)
    memories, operands = parameter_buffers(b, part, sizes)
    keys = b.buffer("t0", I64, (length,), access="write")
    elements = Elements(b, sizes, memories, in_tables=True)
    extent = sizes.index(nest.windows.operand.shape[nest.windows.index_map[0]])
    with b.parallel(*((sizes.index(e), n) for e, n in tasks), threads=1) as (block, thread):
        elements.prepare(part.nodes)
        largest = b.constant(I64.limits[1], I64)
        number = block * threads + thread
        with b.loop(number, b.min(number + 1, length)) as mine:
            with b.loop(mine.index, b.min(mine.index + 1, sizes.index(_count(nest))), carried=(largest,)) as there:
                at = {v: Index.of(0) for v in nest.domain.variables} | spread(b, there.index, nest.serial, sizes)
                value = Point(elements, nest.domain, at).element(nest.vectors[0])
                value = b.convert(signed_index(b, value, extent), I64)
                inside = b.op(
                    "and",
                    b.compare("GE", value, b.constant(0, I64)),
                    b.compare("LT", value, b.index_value(extent, I64)),
                )
                key = b.op("or", b.op("shift_left", value, b.constant(HALF, I64)), b.index_value(there.index, I64))
                b.yield_(b.select(inside, key, largest))
            b.store(keys, (mine.index,), there.results[0])
    return KernelCall(b.build(), (*operands, Operand("temporary", 0)), sizes.operands, tasks, False)


def _combine(body: Graph, nest: ScatterNest, sizes: Sizes, length: int, target: GpuTarget) -> KernelCall:
    """Every vector of the result that has updates, with them."""
    axis = nest.windows.index_map[0]
    vectors = divided(size_product(g.extent for g in nest.groups), nest.lanes)
    assert vectors is not None
    count = nest.windows.operand.shape[axis] * vectors
    threads = block_of(count, target)
    tasks: tuple[tuple[Size, int], ...] = ((count, threads), (threads, 1))
    b = KernelBuilder(kernel_name(body.nodes), sizes.count)
    part = Graph(body.name, body.parameters, (nest.node.operands[2],), body.table)
    memories, operands = parameter_buffers(b, part, sizes)
    keys = b.buffer("t0", I64, (length,))
    result = b.buffer("r0", nest.node.dtype, (sizes.index(nest.node.tensor.size),), access="readwrite")
    elements = Elements(b, sizes, memories, in_tables=True)
    along, op = None if nest.along is None else nest.along.variable, combiner_of(nest.node["body"])
    with b.parallel(*((sizes.index(e), n) for e, n in tasks), threads=1) as (block, thread):
        elements.prepare(part.nodes)
        number = block * threads + thread
        with b.loop(number, b.min(number + 1, sizes.index(count))) as mine:
            row = b.floordiv(mine.index, sizes.index(vectors))
            at = {v: Index.of(0) for v in nest.domain.variables}
            at |= spread(b, b.mod(mine.index, sizes.index(vectors)), nest.groups, sizes, nest.lanes)
            first = _first(b, keys, row, length)
            here = Point(elements, nest.domain, at, nest.lanes, along)
            place = list(window_offsets(nest.windows, nest.domain.coordinates))
            place[axis] = row

            def updates(position: Value, number: int) -> Value:
                """Those at a position and so many further."""
                at_key = b.index_of(b.op("add", position, b.constant(number, I32)))
                update = b.index_of(b.op("and", b.load(keys, (at_key,)), b.constant((1 << HALF) - 1, I64)))
                point = Point(elements, nest.domain, at | spread(b, update, nest.serial, sizes), nest.lanes, along)
                return point.value(nest.node.operands[2])

            with b.loop(0, b.index_of(b.convert(_is_of(b, keys, first, row, length), I32))):
                total = here.read(result, nest.node, tuple(place))
                for together in (TOGETHER, 1):
                    with b.while_(first, total) as walk:
                        position, total = walk.carried
                        last = b.op("add", position, b.constant(together - 1, I32))
                        b.condition(_is_of(b, keys, last, row, length))  # and so are all before it
                        for value in [updates(position, k) for k in range(together)]:
                            total = value if op is None else b.op(op.name, total, value)
                        b.yield_(b.op("add", position, b.constant(together, I32)), total)
                    first, total = walk.results
                here.store(result, total, tuple(place), nest.node.shape)
    places = (*operands, Operand("temporary", 0), Operand("result", 0))
    return KernelCall(b.build(), places, sizes.operands, tasks, False)


def _first(b: KernelBuilder, keys: Memory, row: Index, length: int) -> Value:
    """Where the first key is that is not below those of the row, as i32: by steps of half the size."""
    target = b.op("shift_left", b.index_value(row, I64), b.constant(HALF, I64))
    levels = length.bit_length()
    zero, one, last = (b.constant(n, I32) for n in (0, 1, length))
    with b.loop(0, levels, carried=(zero, b.constant(1 << (levels - 1), I32))) as step:
        found, size = step.carried
        further = b.op("add", found, size)
        before = b.index_of(b.op("subtract", b.op("minimum", further, last), one))
        below = b.compare("LT", b.load(keys, (before,)), target)
        below = b.op("and", below, b.compare("LE", further, last))
        b.yield_(b.select(below, further, found), b.op("shift_right_logical", size, one))
    return step.results[0]


def _is_of(b: KernelBuilder, keys: Memory, position: Value, row: Index, length: int) -> Value:
    """Whether there is a key at a position, of the row."""
    last = b.constant(length - 1, I32)
    key = b.load(keys, (b.index_of(b.op("minimum", position, last)),))
    index = b.op("shift_right_arithmetic", key, b.constant(HALF, I64))
    return b.op("and", b.compare("LE", position, last), b.compare("EQ", index, b.index_value(row, I64)))
