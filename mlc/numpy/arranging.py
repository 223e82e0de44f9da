"""Functions that turn arrays around, repeat their elements and take them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlc.errors import ArgumentError, ShapeError, UnsupportedError
from mlc.ir.dims import bounds
from mlc.ir.graph import (
    ADD,
    CONCATENATE,
    IOTA,
    REVERSE,
    Windows,
    broadcast_in_dim,
    constant,
    fill,
    gather,
    size_value,
)  # fmt: skip
from mlc.ir.graph import reshape as reshape_node
from mlc.ir.graph.node import Node
from mlc.ir.types import I32, I64, Shape
from mlc.tracing.lift import as_node
from mlc.tracing.location import user_location
from mlc.tracing.tracer import Tracer

from .apply import python_remainder
from .axes import Axes, one_axis, some_axes
from .dispatch import operation
from .manipulation import part_of_axis
from .promotion import broadcast_node, broadcast_shapes, wrap


@operation("x")
def flip(x: object, /, axis: Axes = None) -> Tracer:
    """The elements along ``axis`` (all where None) in reverse order.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.flip(mnp.asarray([1, 2, 3])).tolist()
        [3, 2, 1]
    """
    node = as_node(x, None, "flip: operand")
    return wrap(REVERSE(node, dimensions=tuple(sorted(some_axes("flip", axis, node.tensor)))))


@operation("x")
def roll(x: object, /, shift: int | Sequence[int], axis: Axes = None) -> Tracer:
    """The elements along ``axis`` moved by ``shift`` places; what leaves at the end enters at the front.

    Several axes have a shift each, or all the same; without an axis all elements move in row-major order. Raises
    ArgumentError where there are not as many shifts as axes, ShapeError for a symbolic axis that may be empty.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.roll(mnp.arange(4), 1, axis=0).tolist()
        [3, 0, 1, 2]
    """
    node = as_node(x, None, "roll: operand")
    if axis is None:
        if not isinstance(shift, int):
            raise ArgumentError(f"roll: shift is {shift}, without an axis one number")
        return wrap(reshape_node(_rolled(reshape_node(node, (node.tensor.size,)), shift, 0), node.shape))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    if len(shifts) != len(axes):
        raise ArgumentError(f"roll: shift {shifts} has {len(shifts)} numbers, axis {axes} has {len(axes)}")
    for a, k in zip(axes, shifts, strict=True):
        node = _rolled(node, k, one_axis("roll", a, node.tensor))
    return wrap(node)


def _rolled(node: Node, shift: int, axis: int) -> Node:
    n = node.shape[axis]
    if not isinstance(n, int):
        return _rolled_by_places(node, shift, axis)
    cut = -shift % n if n else 0
    if cut == 0:
        return node
    return CONCATENATE(part_of_axis(node, axis, cut, n), part_of_axis(node, axis, 0, cut), dimension=axis)


def _rolled_by_places(node: Node, shift: int, axis: int) -> Node:
    """Along an axis whose size is known at the call: element i is that at i - shift, modulo the size."""
    if bounds(node.shape[axis])[0] < 1:
        raise ShapeError(f"roll: axis {axis} of operand {node.type} is symbolic and may be empty")
    place = IOTA(shape=(node.shape[axis],), dtype=I64, dimension=0)
    size = broadcast_node(size_value(node.shape[axis]), place.shape)
    moved = python_remainder(ADD(place, fill(-float(shift), place.tensor)), size)
    sizes = tuple(1 if a == axis else n for a, n in enumerate(node.shape))
    rest = tuple(a for a in range(len(sizes)) if a != axis)
    return gather(node, moved, Windows(node.tensor, moved.tensor, sizes, rest, (axis,), (), (), (axis,), 1))


@operation("x")
def tile(x: object, /, repetitions: int | Sequence[int]) -> Tracer:
    """``x`` repeated whole, ``repetitions[i]`` times along axis i.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.tile(mnp.asarray([1, 2]), 2).tolist()
        [1, 2, 1, 2]
    """
    node = as_node(x, None, "tile: operand")
    times = (repetitions,) if isinstance(repetitions, int) else tuple(repetitions)
    rank = max(len(times), len(node.shape))
    times = (1,) * (rank - len(times)) + times
    shape: Shape = (1,) * (rank - len(node.shape)) + node.shape
    paired = tuple(size for t, n in zip(times, shape, strict=True) for size in (t, n))
    spread = broadcast_in_dim(reshape_node(node, shape), paired, tuple(2 * i + 1 for i in range(rank)))
    return wrap(reshape_node(spread, tuple(t * n for t, n in zip(times, shape, strict=True))))


def repeat(x: object, /, repeats: object, *, axis: int | None = None) -> Any:
    """Each element along ``axis`` repeated ``repeats`` times in place; all elements in a row where ``axis`` is None.

    ``repeats`` is a number or known numbers, one an element; their sum is a size of the result, so that they cannot be
    traced: UnsupportedError. Raises ArgumentError where they are negative or not as many as there are elements.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.repeat(mnp.asarray([1, 2]), 2).tolist()
        [1, 1, 2, 2]
        >>> mnp.repeat(mnp.asarray([1, 2]), mnp.asarray([0, 3])).tolist()
        [2, 2, 2]
    """
    if isinstance(repeats, Tracer):
        raise UnsupportedError(
            f"repeat: how often elements are repeated is a traced {repeats.node.type}, and the result's shape depends "
            "on it", location=str(user_location()), hint="give a number, or an array that is known",
        )  # fmt: skip
    known = np.asarray(repeats)
    if known.dtype.kind not in "iu" or known.ndim > 1 or np.any(known < 0):
        raise ArgumentError(f"repeat: repeats is {repeats!r}, not a number or vector of numbers that are not negative")
    times = tuple(int(n) for n in known.reshape(-1))
    return _repeat(x, times if known.ndim and len(times) != 1 else times[0], axis)


@operation("x")
def _repeat(x: object, /, repeats: int | tuple[int, ...], axis: int | None) -> Tracer:
    node = as_node(x, None, "repeat: operand")
    if axis is None:
        node, axis = reshape_node(node, (node.tensor.size,)), 0
    place = one_axis("repeat", axis, node.tensor)
    if not isinstance(repeats, int):
        if len(repeats) != node.shape[place]:
            raise ArgumentError(f"repeat: {len(repeats)} repeats for axis {place} of operand {node.type}")
        where = constant(np.repeat(np.arange(len(repeats), dtype=np.int32), repeats), I32)
        sizes = tuple(1 if a == place else n for a, n in enumerate(node.shape))
        kept = tuple(a for a in range(len(sizes)) if a != place)
        windows = Windows(node.tensor, where.tensor, sizes, kept, (place,), (), (), (place,), 1)
        return wrap(gather(node, where, windows, indices_are_sorted=True))
    shape = (*node.shape[: place + 1], repeats, *node.shape[place + 1 :])
    spread = broadcast_in_dim(node, shape, tuple(i for i in range(len(shape)) if i != place + 1))
    return wrap(reshape_node(spread, (*node.shape[:place], node.shape[place] * repeats, *node.shape[place + 1 :])))


@operation("x")
def unstack(x: object, /, *, axis: int = 0) -> tuple[Tracer, ...]:
    """The parts of ``x`` along ``axis``, which they do not have. Raises ShapeError where that is symbolic.

    Example:
        >>> import mlc.numpy as mnp
        >>> [a.tolist() for a in mnp.unstack(mnp.asarray([[1, 2], [3, 4]]))]
        [[1, 2], [3, 4]]
    """
    node = as_node(x, None, "unstack: operand")
    place = one_axis("unstack", axis, node.tensor)
    n = node.shape[place]
    if not isinstance(n, int):
        raise ShapeError(f"unstack: axis {place} of operand {node.type} is symbolic: how many parts is not known")
    rest = (*node.shape[:place], *node.shape[place + 1 :])
    return tuple(wrap(reshape_node(part_of_axis(node, place, i, i + 1), rest)) for i in range(n))


@operation("arrays")
def _broadcast_arrays(arrays: Sequence[object]) -> list[Tracer]:
    nodes = [as_node(x, None, "broadcast_arrays: operand") for x in arrays]
    shape = broadcast_shapes("broadcast_arrays", *(n.tensor for n in nodes)) if nodes else ()
    return [wrap(broadcast_node(n, shape)) for n in nodes]


def broadcast_arrays(*arrays: object) -> list[Tracer]:
    """All ``arrays`` in the shape that they broadcast to. Raises ShapeError where there is none.

    Example:
        >>> import mlc.numpy as mnp
        >>> [a.shape for a in mnp.broadcast_arrays(mnp.zeros((3, 1)), mnp.zeros(2))]
        [(3, 2), (3, 2)]
    """
    return _broadcast_arrays(list(arrays))


@operation("arrays")
def _meshgrid(arrays: Sequence[object], indexing: str) -> list[Tracer]:
    nodes = [as_node(x, None, "meshgrid: operand") for x in arrays]
    for node in nodes:
        if len(node.shape) > 1:
            raise ShapeError(f"meshgrid: operand is {node.type}, not a vector")
    sizes = [node.tensor.size for node in nodes]
    order = list(range(len(nodes)))
    if indexing == "xy":
        order[:2] = reversed(order[:2])
    shape = tuple(sizes[i] for i in order)
    return [
        wrap(broadcast_in_dim(reshape_node(node, (size,)), shape, (order.index(i),)))
        for i, (node, size) in enumerate(zip(nodes, sizes, strict=True))
    ]


def meshgrid(*arrays: object, indexing: str = "xy") -> list[Tracer]:
    """The coordinates of a grid with these vectors as its axes, an array of the grid's shape for each.

    With ``indexing="xy"`` the first two axes are exchanged. Raises ShapeError for what is no vector, ArgumentError
    for another ``indexing``.

    Example:
        >>> import mlc.numpy as mnp
        >>> [a.tolist() for a in mnp.meshgrid(mnp.asarray([1, 2, 3]), mnp.asarray([4, 5]))]
        [[[1, 2, 3], [1, 2, 3]], [[4, 4, 4], [5, 5, 5]]]
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f'meshgrid: indexing {indexing!r} is neither "xy" nor "ij"')
    return _meshgrid(list(arrays), indexing)
