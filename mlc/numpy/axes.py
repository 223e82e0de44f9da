"""Axes as users write them (None, negative, one or several) to positions."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from mlc.errors import ArgumentError, ShapeError
from mlc.ir.types import TensorType

Axes = int | Sequence[int] | None


def one_axis(name: str, axis: int, type: TensorType, rank: int | None = None) -> int:
    """``axis`` counted from the front. Raises ShapeError where it is outside of ``rank`` (that of ``type``)."""
    rank = type.rank if rank is None else rank
    if not isinstance(axis, Integral):
        raise ArgumentError(f"{name}: axis {axis!r} is no integer", hint="an axis is an int, axes a tuple of ints")
    if not -rank <= axis < rank:
        words = f"has axes {-rank} to {rank - 1}" if rank else "has no axes"
        raise ShapeError(f"{name}: axis {axis} is outside of operand {type}, which {words}",
                         hint="axes count from 0 at the front, from -1 at the end")  # fmt: skip
    return axis % rank


def some_axes(name: str, axis: Axes, type: TensorType, rank: int | None = None) -> tuple[int, ...]:
    """The axes named, all where None. Raises ShapeError for one outside of the rank or named twice."""
    if axis is None:
        return tuple(range(type.rank if rank is None else rank))
    given = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    found = tuple(one_axis(name, a, type, rank) for a in given)
    if len(set(found)) != len(found):
        raise ShapeError(f"{name}: axes {list(given)} of operand {type} name one axis twice")
    return found
