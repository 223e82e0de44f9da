"""Sizes of windows that slide over axes, as StableHLO counts them: padding, dilation and strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError
from ..dims import Dim, Size, bounds
from ..types import TensorType
from .op import Array

Pairs = tuple[tuple[int, int], ...]


def dilated(n: Size, dilation: int) -> Size:
    """The size of ``n`` elements with ``dilation - 1`` others between any two."""
    if isinstance(n, Dim):
        return n if dilation == 1 else (n - 1) * dilation + 1
    return (n - 1) * dilation + 1 if n else 0


def count_windows(name: str, axis: int, padded: Size, window: Size, stride: int) -> Size:
    """How many windows of a (dilated) size fit into a padded axis; raises ShapeError where that is no size."""
    if isinstance(padded, int) and isinstance(window, int):
        return 0 if padded == 0 or window > padded else (padded - window) // stride + 1
    room = padded - window
    if bounds(room)[0] < 0:
        raise ShapeError(f"{name}: the window of size {window} may not fit into axis {axis}, which has {padded} padded")
    if stride == 1:
        return room + 1
    count = room.divided_by(stride) if isinstance(room, Dim) else room // stride
    if count is None:
        raise ShapeError(f"{name}: the windows along axis {axis} cannot be counted: ({room}) // {stride} is not always "
                         "a size", hint="a stride of 1 takes symbolic sizes")  # fmt: skip
    return count + 1


def require_window(name: str, rank: int, attributes: dict[str, Any], words: Sequence[str]) -> None:
    """Each attribute of ``words`` has one positive int an axis, ``padding`` a pair of ints."""
    for word in words:
        values = attributes[word]
        if len(values) != rank or any(v < 1 for v in values):
            raise ShapeError(
                f"{name}: {word} {list(values)} must be {rank} positive numbers, one an axis of the window"
            )
    padding = attributes["padding"]
    if len(padding) != rank or any(len(pair) != 2 for pair in padding):
        raise ShapeError(f"{name}: padding {[list(p) for p in padding]} must be {rank} pairs (low, high), one an axis "
                         "of the window")  # fmt: skip


def padded_size(name: str, operand: TensorType, axis: int, dilation: int, pair: tuple[int, int]) -> Size:
    """The size of an axis dilated and padded; raises ShapeError where a negative padding leaves less than nothing."""
    n = operand.shape[axis]
    if dilation > 1 and isinstance(n, Dim) and n.bounds[0] < 1:
        raise ShapeError(f"{name}: dilation of {operand} needs sizes of at least 1, and {n} can be 0")
    total = dilated(n, dilation) + (pair[0] + pair[1])
    if bounds(total)[0] < 0:
        raise ShapeError(f"{name}: padding {pair} leaves {total} elements along axis {axis} of {operand}")
    return total


def spread(x: Array, axes: Sequence[int], dilation: Sequence[int], padding: Pairs, value: Any) -> Array:
    """``x`` dilated and padded along ``axes`` with ``value``; negative paddings cut."""
    shape, inner, cut = list(x.shape), [slice(None)] * x.ndim, [slice(None)] * x.ndim
    for axis, k, (low, high) in zip(axes, dilation, padding, strict=True):
        n = max(x.shape[axis] - 1, 0) * k + min(x.shape[axis], 1)
        shape[axis] = n + max(low, 0) + max(high, 0)
        inner[axis] = slice(max(low, 0), max(low, 0) + n, k)
        cut[axis] = slice(max(-low, 0), shape[axis] - max(-high, 0))
    out = np.full(shape, value, x.dtype)
    out[tuple(inner)] = x
    return np.asarray(out[tuple(cut)])


def window_counts(name: str, operand: TensorType, attributes: dict[str, Any]) -> tuple[Size, ...]:
    """How many windows fit along each axis of ``operand``; attributes that are not there are neutral."""
    rank = operand.rank
    one = (1,) * rank
    words = ("window_dimensions", "window_strides", "base_dilations", "window_dilations")
    require_window(name, rank, attributes, [w for w in words if w in attributes])
    counts = []
    for axis in range(rank):
        padded = padded_size(
            name, operand, axis, attributes.get("base_dilations", one)[axis], attributes["padding"][axis]
        )
        window = dilated(attributes["window_dimensions"][axis], attributes.get("window_dilations", one)[axis])
        counts.append(count_windows(name, axis, padded, window, attributes["window_strides"][axis]))
    return tuple(counts)


def windows_at(offset: Sequence[int], counts: Sequence[int], strides: Sequence[int]) -> tuple[slice, ...]:
    """The elements at ``offset`` in each of ``counts`` windows ``strides`` apart."""
    return tuple(slice(a, a + (n - 1) * s + 1 if n else a, s) for a, n, s in zip(offset, counts, strides, strict=True))
