"""A loop body as axes: what is computed and written at each point, and the buffers of the kernel that does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlc.ir.dims import size_product
from mlc.ir.graph import Graph, Node
from mlc.ir.kernel import IndexVariable, KernelBuilder, Memory

from .access import Access
from .axes import Group, join, leaf_indices, refine
from .buffers import parameter_buffers
from .domain import Coordinates, Domain
from .region import Operand
from .sizes import Sizes


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements of ``node`` that go to a result of the body, at ``at`` in it; without, they are the whole result.

    ``needs`` are what ``at`` looks up.
    """

    node: Node
    result: int
    at: Callable[[Domain], Coordinates] | None = None
    needs: tuple[Access, ...] = ()


class LoopForm:
    """The groups of axes that pieces of one shape are walked along, of which ``inner`` is the last.

    In ``domain``, ``accesses`` are what is read; each piece is written at one of ``places`` in a result of the shape
    in ``wholes``, which is element number ``written`` of it.
    """

    def __init__(self, body: Graph, pieces: Sequence[Piece]) -> None:
        self.body, self.pieces = body, pieces
        self.sizes = sizes = Sizes(body)
        self.nodes = nodes = tuple(p.node for p in pieces)
        needs = [a for p in pieces for a in p.needs]
        self.roots = (*nodes, *(a.node for a in needs))
        self.domain, self.accesses = refine(
            nodes[0].shape, sizes, lambda d: [*(Access(n, d.coordinates) for n in nodes), *needs]
        )
        self.places = [self.domain.coordinates if p.at is None else p.at(self.domain) for p in pieces]
        self.wholes = [body.results[p.result].shape for p in pieces]
        self.written = [self.domain.linear(whole, place) for whole, place in zip(self.wholes, self.places, strict=True)]
        groups = join(self.domain, leaf_indices(self.domain, self.accesses) | set(self.written))
        self.groups: tuple[Group, ...] = groups or (Group((IndexVariable("d", 0),), 1),)
        self.inner = self.groups[-1]

    def buffers(self, b: KernelBuilder) -> tuple[dict[Node, Memory], list[Memory], tuple[Operand, ...]]:
        """Those of parameters, those that the pieces are written to, and what they are."""
        body, sizes = self.body, self.sizes
        memories, operands = parameter_buffers(b, Graph(body.name, body.parameters, self.roots, body.table), sizes)
        results = [
            b.buffer(f"r{p.result}", p.node.dtype, (sizes.index(size_product(w)),), access="write")
            for p, w in zip(self.pieces, self.wholes, strict=True)
        ]
        return memories, results, operands + tuple(Operand("result", p.result) for p in self.pieces)
