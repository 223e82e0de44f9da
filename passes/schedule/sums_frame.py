"""The kernel around sums of products while it is written: its buffers, its accumulators, and the finished call."""

from __future__ import annotations

from collections.abc import Mapping

from mlc.ir.dims import Size
from mlc.ir.graph import PARAMETER, Graph, Node, reachable
from mlc.ir.kernel import Index, KernelBuilder, Memory, Value
from mlc.ir.types import DType

from .elements import Elements
from .region import KernelCall, Operand
from .scalars import kernel_name
from .sizes import Sizes
from .tasks import count_tasks

MOST_STORED = 160  # weight of an epilogue that is written out for every register of a tile; else it gets a loop
_TRANSCENDENTAL_WEIGHT = 20  # instructions of one exp or tanh, about
_CHEAP = frozenset(("parameter", "constant", "broadcast_in_dim", "reshape", "size", "dot_general", "convolution"))
_LONG = frozenset((
    "exponential", "exponential_minus_one", "log", "log_plus_one", "tanh", "logistic", "sine", "cosine", "tan", "erf",
    "power", "atan2", "cbrt",
))  # fmt: skip


class SumsFrame:
    """What kernels of contractions and convolutions share: ``heart`` is the op of ``body`` that sums products.

    ``read`` are its operands as this kernel reads them; ``temporaries`` the nodes that earlier kernels of the region
    have computed, and the number of each. A kernel that is given a ``number`` writes the sums there, ``in_parts``, not
    the results; with ``copies`` it computes so many of each side by side. Array constants are ``in_tables`` on a GPU.
    """

    def __init__(
        self,
        body: Graph,
        heart: Node,
        read: tuple[Node, Node],
        accumulator: DType,
        temporaries: Mapping[Node, int],
        copies: int = 1,
        number: int | None = None,
        *,
        in_tables: bool = False,
    ) -> None:
        self.body, self.heart, self.accumulator = body, heart, accumulator
        self.sizes = Sizes(body)
        self.nodes = _needed(body, heart, read, temporaries)
        self.in_parts = number is not None
        self.builder = b = KernelBuilder(self._name(), self.sizes.count)
        self.operands: list[Operand] = []
        self.memories: dict[Node, Memory] = {}
        needed = set(self.nodes)
        for k, p in enumerate(body.parameters):
            if p in needed and p not in temporaries:
                self.memories[p] = self._buffer(str(p["name"] or f"p{k}"), p, "read", Operand("parameter", k))
        for node, k in temporaries.items():
            self.memories[node] = self._buffer(f"t{k}", node, "read", Operand("temporary", k))
        self.results: list[Memory] = []
        for k, r in enumerate(body.results):
            place = Operand("result", k) if number is None else Operand("temporary", number)
            dtype = r.dtype if number is None else accumulator
            self.results.append(self._buffer(f"r{k}", r, "write", place, copies, dtype))
        self.elements = Elements(b, self.sizes, self.memories, in_tables=in_tables)

    def _name(self) -> str:
        if self.heart.op is PARAMETER:  # where the end of the region has the sums from
            return "dot_parts"
        return kernel_name(self.nodes) + ("_parts" if self.in_parts else "")

    def _buffer(
        self, name: str, node: Node, access: str, operand: Operand, copies: int = 1, dtype: DType | None = None
    ) -> Memory:
        self.operands.append(operand)
        size = self.sizes.index(node.tensor.size) * copies
        return self.builder.buffer(name, dtype or node.dtype, (size,), access=access)

    def zero(self, lanes: int) -> Value:
        return self.builder.constant(0, self.accumulator, lanes)

    def multiply_add(self, x: Value, y: Value, total: Value) -> Value:
        b = self.builder
        if self.accumulator.is_float:
            return b.op("fma", x, y, total)
        return b.op("add", total, b.op("multiply", x, y))

    @property
    def epilogue_weight(self) -> int:
        """Instructions of the epilogue at one point of the results, about."""
        after = reachable(self.body.results, also=(*self.body.parameters, self.heart, *reachable(self.heart.operands)))
        return sum(_TRANSCENDENTAL_WEIGHT if n.op.name in _LONG else n.op.name not in _CHEAP for n in after)

    def nest(self, tasks: tuple[tuple[Size, int], ...]) -> tuple[tuple[Index, int], ...]:
        return tuple((self.sizes.index(extent), grain) for extent, grain in tasks)

    def call(self, tasks: tuple[tuple[Size, int], ...]) -> KernelCall:
        """The finished kernel as a call."""
        serial = count_tasks(tasks) <= 1
        return KernelCall(self.builder.build(), tuple(self.operands), self.sizes.operands, tasks, serial)


def _needed(body: Graph, heart: Node, read: tuple[Node, Node], temporaries: Mapping[Node, int]) -> tuple[Node, ...]:
    """Nodes that this kernel computes or reads, in order: not what lies behind temporaries."""
    seen: set[Node] = set()
    work = list(body.results)
    while work:
        node = work.pop()
        if node in seen:
            continue
        seen.add(node)
        if node is heart:
            work += read
        elif node not in temporaries:
            work += node.operands
    return tuple(sorted(seen, key=lambda n: n.uid))
