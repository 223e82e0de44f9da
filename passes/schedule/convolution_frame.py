"""The kernel of a convolution while it is written: its buffers, and the epilogue where sums are stored."""

from __future__ import annotations

from collections.abc import Mapping

from mlc.ir.dims import Size
from mlc.ir.graph import Node
from mlc.ir.kernel import Index, IndexLike, KernelBuilder, Memory, Value

from .contraction_frame import epilogue_weight
from .convolution_form import Convolution
from .elements import Elements
from .region import KernelCall, Operand
from .scalars import kernel_name
from .sizes import Sizes
from .tasks import count_tasks

MOST_STORED = 160  # weight of an epilogue that is written out for every register of a tile; else it gets a loop


class Frame:
    """``temporaries`` are the nodes that earlier kernels of the region have computed, and the number of each;
    ``lhs`` and ``rhs`` are the operands as this kernel reads them.

    A kernel of ``parts`` computes them side by side, each as large as the result, in temporary ``number``.
    """

    def __init__(
        self,
        c: Convolution,
        temporaries: Mapping[Node, int],
        lhs: Node,
        rhs: Node,
        parts: int = 1,
        number: int | None = None,
    ) -> None:
        self.c, self.lhs, self.rhs = c, lhs, rhs
        self.sizes = Sizes(c.body)
        nodes = self._needed(temporaries)
        self.builder = b = KernelBuilder(kernel_name(nodes), self.sizes.count)
        self.operands: list[Operand] = []
        memories: dict[Node, Memory] = {}
        needed = set(nodes)
        for k, p in enumerate(c.body.parameters):
            if p in needed and p not in temporaries:
                memories[p] = self._buffer(str(p["name"] or f"p{k}"), p, "read", Operand("parameter", k))
        for node, k in temporaries.items():
            memories[node] = self._buffer(f"t{k}", node, "read", Operand("temporary", k))
        self.memories = memories
        self.results = [
            self._buffer(f"r{k}", r, "write", Operand("result", k) if number is None else Operand("temporary", number),
                         parts)
            for k, r in enumerate(c.body.results)
        ]  # fmt: skip
        self.elements = Elements(b, self.sizes, memories)
        self.nodes = nodes
        self.batch = self.sizes.index(c.batch)
        self.weight = epilogue_weight(c.body, c.node)

    def _needed(self, temporaries: Mapping[Node, int]) -> tuple[Node, ...]:
        """Nodes that this kernel computes or reads, in order: not what lies behind temporaries."""
        seen: set[Node] = set()
        work = list(self.c.body.results)
        while work:
            node = work.pop()
            if node in seen:
                continue
            seen.add(node)
            if node is self.c.node:
                work += [self.lhs, self.rhs]
            elif node not in temporaries:
                work += node.operands
        return tuple(sorted(seen, key=lambda n: n.uid))

    def _buffer(self, name: str, node: Node, access: str, operand: Operand, copies: int = 1) -> Memory:
        self.operands.append(operand)
        size = self.sizes.index(node.tensor.size) * copies
        return self.builder.buffer(name, node.dtype, (size,), access=access)

    def zero(self, lanes: int) -> Value:
        return self.builder.constant(0, self.c.accumulator, lanes)

    def multiply_add(self, x: Value, y: Value, total: Value) -> Value:
        b = self.builder
        if self.c.accumulator.is_float:
            return b.op("fma", x, y, total)
        return b.op("add", total, b.op("multiply", x, y))

    def store(self, at: tuple[Index, ...], total: Value, mask: Value | None, part: IndexLike = 0) -> None:
        """The epilogue where neighbouring features of the result, from ``at`` on, have the sums ``total``."""
        c = self.c
        point = self.elements.point(c.node.shape, at, total.lanes, mask, -1)
        point.bind(c.node, self.builder.convert(total, c.node.dtype))
        values = [point.value(r) for r in c.body.results]
        for memory, value in zip(self.results, values, strict=True):
            point.store(memory, value, offset=self.sizes.index(c.node.tensor.size) * part)

    def nest(self, tasks: tuple[tuple[Size, int], ...]) -> tuple[tuple[Index, int], ...]:
        return tuple((self.sizes.index(extent), grain) for extent, grain in tasks)

    def call(self, tasks: tuple[tuple[Size, int], ...]) -> KernelCall:
        """The finished kernel as a call."""
        serial = count_tasks(tasks) <= 1
        return KernelCall(self.builder.build(), tuple(self.operands), self.sizes.operands, tasks, serial)
