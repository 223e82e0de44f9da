"""Functions that move elements without computing: shapes, orders of axes, joins and splits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mlc.errors import ArgumentError, ShapeError
from mlc.ir.dims import Dim, Size, size_product
from mlc.ir.graph import CONCATENATE, SLICE, TRANSPOSE
from mlc.ir.graph import reshape as reshape_node
from mlc.ir.graph.node import Node
from mlc.ir.types import Shape, TensorType
from mlc.tracing.lift import as_node, describe
from mlc.tracing.spec import ShapeDtype
from mlc.tracing.tracer import Tracer

from .axes import Axes, one_axis, some_axes
from .dispatch import operation
from .promotion import broadcast_node, common, wrap


@operation("x")
def reshape(x: object, /, shape: Size | Sequence[Size]) -> Tracer:
    """The same elements in row-major order in another shape; one size may be -1, which is computed.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.reshape(mnp.arange(6), (2, -1)).tolist()
        [[0, 1, 2], [3, 4, 5]]
    """
    node = as_node(x, None, "reshape: operand")
    return wrap(
        reshape_node(node, _full_shape(node.tensor, (shape,) if isinstance(shape, int | Dim) else tuple(shape)))
    )


@operation("x")
def ravel(x: object, /) -> Tracer:
    """All elements in one axis.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.ravel(mnp.asarray([[1, 2], [3, 4]])).tolist()
        [1, 2, 3, 4]
    """
    node = as_node(x, None, "ravel: operand")
    return wrap(reshape_node(node, (node.tensor.size,)))


@operation("x")
def permute_dims(x: object, /, axes: Sequence[int] | None = None) -> Tracer:
    """The axes in the order ``axes``; reversed where None.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.permute_dims(mnp.asarray([[1, 2], [3, 4]])).tolist()
        [[1, 3], [2, 4]]
    """
    node = as_node(x, None, "permute_dims: operand")
    rank = len(node.shape)
    order = tuple(reversed(range(rank))) if axes is None else some_axes("permute_dims", axes, node.tensor)
    if len(order) != rank:
        raise ShapeError(f"permute_dims: axes {list(order)} do not name every axis of operand {node.type}")
    return wrap(transpose_node(node, order))


transpose = permute_dims


@operation("x")
def matrix_transpose(x: object, /) -> Tracer:
    """The last two axes swapped. Raises ShapeError for fewer than two.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.matrix_transpose(mnp.asarray([[1, 2], [3, 4]])).tolist()
        [[1, 3], [2, 4]]
    """
    node = as_node(x, None, "matrix_transpose: operand")
    rank = len(node.shape)
    if rank < 2:
        raise ShapeError(f"matrix_transpose: operand is {node.type}; it needs at least two axes",
                         hint="x[:, None] is a column, x[None] a row")  # fmt: skip
    return wrap(transpose_node(node, (*range(rank - 2), rank - 1, rank - 2)))


@operation("x")
def moveaxis(x: object, /, source: int | Sequence[int], destination: int | Sequence[int]) -> Tracer:
    """The axes ``source`` moved to the places ``destination``; the others keep their order.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.moveaxis(mnp.zeros((2, 3, 4)), 0, -1).shape
        (3, 4, 2)
    """
    node = as_node(x, None, "moveaxis: operand")
    origin, target = (some_axes("moveaxis", a, node.tensor) for a in (source, destination))
    if len(origin) != len(target):
        raise ShapeError(f"moveaxis: {len(origin)} axes of {node.type} to {len(target)} places")
    rest = iter(i for i in range(len(node.shape)) if i not in origin)
    place = dict(zip(target, origin, strict=True))
    return wrap(transpose_node(node, tuple(place[i] if i in place else next(rest) for i in range(len(node.shape)))))


@operation("x")
def swapaxes(x: object, /, axis1: int, axis2: int) -> Tracer:
    """Axes ``axis1`` and ``axis2`` exchanged. Raises ShapeError for one outside of the rank.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.swapaxes(mnp.zeros((2, 3, 4)), 0, -1).shape
        (4, 3, 2)
    """
    node = as_node(x, None, "swapaxes: operand")
    a, b = one_axis("swapaxes", axis1, node.tensor), one_axis("swapaxes", axis2, node.tensor)
    order = list(range(len(node.shape)))
    order[a], order[b] = b, a
    return wrap(transpose_node(node, tuple(order)))


@operation("x")
def expand_dims(x: object, /, axis: int | Sequence[int] = 0) -> Tracer:
    """A new axis of size 1 at each place ``axis`` of the result.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.expand_dims(mnp.zeros((2, 3)), (0, -1)).shape
        (1, 2, 3, 1)
    """
    node = as_node(x, None, "expand_dims: operand")
    count = 1 if isinstance(axis, int) else len(axis)
    rank = len(node.shape) + count
    places = some_axes("expand_dims", axis, node.tensor, rank)
    sizes = iter(node.shape)
    return wrap(reshape_node(node, tuple(1 if i in places else next(sizes) for i in range(rank))))


@operation("x")
def squeeze(x: object, /, axis: Axes = None) -> Tracer:
    """Without the axes ``axis``, which have size 1; without all of size 1 where None.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.squeeze(mnp.asarray([[1, 2]])).tolist()
        [1, 2]
    """
    node = as_node(x, None, "squeeze: operand")
    if axis is None:
        places = tuple(i for i, n in enumerate(node.shape) if n == 1)
    else:
        places = some_axes("squeeze", axis, node.tensor)
    for i in places:
        if node.shape[i] != 1:
            raise ShapeError(f"squeeze: axis {i} of operand {node.type} has size {node.shape[i]}, not 1")
    return wrap(reshape_node(node, tuple(n for i, n in enumerate(node.shape) if i not in places)))


@operation("x")
def broadcast_to(x: object, /, shape: Size | Sequence[Size]) -> Tracer:
    """``x`` with axes added in front and axes of size 1 repeated. Raises ShapeError where that is not ``shape``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.broadcast_to(mnp.asarray([1, 2]), (2, 2)).tolist()
        [[1, 2], [1, 2]]
    """
    node = as_node(x, None, "broadcast_to: operand")
    target = ShapeDtype(shape, node.dtype).type
    if target.rank < len(node.shape):
        raise ShapeError(f"broadcast_to: operand {node.type} has more axes than {target}")
    for i, (n, m) in enumerate(zip(node.shape, target.shape[target.rank - len(node.shape) :], strict=True)):
        if n not in (1, m):
            raise ShapeError(f"broadcast_to: operand is {node.type}, result is {target};\noperand axis {i} has {n}, "
                             f"result axis {target.rank - len(node.shape) + i} has {m}")  # fmt: skip
    return wrap(broadcast_node(node, target.shape))


@operation("arrays")
def concat(arrays: Sequence[object], /, axis: int | None = 0) -> Tracer:
    """The arrays joined along ``axis`` (flattened first where None); they differ in that axis only.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.concat([mnp.asarray([1, 2]), mnp.asarray([3])]).tolist()
        [1, 2, 3]
    """
    if not arrays:
        raise ArgumentError("concat: needs at least one array")
    nodes = _same_dtype("concat", arrays)
    if axis is None:
        nodes, axis = [reshape_node(n, (n.tensor.size,)) for n in nodes], 0
    place = one_axis("concat", axis, nodes[0].tensor)
    for n in nodes[1:]:
        _check_joined(nodes[0].tensor, n.tensor, place)
    return wrap(nodes[0] if len(nodes) == 1 else CONCATENATE(*nodes, dimension=place))


concatenate = concat


@operation("arrays")
def stack(arrays: Sequence[object], /, axis: int = 0) -> Tracer:
    """The arrays, of one shape, joined along a new axis.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.stack([mnp.asarray([1, 2]), mnp.asarray([3, 4])]).tolist()
        [[1, 2], [3, 4]]
    """
    if not arrays:
        raise ArgumentError("stack: needs at least one array")
    nodes = _same_dtype("stack", arrays)
    for n in nodes[1:]:
        if n.shape != nodes[0].shape:
            raise ShapeError(f"stack: shapes differ: {nodes[0].type} and {n.type}")
    place = one_axis("stack", axis, nodes[0].tensor, len(nodes[0].shape) + 1)
    grown = [reshape_node(n, (*n.shape[:place], 1, *n.shape[place:])) for n in nodes]
    return wrap(grown[0] if len(grown) == 1 else CONCATENATE(*grown, dimension=place))


@operation("x")
def split(x: object, /, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tracer]:
    """Equal parts (a number) or the parts between indices, along ``axis``. Raises ShapeError where uneven.

    Example:
        >>> import mlc.numpy as mnp
        >>> [part.tolist() for part in mnp.split(mnp.arange(5), [2, 3])]
        [[0, 1], [2], [3, 4]]
    """
    node = as_node(x, None, "split: operand")
    place = one_axis("split", axis, node.tensor)
    n = node.shape[place]
    if not isinstance(n, int):
        raise ShapeError(f"split: axis {place} of operand {node.type} is symbolic and can only be taken whole")
    if isinstance(indices_or_sections, int):
        if indices_or_sections < 1 or n % indices_or_sections:
            raise ShapeError(f"split: axis {place} of operand {node.type} does not divide into {indices_or_sections}")
        edges = list(range(0, n + 1, n // indices_or_sections)) if n else [0] * (indices_or_sections + 1)
    else:
        edges = [0, *[min(i if i >= 0 else i + n, n) for i in indices_or_sections], n]
    return [wrap(part_of_axis(node, place, a, max(a, b))) for a, b in itertools.pairwise(edges)]


def transpose_node(node: Node, order: tuple[int, ...]) -> Node:
    return node if order == tuple(range(len(order))) else TRANSPOSE(node, permutation=order)


def part_of_axis(node: Node, axis: int, start: int, stop: Size) -> Node:
    begin = tuple(start if i == axis else 0 for i in range(len(node.shape)))
    end = tuple(stop if i == axis else n for i, n in enumerate(node.shape))
    return SLICE(node, start=begin, limit=end, strides=(1,) * len(begin))


def _full_shape(type: TensorType, shape: tuple[Size, ...]) -> Shape:
    """``shape`` with its -1 computed."""
    if shape.count(-1) > 1:
        raise ShapeError(f"reshape: {list(shape)} has more than one -1")
    known = size_product(n for n in shape if n != -1)
    shown = f"({', '.join(map(str, shape))})"
    if -1 not in shape:
        if known != type.size:
            raise ShapeError(f"reshape: operand {type} has {type.size} elements, shape {shown} has {known}",
                             hint="one size may be -1: it is computed")  # fmt: skip
        return ShapeDtype(shape).shape
    total = type.size
    if isinstance(total, Dim):
        rest = total.divided_by(known)
    else:
        rest = total // known if isinstance(known, int) and known and total % known == 0 else None
    if rest is None:
        raise ShapeError(f"reshape: operand {type} has {total} elements, which shape {shown} does not divide")
    return tuple(rest if n == -1 else n for n in shape)


def _same_dtype(name: str, arrays: Sequence[object]) -> list[Node]:
    """The arrays as nodes of their common element type, each with its own shape."""
    dtype, _ = common(name, [describe(a, f"{name}: operand {i}") for i, a in enumerate(arrays)])
    return [as_node(a, dtype, f"{name}: operand {i}") for i, a in enumerate(arrays)]


def _check_joined(first: TensorType, other: TensorType, axis: int) -> None:
    if first.rank != other.rank:
        raise ShapeError(f"concat: ranks differ: {first} and {other}")
    for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
        if i != axis and a != b:
            raise ShapeError(f"concat: {first} and {other} differ outside of axis {axis}: axis {i} has {a} and {b}",
                             hint=_join_hint(first, other))  # fmt: skip


def _join_hint(first: TensorType, other: TensorType) -> str:
    """The one axis along which the two can be joined, where there is one."""
    axes = [i for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)) if a != b]
    if len(axes) == 1:
        return f"did you mean axis={axes[0]} ?"
    return "arrays that are joined differ in one axis only"


__all__ = [
    "broadcast_to", "concat", "concatenate", "expand_dims", "matrix_transpose", "moveaxis", "permute_dims",
    "ravel", "reshape", "split", "squeeze", "stack", "swapaxes",
    "transpose",
]  # fmt: skip
