"""Operands that lie along another axis than the results, on a GPU: square tiles that are turned in shared memory.

A block of threads reads a tile along the axis that the operand lies along, meets, and writes it along the results'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from mlc.ir.dims import Size, size_product
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Memory
from mlc.passes.schedule.access import Access
from mlc.passes.schedule.axes import Group
from mlc.passes.schedule.domain import Domain
from mlc.passes.schedule.elements import Elements, Point
from mlc.passes.schedule.sizes import Sizes
from mlc.passes.schedule.turned import Turned, find_turned

from .threads import spread

SIDE = 32  # of a tile: a warp reads and writes whole lines
ROWS = 8  # that the threads of a block do at once
LEAST = 16  # elements along both axes that make tiles worth their while
MOST_TILES = 4  # operands that are turned together


@dataclass(frozen=True)
class Squares:
    """Tiles of ``turned.group`` by ``columns``, for each point of the other groups."""

    domain: Domain
    outer: tuple[Group, ...]
    turned: Turned
    columns: Group
    sizes: Sizes

    @property
    def nest(self) -> tuple[tuple[Size, int], ...]:
        """The axes of the kernel: three of blocks, two of threads."""
        points = size_product(g.extent for g in self.outer)
        return (points, 1), (self.turned.group.extent, SIDE), (self.columns.extent, SIDE), (ROWS, 1), (SIDE, 1)

    def tiles(self, b: KernelBuilder) -> list[Memory]:
        """Shared memory of each operand; an element more a row, so that columns do not meet in a bank."""
        return [b.shared(f"tile{k}", a.node.dtype, (SIDE, SIDE + 1)) for k, a in enumerate(self.turned.accesses)]

    def emit(
        self, elements: Elements, tiles: Sequence[Memory], at: Sequence[Index], store: Callable[[Point], None]
    ) -> None:
        """What the thread at these indices of the nest does."""
        b, (point, row_block, column_block, y, x) = elements.builder, at
        outer = spread(b, point, self.outer, self.sizes) if self.outer else {}
        first = row_block * SIDE, column_block * SIDE
        for k in range(0, SIDE, ROWS):
            row, column = first[0] + x, first[1] + y + k
            with self._inside(b, row, column):
                here = Point(elements, self.domain, outer | self._place(row, column))
                for tile, access in zip(tiles, self.turned.accesses, strict=True):
                    b.store(tile, (y + k, x), here.element(access))
        b.machine("barrier")
        for k in range(0, SIDE, ROWS):
            row, column = first[0] + y + k, first[1] + x
            with self._inside(b, row, column):
                here = Point(elements, self.domain, outer | self._place(row, column))
                for tile, access in zip(tiles, self.turned.accesses, strict=True):
                    here.assume(access, b.load(tile, (x, y + k)))
                store(here)

    def _place(self, row: Index, column: Index) -> dict[IndexVariable, Index]:
        return self.turned.group.at(row) | self.columns.at(column)

    @contextmanager
    def _inside(self, b: KernelBuilder, row: Index, column: Index) -> Iterator[None]:
        """What follows is done for elements that there are."""
        with ExitStack() as stack:
            for index, extent in ((row, self.turned.group.extent), (column, self.columns.extent)):
                if not (isinstance(extent, int) and extent % SIDE == 0):
                    stack.enter_context(b.loop(index, b.min(index + 1, self.sizes.index(extent))))
            yield


def find_squares(domain: Domain, accesses: Sequence[Access], groups: Sequence[Group], sizes: Sizes) -> Squares | None:
    """Tiles for operands that are turned; None where there are none, or too many."""
    turned = find_turned(domain, accesses, groups, LEAST)
    if turned is None or len(turned.accesses) > MOST_TILES:
        return None
    outer = tuple(g for g in groups[:-1] if g != turned.group)
    return Squares(domain, outer, turned, groups[-1], sizes)
