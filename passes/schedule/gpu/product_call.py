"""A product to the kernel that suits it: by matrix units or by fused multiply-adds, in tiles of a size that fits."""

from __future__ import annotations

from mlc.ir.target import GpuTarget
from mlc.passes.schedule.region import KernelCall

from .matrix_product import matrix_product
from .product import Product
from .tile import choose_matrix_tile, choose_tile
from .tiled_product import tiled_product


def product_call(product: Product, target: GpuTarget) -> KernelCall:
    """The kernel that computes ``product``."""
    sizes = product.batch, product.left.extent, product.right.extent
    if product.factor is not None:
        return matrix_product(product, choose_matrix_tile(*sizes, target), product.factor)
    return tiled_product(product, choose_tile(*sizes, product.frame.accumulator, target))
