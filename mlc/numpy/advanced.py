"""Indices that are arrays or traced numbers: NumPy's advanced indexing as gathers and scatters.

An index array takes out the axis it stands at; several broadcast together, and their axes stand where the first of them
did, or in front where a slice, ``...`` or None stands between them. Negative indices count from the end. What lies
outside cannot be known while tracing: reads are clamped to the nearest element, updates outside are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlc.errors import ShapeError
from mlc.ir.dims import Size, bounds
from mlc.ir.graph import (
    ADD,
    COMPARE,
    CONCATENATE,
    CONSTANT,
    CONVERT,
    DYNAMIC_SLICE,
    DYNAMIC_UPDATE_SLICE,
    MINIMUM,
    REVERSE,
    SELECT,
    SLICE,
    Node,
    Op,
    Windows,
    broadcast_in_dim,
    constant,
    fill,
    gather,
    scatter_windows,
    size_value,
)  # fmt: skip
from mlc.ir.graph import reshape as reshape_node
from mlc.ir.types import I32, I64, Shape

from .promotion import broadcast_node, broadcast_shapes


@dataclass(frozen=True, slots=True)
class Part:
    """What one item of a key does: takes a slice of ``axis``, or elements at ``index``; without either, a new axis.

    A slice counts upward from ``start`` to ``limit`` (not included) by ``step``; ``flipped`` ones are read backwards. A
    slice of one element that an int names is not ``kept``: the result does not have its axis. One that stands ``apart``
    has a ``...`` before it, which counts as an item where it stands for no axes too.
    """

    axis: int | None = None
    index: Node | None = None
    start: int = 0
    limit: Size = 0
    step: int = 1
    size: Size = 1
    flipped: bool = False
    kept: bool = True
    apart: bool = False

    @property
    def is_slice(self) -> bool:
        return self.axis is not None and self.index is None


Key = Sequence[Part]


def take_part(x: Node, key: Key) -> Node:
    """The elements of ``x`` that ``key`` names."""
    x = _sliced(x, key)
    indexed = [p for p in key if p.index is not None]
    if not indexed:
        taken = x
    elif all(_index(p).shape == () for p in indexed):
        taken = _at_scalars(x, indexed)
    else:
        batch = batch_of(indexed)
        axes = [_axis(p) for p in indexed]
        kept = [a for a in range(len(x.shape)) if a not in axes]
        front = sum(p.is_slice for p in key[: _first(key)]) if _together(key) else 0
        dims = tuple(i if i < front else i + len(batch) for i in range(len(kept)))
        sizes = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        vectors, vector_dim = _vectors([normalized(_index(p), x.shape[_axis(p)], x, _axis(p)) for p in indexed], batch)
        windows = Windows(x.tensor, vectors.tensor, sizes, dims, tuple(sorted(axes)), (), (), tuple(axes), vector_dim)
        taken = gather(x, vectors, windows)
    return reshape_node(taken, _shape(key))


def update_part(x: Node, key: Key, value: Node, op: Op | None) -> Node:
    """``x`` with ``value``, which broadcasts, joined by ``op`` to the elements that ``key`` names; None overwrites."""
    shape = _shape(key)
    if len(value.shape) > len(shape) or any(
        n not in (1, m) for n, m in zip(reversed(value.shape), reversed(shape), strict=False)
    ):
        raise ShapeError(f"at: a value of {value.type} does not broadcast to the {x.tensor.with_shape(shape)} "
                         "that the key names")  # fmt: skip
    value = broadcast_node(value, shape)
    order = _result_order(key)
    kept = [p for p in order if p is None or p.axis is not None]
    batch = batch_of([p for p in key if p.index is not None])
    value = reshape_node(value, tuple(n for p in kept for n in ((p.size,) if p is not None else batch)))
    turned = tuple(d for d, p in _dims(kept, len(batch)) if p is not None and p.flipped)
    value = REVERSE(value, dimensions=turned) if turned else value
    slices = [p for p in kept if p is not None and p.step == 1]
    if len(slices) == len(kept):
        return _update_slice(x, slices, value, op)
    return _scatter(x, key, kept, value, op)


# ---------------------------------------------------------------- reads


def _sliced(x: Node, key: Key) -> Node:
    parts = {_axis(p): p for p in key if p.is_slice}
    start = tuple(parts[a].start if a in parts else 0 for a in range(len(x.shape)))
    limit = tuple(parts[a].limit if a in parts else n for a, n in enumerate(x.shape))
    steps = tuple(parts[a].step if a in parts else 1 for a in range(len(x.shape)))
    if not all(a == 0 and s == 1 and b == n for a, b, s, n in zip(start, limit, steps, x.shape, strict=True)):
        x = SLICE(x, start=start, limit=limit, strides=steps)
    turned = tuple(sorted(a for a, p in parts.items() if p.flipped))
    return REVERSE(x, dimensions=turned) if turned else x


def _at_scalars(x: Node, indexed: Sequence[Part]) -> Node:
    """One element of each indexed axis: a window that starts at scalars."""
    starts = [constant(np.int32(0), I32)] * len(x.shape)
    for p in indexed:
        starts[_axis(p)] = normalized(_index(p), x.shape[_axis(p)], x, _axis(p))
    axes = [_axis(p) for p in indexed]
    return DYNAMIC_SLICE(x, *starts, slice_sizes=tuple(1 if a in axes else n for a, n in enumerate(x.shape)))


# ---------------------------------------------------------------- updates


def _update_slice(x: Node, parts: Sequence[Part], value: Node, op: Op | None) -> Node:
    """An update of slices alone, whose places are known."""
    starts = [constant(np.int32(0), I32)] * len(x.shape)
    for p in parts:
        starts[_axis(p)] = constant(np.int32(p.start), I32)
    if op is not None:
        start, limit = tuple(p.start for p in parts), tuple(p.limit for p in parts)
        whole = all(a == 0 and b == n for a, b, n in zip(start, limit, x.shape, strict=True))
        value = op(x if whole else SLICE(x, start=start, limit=limit, strides=(1,) * len(start)), value)
    return value if value.shape == x.shape else DYNAMIC_UPDATE_SLICE(x, value, *starts)


def _scatter(x: Node, key: Key, kept: Sequence[Part | None], value: Node, op: Op | None) -> Node:
    """Whole slices are windows, part of an axis is a window that starts at a constant, strides are indices."""
    indexed = [p for p in key if p.index is not None]
    together = batch_of(indexed)
    batch: list[Size] = []
    where: dict[int, int] = {}  # axis of a stride -> its axis of the batch
    first = 0  # axis of the batch at which those of the index arrays stand
    windows: list[int] = []
    for d, p in _dims(kept, len(together)):
        if p is None:
            first = len(batch)
            batch += together
        elif p.step != 1:
            where[_axis(p)] = len(batch)
            batch.append(p.size)
        else:
            windows.append(d)
    shape = tuple(batch)
    placed: dict[int, Node] = {}
    for p in indexed:
        index = broadcast_node(normalized(_index(p), x.shape[_axis(p)], x, _axis(p)), together)
        placed[_axis(p)] = broadcast_in_dim(index, shape, tuple(range(first, first + len(together))))
    sizes = list(x.shape)
    for p in kept:
        if p is None:
            continue
        axis = _axis(p)
        if axis in where:
            line = constant(np.arange(p.size if isinstance(p.size, int) else 0) * p.step + p.start, I64)
            placed[axis] = broadcast_in_dim(line, shape, (where[axis],))
        elif p.size != x.shape[axis]:
            sizes[axis] = p.size
            placed[axis] = broadcast_in_dim(constant(np.int64(p.start), I64), shape, ())
    dropped = [a for a in placed if a in where or any(_axis(p) == a for p in indexed)]
    for a in dropped:
        sizes[a] = 1
    vectors, vector_dim = _vectors(list(placed.values()), shape)
    found = Windows(x.tensor, vectors.tensor, tuple(sizes), tuple(windows), tuple(sorted(dropped)), (), (),
                    tuple(placed), vector_dim)  # fmt: skip
    return scatter_windows(x, vectors, value, found, op, unique_indices=not indexed)


# ---------------------------------------------------------------- indices


def normalized(index: Node, n: Size, x: Node, axis: int) -> Node:
    """``index`` with its negative elements counted from the end of an axis of ``n``.

    Raises ShapeError for a known index outside of the axis.
    """
    if index.op is CONSTANT:
        return _known(index, n, x, axis)
    if index.dtype.kind == "uint":
        return index
    if bounds(n)[1] > index.dtype.limits[1]:
        index = CONVERT(index, dtype=I32 if bounds(n)[1] < 1 << 31 else I64)
    size = CONVERT(size_value(n), dtype=index.dtype)
    below = COMPARE(index, fill(0.0, index.tensor), direction="LT")
    return SELECT(below, ADD(index, broadcast_node(size, index.shape)), index)


def _known(index: Node, n: Size, x: Node, axis: int) -> Node:
    values = index["value"].array
    if isinstance(n, int):
        wrong = (values < -n) | (values >= n)
        if wrong.any():
            raise ShapeError(
                f"getitem: index {values[wrong].reshape(-1)[0]} is outside of axis {axis} of operand {x.type}, "
                f"which {f'has indices {-n} to {n - 1}' if n else 'is empty'}",
                hint="indices count from 0 at the front, from -1 at the end",
            )
        return constant(np.where(values < 0, values.astype(np.int64) + n, values), I64)
    if (values >= 0).all():
        return index
    size = broadcast_node(size_value(n), index.shape)
    return ADD(constant(values.astype(np.int64), I64), SELECT(constant(values < 0), size, fill(0.0, size.tensor)))


def _vectors(indices: Sequence[Node], batch: Shape) -> tuple[Node, int]:
    """The index vectors and the axis along which they lie: behind the last where they have one element."""
    wide = any(i.dtype.bits == 64 for i in indices) or any(i.dtype.kind == "uint" for i in indices)
    if len({i.dtype for i in indices}) > 1:
        indices = [as_signed(i) if wide or i.dtype.bits < 32 else i for i in indices]
        indices = [CONVERT(i, dtype=I64) for i in indices]
    indices = [broadcast_node(i, batch) for i in indices]
    if len(indices) == 1:
        return indices[0], len(batch)
    return CONCATENATE(*(reshape_node(i, (*batch, 1)) for i in indices), dimension=len(batch)), len(batch)


def as_signed(index: Node) -> Node:
    """Indices as i64; those of u64 that do not fit are the largest."""
    if index.dtype.kind == "uint" and index.dtype.bits == 64:
        most = constant(np.uint64(1 << 62), index.dtype)
        index = MINIMUM(index, broadcast_in_dim(most, index.shape, ()))
    return CONVERT(index, dtype=I64)


def batch_of(indexed: Sequence[Part]) -> Shape:
    """The shape to which the index arrays broadcast."""
    return broadcast_shapes("getitem", *(_index(p).tensor for p in indexed)) if indexed else ()


# ---------------------------------------------------------------- the axes of the result


def _result_order(key: Key) -> list[Part | None]:
    """What the axes of the result come from, in order: slices, new axes and, once, None for those of the arrays."""
    rest: list[Part | None] = [p for p in key if p.index is None]
    if any(p.index is not None for p in key):
        rest.insert(sum(p.index is None for p in key[: _first(key)]) if _together(key) else 0, None)
    return rest


def _dims(order: Sequence[Part | None], arrays: int) -> list[tuple[int, Part | None]]:
    """Each with the first of its axes."""
    found, d = [], 0
    for p in order:
        found.append((d, p))
        d += arrays if p is None else 1
    return found


def _shape(key: Key) -> Shape:
    batch = batch_of([p for p in key if p.index is not None])
    order = [p for p in _result_order(key) if p is None or p.kept]
    return tuple(n for p in order for n in ((p.size,) if p is not None else batch))


def _first(key: Key) -> int:
    return next(k for k, p in enumerate(key) if p.index is not None)


def _together(key: Key) -> bool:
    """Whether no other item stands between those that are arrays."""
    places = [k for k, p in enumerate(key) if p.index is not None]
    return places[-1] - places[0] == len(places) - 1 and not any(key[k].apart for k in places[1:])


def _axis(part: Part) -> int:
    assert part.axis is not None
    return part.axis


def _index(part: Part) -> Node:
    assert part.index is not None
    return part.index


__all__ = ["Key", "Part", "normalized", "take_part", "update_part"]
