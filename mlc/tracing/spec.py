"""ShapeDtype: the shape and element type of an argument without its data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

from mlc.errors import ArgumentError, DTypeError, ShapeError
from mlc.ir.dims import Dim, Size, bounds
from mlc.ir.graph.verify import MAX_BYTES
from mlc.ir.types import DType, Shape, TensorType, dtype_of


class ShapeDtype:
    """What to compile for: ``shape`` (ints, or ``mlc.dim`` for sizes known at the call) and ``dtype``.

    Raises ArgumentError for a negative or fractional size, DTypeError for what is no element type of mlc, ShapeError
    for 2**63 bytes or more.

    Example:
        >>> ShapeDtype((2, 3), "f32")
        ShapeDtype((2, 3), f32)
        >>> from mlc.ir.dims import dim
        >>> ShapeDtype((dim("batch", 1, 64), 3), "f32").type
        f32[batch,3]
    """

    __slots__ = ("type",)

    type: TensorType

    def __init__(self, shape: Sequence[Size] | Size, dtype: object = "f32") -> None:
        several = hasattr(shape, "__iter__") and getattr(shape, "ndim", 1) != 0
        sizes = tuple(cast("Iterable[object]", shape)) if several else (shape,)
        found = TensorType(tuple(_size(n) for n in sizes), element_type(dtype))
        if math.prod(bounds(n)[0] for n in found.shape) * found.dtype.itemsize >= MAX_BYTES:
            raise ShapeError(f"shape: {found} takes 2**63 bytes or more", hint="no machine has that much memory")
        object.__setattr__(self, "type", found)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"ShapeDtype is immutable: cannot set {name}")

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return self.type.rank

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeDtype) and self.type == other.type

    def __hash__(self) -> int:
        return hash(self.type)

    def __repr__(self) -> str:
        return f"ShapeDtype({self.shape}, {self.dtype})"


def element_type(spec: object) -> DType:
    """``dtype_of`` with mlc's own error."""
    try:
        return dtype_of(spec)
    except TypeError as error:
        raise DTypeError(str(error)) from None


def _size(n: object) -> Size:
    if isinstance(n, Dim):
        return n
    try:
        size = n.__index__()  # type: ignore[attr-defined]
    except AttributeError:
        raise ArgumentError(f"shape: {n!r} is no size", hint="sizes are ints or mlc.dim(name, lower, upper)") from None
    if size < 0:
        raise ArgumentError(f"shape: {size} is negative")
    return int(size)
