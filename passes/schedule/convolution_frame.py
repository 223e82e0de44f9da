"""The kernel of a convolution while it is written: its buffers, and the epilogue where sums are stored."""

from __future__ import annotations

from collections.abc import Mapping

from mlc.ir.graph import Node
from mlc.ir.kernel import Index, IndexLike, Value

from .convolution_form import Convolution
from .sums_frame import SumsFrame


class Frame(SumsFrame):
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
        *,
        in_tables: bool = False,
    ) -> None:
        super().__init__(c.body, c.node, (lhs, rhs), c.accumulator, temporaries, parts, number, in_tables=in_tables)
        self.c, self.lhs, self.rhs = c, lhs, rhs
        self.batch = self.sizes.index(c.batch)

    def store(self, at: tuple[Index, ...], total: Value, mask: Value | None, part: IndexLike = 0) -> None:
        """The epilogue where neighbouring features of the result, from ``at`` on, have the sums ``total``."""
        c = self.c
        point = self.elements.point(c.node.shape, at, total.lanes, mask, -1)
        if self.in_parts:
            point.store(self.results[0], total, offset=self.sizes.index(c.node.tensor.size) * part)
            return
        point.bind(c.node, self.builder.convert(total, c.node.dtype))
        values = [point.value(r) for r in c.body.results]
        for memory, value in zip(self.results, values, strict=True):
            point.store(memory, value)
