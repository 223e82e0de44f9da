"""A product to the kernel that suits it: by matrix units or by fused multiply-adds, in tiles of a size that fits."""

from __future__ import annotations

from mlc.ir.dims import Size, bounds
from mlc.ir.target import GpuTarget
from mlc.passes.schedule.region import KernelCall

from .matrix_product import matrix_product
from .product import Product
from .tile import MATRIX_TILES, choose_matrix_tile, choose_tile, count_blocks
from .tiled_product import tiled_product

SHORTEST_PART = 128  # products of a part of a sum
BUSY = 2  # blocks of a multiprocessor: while one waits for memory, the other multiplies
MOST_TEMPORARY = 1 << 22  # elements of all parts together


def product_call(product: Product, target: GpuTarget) -> KernelCall:
    """The kernel that computes ``product``."""
    sizes = product.batch, product.left.extent, product.right.extent
    if product.factor is not None:
        return matrix_product(product, choose_matrix_tile(*sizes, product.factor, target), product.factor)
    return tiled_product(product, choose_tile(*sizes, product.frame.accumulator, target))


def parts_of_depth(batch: Size, m: Size, n: Size, depth: Size, target: GpuTarget) -> tuple[int, int] | None:
    """The number and the length of parts of a deep sum, where there are too few results to keep a GPU busy.

    By shape and target alone, so that sums have one order.
    """
    middle = MATRIX_TILES[1]
    blocks = count_blocks(middle, batch, m, n)
    if not isinstance(depth, int) or batch != 1 or 2 * blocks > target.multiprocessors or bounds(m)[1] == 0:
        return None
    most = MOST_TEMPORARY // max(bounds(m)[1] * bounds(n)[1], 1)
    count = min(-(-BUSY * target.multiprocessors // max(blocks, 1)), depth // SHORTEST_PART, most)
    if count < 2:
        return None
    length = -(-depth // (count * middle.depth)) * middle.depth
    return -(-depth // length), length
