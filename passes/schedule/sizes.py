"""The run-time sizes of a region's kernels: symbols of its body, in order of first appearance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlc.ir.dims import Dim, Size, Symbol, bounds
from mlc.ir.graph import Graph, Node
from mlc.ir.kernel import Index, IndexVariable
from mlc.ir.types import Shape, TensorType


class Sizes:
    """Numbers the symbols of ``body``: symbol k is the kernel's size %nk.

    Example:
        >>> from mlc.ir.dims import dim
        >>> from mlc.ir.graph import ADD, Table
        >>> from mlc.ir.types import F32
        >>> table, n = Table(), dim("n", 1, 64)
        >>> with table.active():
        ...     x = table.parameter(TensorType((n, 4), F32))
        ...     body = Graph("double", (x,), (ADD(x, x),), table)
        >>> sizes = Sizes(body)
        >>> sizes.operands, sizes.index(n * 4 + 1)
        ((n,), %n0*4 + 1)
    """

    def __init__(self, body: Graph) -> None:
        found: dict[Symbol, None] = {}
        for node in (*body.parameters, *body.nodes):
            for size in _sizes_of(node):
                found.update(dict.fromkeys(s for monomial, _ in size.terms for s in monomial))
        self.symbols = tuple(found)
        self._numbers = {s: IndexVariable("n", k) for k, s in enumerate(self.symbols)}

    @property
    def operands(self) -> tuple[Size, ...]:
        """The value of each size parameter: a symbol as a size."""
        return tuple(Dim({(s,): 1}) for s in self.symbols)

    @property
    def count(self) -> int:
        return len(self.symbols)

    def index(self, size: Size) -> Index:
        """``size`` as an expression over the kernel's sizes."""
        if isinstance(size, int):
            return Index.of(size)
        return Index((tuple(sorted(self._numbers[s] for s in monomial)), c) for monomial, c in size.terms)

    def shape(self, shape: Iterable[Size]) -> tuple[Index, ...]:
        return tuple(map(self.index, shape))

    def linear(self, shape: Shape, coordinates: Iterable[Index]) -> Index:
        """The row-major position of an element of a tensor of ``shape``."""
        total = Index.of(0)
        for n, c in zip(self.shape(shape), coordinates, strict=True):
            total = total * n + c
        return total

    def size(self, index: Index) -> Size:
        """The size that an expression over sizes alone stands for."""
        total: Size = 0
        for monomial, coefficient in index.terms:
            product: Size = coefficient
            for v in monomial:
                product = product * Dim({(self.symbols[v.id],): 1})
            total = total + product
        return total

    def lower_bound(self, index: Index) -> int:
        """The least value of an expression over sizes alone."""
        return bounds(self.size(index))[0]

    def upper_bound(self, index: Index) -> int:
        """The greatest value of an expression over sizes alone."""
        return bounds(self.size(index))[1]


def _sizes_of(node: Node) -> Iterator[Dim]:
    if isinstance(node.type, TensorType):
        yield from _dims(node.type.shape)
    for _, value in sorted(node.attributes.items()):
        yield from _dims(value if isinstance(value, tuple) else (value,))


def _dims(values: Shape | tuple[object, ...]) -> Iterator[Dim]:
    return (v for v in values if isinstance(v, Dim))
