"""The kernel of a contraction while it is written: buffers, elements of its operands, and the epilogue's stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlc.ir.dims import Size, bounds
from mlc.ir.graph import TRANSPOSE, Graph, Node, reachable
from mlc.ir.kernel import Index, IndexLike, KernelBuilder, Memory, Value
from mlc.ir.types import DType

from .contraction_form import Batch, Contraction, Side
from .elements import Elements
from .region import KernelCall, Operand
from .scalars import kernel_name
from .sizes import Sizes
from .tasks import count_tasks, counted

TRANSCENDENTAL_WEIGHT = 20  # instructions of one exp or tanh, about
_CHEAP = frozenset(("parameter", "constant", "broadcast_in_dim", "reshape", "size", "dot_general", "convolution"))
_LONG = frozenset((
    "exponential", "exponential_minus_one", "log", "log_plus_one", "tanh", "logistic", "sine", "cosine", "tan", "erf",
    "power", "atan2", "cbrt",
))  # fmt: skip


class Frame:
    """``temporaries`` are the nodes that earlier kernels of the region have computed, and the number of each."""

    def __init__(self, c: Contraction, temporaries: Mapping[Node, int]) -> None:
        body, nodes = c.body, _needed(c, temporaries)
        self.c = c
        self.sizes = Sizes(body)
        self.builder = b = KernelBuilder(kernel_name(nodes), self.sizes.count)
        self.operands: list[Operand] = []
        memories: dict[Node, Memory] = {}
        needed = set(nodes)
        for k, p in enumerate(body.parameters):
            if p in needed and p not in temporaries:
                memories[p] = self._buffer(str(p["name"] or f"p{k}"), p, "read", Operand("parameter", k))
        for node, k in temporaries.items():
            memories[node] = self._buffer(f"t{k}", node, "read", Operand("temporary", k))
        self.results = [self._buffer(f"r{k}", r, "write", Operand("result", k)) for k, r in enumerate(body.results)]
        self.elements = Elements(b, self.sizes, memories)
        self.nodes = nodes
        self.m, self.n, self.k, self.batch = (self.sizes.index(s) for s in (c.m, c.n, c.k, c.batch))

    def _buffer(self, name: str, node: Node, access: str, operand: Operand) -> Memory:
        self.operands.append(operand)
        return self.builder.buffer(name, node.dtype, (self.sizes.index(node.tensor.size),), access=access)

    # Operands of the dot, in the type that they are multiplied in

    def row_element(self, batch: Batch, row: IndexLike, k: IndexLike) -> Value:
        """One element of the rows, as a scalar."""
        return self._read(self.c.rows, self.c.rows.coordinates(batch, Index.of(row), Index.of(k)), 1, None, None)

    def row_vector(self, batch: Batch, row: IndexLike, k: IndexLike, lanes: int, mask: Value | None) -> Value:
        """Neighbours along K of one row; 0 where ``mask`` is off."""
        side = self.c.rows
        at = side.coordinates(batch, Index.of(row), Index.of(k))
        return self._zeroed(side, self._read(side, at, lanes, mask, side.contracted), mask)

    def column_vector(self, batch: Batch, column: IndexLike, k: IndexLike, lanes: int, mask: Value | None) -> Value:
        """Neighbouring columns at one k; anything where ``mask`` is off."""
        side = self.c.columns
        return self._read(side, side.coordinates(batch, Index.of(column), Index.of(k)), lanes, mask, side.free)

    def column_run(self, batch: Batch, column: IndexLike, k: IndexLike, lanes: int, mask: Value | None) -> Value:
        """Neighbours along K of one column; 0 where ``mask`` is off."""
        side = self.c.columns
        at = side.coordinates(batch, Index.of(column), Index.of(k))
        return self._zeroed(side, self._read(side, at, lanes, mask, side.contracted), mask)

    def _read(self, side: Side, at: tuple[Index, ...], lanes: int, mask: Value | None, lane_axis: int | None) -> Value:
        axis = -1 if lane_axis is None else lane_axis
        point = self.elements.point(side.node.shape, at, lanes, mask, axis)
        value = point.natural(side.node) if lanes == 1 else point.value(side.node)
        return self.builder.convert(value, self.c.factor or self.c.accumulator)

    def _zeroed(self, side: Side, value: Value, mask: Value | None) -> Value:
        """A masked load gives zeros, but what is computed from zeros need not be one."""
        if mask is None or side.node in self.elements.memories:
            return value
        return self.builder.select(mask, value, self.builder.constant(0, value.dtype, value.lanes))

    # Accumulators and results

    def zero(self, lanes: int) -> Value:
        return self.builder.constant(0, self.c.accumulator, lanes)

    def multiply_add(self, x: Value, y: Value, total: Value) -> Value:
        b = self.builder
        if self.c.accumulator.is_float:
            return b.op("fma", x, y, total)
        return b.op("add", total, b.op("multiply", x, y))

    def store(self, batch: Batch, row: IndexLike, column: IndexLike, total: Value, mask: Value | None) -> None:
        """The epilogue where neighbouring columns have the sums ``total``, and the stores of the results."""
        c = self.c
        at = c.result_coordinates(batch, Index.of(row), Index.of(column))
        axis = -1 if c.column_axis is None else c.column_axis
        point = self.elements.point(c.dot.shape, at, total.lanes, mask, axis)
        point.bind(c.dot, self.builder.convert(total, c.dot.dtype))
        stored = [r.operands[0] if self.is_turned(r) else r for r in c.body.results]
        values = [point.value(x) for x in stored]
        for memory, result, value in zip(self.results, c.body.results, values, strict=True):
            if self.is_turned(result):
                place = tuple(point.domain.coordinates[a] for a in result["permutation"])
                point.store(memory, value, place, result.shape)
            else:
                point.store(memory, value)

    def is_turned(self, result: Node) -> bool:
        """Whether a result is stored in another order of axes than that of the sums."""
        return result.op is TRANSPOSE and result.operands[0].shape == self.c.dot.shape

    @property
    def epilogue_weight(self) -> int:
        """Instructions of the epilogue at one point, about."""
        return epilogue_weight(self.c.body, self.c.dot)

    @property
    def dtype(self) -> DType:
        return self.c.accumulator

    def call(self, tasks: tuple[tuple[Size, int], ...]) -> KernelCall:
        """The finished kernel as a call."""
        serial = count_tasks(tasks) <= 1
        return KernelCall(self.builder.build(), tuple(self.operands), self.sizes.operands, tasks, serial)

    def nest(self, tasks: tuple[tuple[Size, int], ...]) -> tuple[tuple[Index, int], ...]:
        return tuple((self.sizes.index(extent), grain) for extent, grain in tasks)

    def contracted(self, batch: Batch) -> tuple[Index, Index]:
        """Where the products of a batch begin and end along K: all of it, or the part that the batch stands for."""
        if self.c.part is None:
            return Index.of(0), self.k
        start = batch[0] * self.c.part
        return start, self.builder.min(start + self.c.part, self.k)

    def each_batch(self, group: Index, grain: int, body: Callable[[Batch], None]) -> None:
        """Emit ``body`` for the batches that task ``group`` does."""
        lower, upper = Index.of(0), self.batch
        if grain < bounds(self.c.batch)[1]:
            lower = group * grain
            upper = lower + 1 if grain == 1 else self.builder.min(lower + grain, self.batch)
        counted(self.builder, lower, upper, lambda number: body(self._split(number)))

    def _split(self, number: Index) -> Batch:
        """The position along each batch axis of a number that counts all batches, the last axis fastest."""
        found: list[Index] = []
        for size in reversed(self.c.batches[1:]):
            if size != 1:
                found.append(self.builder.mod(number, self.sizes.index(size)))
                number = self.builder.floordiv(number, self.sizes.index(size))
            else:
                found.append(Index.of(0))
        return (number, *reversed(found))


def _needed(c: Contraction, temporaries: Mapping[Node, int]) -> tuple[Node, ...]:
    """Nodes that this kernel computes or reads, in order: not what lies behind temporaries."""
    seen: set[Node] = set()
    work = list(c.body.results)
    while work:
        node = work.pop()
        if node in seen:
            continue
        seen.add(node)
        if node is c.dot:
            work += [c.rows.node, c.columns.node]
        elif node not in temporaries:
            work += node.operands
    return tuple(sorted(seen, key=lambda n: n.uid))


def epilogue_weight(body: Graph, heart: Node) -> int:
    """Instructions that follow ``heart`` at one point of the results, about."""
    after = reachable(body.results, also=(*body.parameters, heart, *reachable(heart.operands)))
    return sum(TRANSCENDENTAL_WEIGHT if n.op.name in _LONG else n.op.name not in _CHEAP for n in after)
