"""How sums of products are cut for a GPU: the tile of a block, what each thread has of it, parts of deep sums."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlc.ir.dims import Size, bounds
from mlc.ir.target import GpuTarget
from mlc.ir.types import DType


@dataclass(frozen=True, slots=True)
class Tile:
    """A block of ``by_rows`` x ``by_columns`` threads computes ``rows`` x ``columns`` sums, ``depth`` products at once.

    A thread has vectors of ``lanes`` neighbours of both, evenly spread over the tile, so that a warp reads shared
    memory without conflicts.
    """

    rows: int
    columns: int
    depth: int
    by_rows: int
    by_columns: int
    lanes: int

    @property
    def threads(self) -> int:
        return self.by_rows * self.by_columns

    @property
    def row_vectors(self) -> int:
        """Vectors of rows that a thread has."""
        return self.rows // (self.by_rows * self.lanes)

    @property
    def column_vectors(self) -> int:
        return self.columns // (self.by_columns * self.lanes)


@dataclass(frozen=True, slots=True)
class MatrixTile:
    """As a ``Tile``, of ``by_rows`` x ``by_columns`` warps, by their matrix units."""

    rows: int
    columns: int
    depth: int
    by_rows: int
    by_columns: int

    @property
    def threads(self) -> int:
        return 32 * self.by_rows * self.by_columns

    @property
    def warp_rows(self) -> int:
        return self.rows // self.by_rows

    @property
    def warp_columns(self) -> int:
        return self.columns // self.by_columns


SLOWNESS = {128: 1.0, 64: 1.25, 32: 1.7}  # of a multiply-add, by the rows of the tile that it is part of
LINE_BYTES = 64
MATRIX_TILES = (MatrixTile(128, 128, 32, 2, 4), MatrixTile(64, 64, 32, 2, 2), MatrixTile(32, 32, 32, 2, 2))


def choose_tile(batch: Size, m: Size, n: Size, accumulator: DType, target: GpuTarget) -> Tile:
    """The tile that takes least time: large ones move less, small ones keep more multiprocessors busy."""
    lanes = min(target.lanes(accumulator), 4)
    depth = 16 if accumulator.itemsize <= 4 else 8  # of f64, more would not stay in registers
    tiles = [Tile(64, 64, depth, 8, 16, lanes), Tile(32, 32, depth, 8, 8, lanes)]
    if accumulator.itemsize <= 4:
        tiles.insert(0, Tile(128, 64, 16, 16, 8, lanes))
    return min(tiles, key=lambda t: _cost(t, batch, m, n, target))


def choose_matrix_tile(batch: Size, m: Size, n: Size, dtype: DType, target: GpuTarget) -> MatrixTile:
    """The same, of lines of 64 bytes along K."""
    tile = min(MATRIX_TILES, key=lambda t: _cost(t, batch, m, n, target))
    return replace(tile, depth=LINE_BYTES // dtype.itemsize)


def count_blocks(tile: Tile | MatrixTile, batch: Size, m: Size, n: Size) -> int:
    """The most blocks that compute ``batch`` products of m x n."""
    return bounds(batch)[1] * -(-bounds(m)[1] // tile.rows) * -(-bounds(n)[1] // tile.columns)


def _cost(tile: Tile | MatrixTile, batch: Size, m: Size, n: Size, target: GpuTarget) -> float:
    """Of the multiprocessor that has most to do."""
    turns = max(-(-count_blocks(tile, batch, m, n) // target.multiprocessors), 1)
    return turns * tile.rows * tile.columns * SLOWNESS[tile.rows]
