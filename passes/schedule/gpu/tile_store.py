"""What follows the sums of a tile: the epilogue at each vector of them, where it lies inside of the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlc.ir.kernel import Index, IndexLike, Value
from mlc.passes.schedule.tasks import counted

from .product import Batch, Product

MOST_WRITTEN = 400  # instructions of epilogues that are written out one after another; more are looped over

Place = Callable[[IndexLike], tuple[Index, Index]]  # row and column of a vector of sums, by its number


def store_sums(product: Product, batch: Batch, tile: tuple[int, int], sums: Sequence[Value], place: Place) -> None:
    """Stores a thread's vectors of neighbouring columns, each at its place, of a block of ``tile`` rows x columns."""
    b = product.builder
    if product.frame.epilogue_weight * len(sums) <= MOST_WRITTEN:
        for number, total in enumerate(sums):
            _store_inside(product, batch, tile, *place(number), total)
        return
    with b.loop(0, len(sums), carried=sums) as loop:  # the sums go round, the first one is stored
        _store_inside(product, batch, tile, *place(loop.index), loop.carried[0])
        b.yield_(*loop.carried[1:], loop.carried[0])


def _store_inside(
    product: Product, batch: Batch, tile: tuple[int, int], row: Index, column: Index, total: Value
) -> None:
    """Stores a vector, or as much of it as lies inside of the results."""
    b, lanes = product.builder, total.lanes
    m, n = product.left.extent, product.right.extent
    left = [
        product.index(size) - at
        for size, at, grain in ((m, row, tile[0]), (n, column, tile[1]))
        if not (isinstance(size, int) and size % grain == 0)
    ]
    whole = isinstance(n, int) and n % lanes == 0

    def store(_: Index) -> None:
        mask = None if whole else b.tail_mask(column, product.index(n), lanes)
        product.store(batch, row, column, total, mask)

    if not left:
        store(Index.of(0))
        return
    least = left[0] if len(left) == 1 else b.min(left[0], left[1])
    counted(b, Index.of(0), b.min(b.max(least, 0), 1), store)
