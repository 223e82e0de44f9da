"""Where the windows of a gather or scatter lie: which axis of operand, indices and result is which, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import DTypeError, ShapeError
from ..dims import bounds
from ..types import Shape, TensorType
from .op import Array
from .typing import require_axes

FARTHEST = 1 << 62  # start indices beyond are as far outside of any array


@dataclass(frozen=True, slots=True)
class Windows:
    """A window of ``sizes`` of the operand for each vector of start indices; StableHLO's numbers under short names.

    Axes of the operand are ``dropped`` (of size 1 in every window), ``batching`` (walked together with the axes
    ``indices_batching`` of the indices) or window axes; axis ``index_map[k]`` starts at element k of the index vector.
    ``window_dims`` are the axes of the windowed tensor (a gather's result, a scatter's updates) that lie in a window.
    """

    operand: TensorType
    indices: TensorType
    sizes: Shape
    window_dims: tuple[int, ...]
    dropped: tuple[int, ...]
    batching: tuple[int, ...]
    indices_batching: tuple[int, ...]
    index_map: tuple[int, ...]
    index_vector_dim: int

    @property
    def index_axes(self) -> tuple[int, ...]:
        """The axes of the indices but for the one along which a vector lies."""
        return tuple(i for i in range(self.indices.rank) if i != self.index_vector_dim)

    @property
    def batch_shape(self) -> Shape:
        """How many windows there are."""
        return tuple(self.indices.shape[i] for i in self.index_axes)

    @property
    def window_axes(self) -> tuple[int, ...]:
        """The operand's axes that windows have; ``window_dims[i]`` is the i-th of them in the windowed tensor."""
        return tuple(i for i in range(self.operand.rank) if i not in self.dropped and i not in self.batching)

    @property
    def rank(self) -> int:
        """Of the windowed tensor."""
        return len(self.batch_shape) + len(self.window_dims)

    @property
    def batch_dims(self) -> tuple[int, ...]:
        """The axes of the windowed tensor that number windows, one for each of ``index_axes``."""
        return tuple(i for i in range(self.rank) if i not in self.window_dims)

    @property
    def shape(self) -> Shape:
        """The windowed tensor's."""
        axes = dict(zip(self.batch_dims, self.batch_shape, strict=True))
        axes |= {d: self.sizes[a] for d, a in zip(self.window_dims, self.window_axes, strict=True)}
        return tuple(axes[i] for i in range(self.rank))

    @property
    def batching_dims(self) -> tuple[int, ...]:
        """For each of ``batching``, the axis of the windowed tensor that is walked with it."""
        return tuple(self.batch_dims[self.index_axes.index(i)] for i in self.indices_batching)

    def check(self, name: str, *, inside: bool) -> None:
        """Raise ShapeError or DTypeError for numbers that do not fit the operand and the indices.

        ``inside`` says that windows lie inside of the operand, also along the axes on which indices place them.
        """
        operand, indices, rank = self.operand, self.indices, self.operand.rank
        if not indices.dtype.is_integer:
            raise DTypeError(f"{name}: start indices are {indices}; they must be integers")
        if not 0 <= self.index_vector_dim <= indices.rank:
            raise ShapeError(f"{name}: index_vector_dim {self.index_vector_dim} is no axis of {indices} nor behind it")
        length = 1 if self.index_vector_dim == indices.rank else indices.shape[self.index_vector_dim]
        if length != len(self.index_map):
            raise ShapeError(f"{name}: index vectors of {indices} have {length} elements, "
                             f"{list(self.index_map)} names {len(self.index_map)} axes")  # fmt: skip
        require_axes(name, self.index_map, rank, "start axes")
        require_axes(name, (*self.dropped, *self.batching), rank, "collapsed and batching axes")
        if set(self.index_map) & set(self.batching):
            raise ShapeError(f"{name}: axes {list(self.index_map)} and batching axes {list(self.batching)} overlap")
        if len(self.batching) != len(self.indices_batching):
            raise ShapeError(f"{name}: {len(self.batching)} batching axes of the operand, "
                             f"{len(self.indices_batching)} of the indices")  # fmt: skip
        require_axes(name, self.indices_batching, indices.rank, "batching axes of the indices")
        if self.index_vector_dim in self.indices_batching:
            raise ShapeError(f"{name}: index vectors of {indices} lie along batching axis {self.index_vector_dim}")
        for i, j in zip(self.batching, self.indices_batching, strict=True):
            if operand.shape[i] != indices.shape[j]:
                raise ShapeError(f"{name}: batching axis {i} of {operand} has {operand.shape[i]}, "
                                 f"axis {j} of {indices} has {indices.shape[j]}")  # fmt: skip
        if len(self.window_dims) != len(self.window_axes):
            raise ShapeError(f"{name}: windows have {len(self.window_axes)} axes of {operand}, "
                             f"{len(self.window_dims)} window dimensions are named")  # fmt: skip
        require_axes(name, self.window_dims, self.rank, "window dimensions")
        if list(self.window_dims) != sorted(self.window_dims):
            raise ShapeError(f"{name}: window dimensions {list(self.window_dims)} are not in order")
        self._check_sizes(name, inside)

    def _check_sizes(self, name: str, inside: bool) -> None:
        if len(self.sizes) != self.operand.rank:
            raise ShapeError(f"{name}: {len(self.sizes)} window sizes for {self.operand}")
        for axis, (size, whole) in enumerate(zip(self.sizes, self.operand.shape, strict=True)):
            if size != 1 and (axis in self.dropped or axis in self.batching):
                raise ShapeError(f"{name}: windows have {size} elements of axis {axis}, which is left out")
            if axis in self.batching:  # as many windows as elements, be it none
                continue
            placed = axis in self.index_map and not inside
            if size != whole and not placed and (bounds(size)[0] < 0 or bounds(whole - size)[0] < 0):
                raise ShapeError(f"{name}: windows of {size} elements do not fit axis {axis} of {self.operand}")

    # On arrays

    def starts(self, indices: Array, operand_rank: int) -> Array:
        """The first element of each window as i64, before it is clamped: of the shape of the batch and (rank,)."""
        vectors = indices[..., None] if self.index_vector_dim == indices.ndim else indices
        vectors = np.moveaxis(vectors, self.index_vector_dim, -1)
        near = np.minimum(vectors, np.array(FARTHEST, vectors.dtype)) if vectors.dtype == np.uint64 else vectors
        found = np.zeros((*vectors.shape[:-1], operand_rank), np.int64)
        for k, axis in enumerate(self.index_map):
            found[..., axis] = near[..., k]
        for axis, i in zip(self.batching, self.indices_batching, strict=True):
            at = self.index_axes.index(i)
            line = np.arange(vectors.shape[at])
            found[..., axis] = line.reshape([-1 if k == at else 1 for k in range(vectors.ndim - 1)])
        return found

    def coordinates(self, starts: Array, sizes: Sequence[int]) -> list[Array]:
        """For each axis of the operand where the windowed tensor's elements lie, each broadcastable to its shape."""
        found = []
        names = dict(zip(self.window_axes, self.window_dims, strict=True))
        for axis in range(starts.shape[-1]):
            first = np.expand_dims(starts[..., axis], tuple(self.window_dims))
            if axis in names:
                line = np.arange(sizes[names[axis]])
                first = first + line.reshape([-1 if k == names[axis] else 1 for k in range(self.rank)])
            found.append(first)
        return found
