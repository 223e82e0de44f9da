"""Products of arrays: matmul, tensordot, vecdot, outer; each is one dot_general."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.errors import ShapeError
from mlc.ir.graph import dot_general
from mlc.ir.graph import reshape as reshape_node
from mlc.ir.graph.node import Node
from mlc.ir.types import TensorType
from mlc.tracing.lift import as_node, describe
from mlc.tracing.tracer import Tracer

from .axes import some_axes
from .dispatch import operation
from .promotion import broadcast_node, broadcast_shapes, common, wrap
from .source import written_operands


@operation("x1", "x2")
def matmul(x1: object, x2: object, /) -> Tracer:
    """``x1 @ x2``: [..., m, k] @ [..., k, n] -> [..., m, n]; [k] is a row on the left, a column on the right.

    Leading axes broadcast. Raises ShapeError, with what may have been meant, where k differs or a rank is 0.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.matmul(mnp.asarray([[1, 2], [3, 4]]), mnp.asarray([1, 1])).tolist()
        [3, 7]
    """
    lhs, rhs = _promoted("matmul", x1, x2)
    for side, node in (("lhs", lhs), ("rhs", rhs)):
        if not node.shape:
            raise ShapeError(
                f"matmul: lhs is {lhs.type}, rhs is {rhs.type}; {side} has rank 0", hint="use * with numbers"
            )
    contracted = max(len(rhs.shape) - 2, 0)
    if lhs.shape[-1] != rhs.shape[contracted]:
        raise _contraction_error(lhs.tensor, rhs.tensor, contracted)
    if len(rhs.shape) <= 2:
        return wrap(dot_general(lhs, rhs, (len(lhs.shape) - 1,), (0,)))
    return wrap(_batched(lhs, rhs))


@operation("x1", "x2")
def vecdot(x1: object, x2: object, /, axis: int = -1) -> Tracer:
    """The sum of products along ``axis`` of both (counted from the end); the other axes broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.vecdot(mnp.asarray([1, 2]), mnp.asarray([3, 4])).tolist()
        11
    """
    lhs, rhs = _promoted("vecdot", x1, x2)
    if axis >= 0 or -axis > min(len(lhs.shape), len(rhs.shape)):
        raise ShapeError(f"vecdot: lhs is {lhs.type}, rhs is {rhs.type}; axis {axis} is no axis of both from the end")
    if lhs.shape[axis] != rhs.shape[axis]:
        raise ShapeError(
            f"vecdot: lhs is {lhs.type}, rhs is {rhs.type}; axis {axis} has {lhs.shape[axis]} and {rhs.shape[axis]}"
        )
    shape = broadcast_shapes("vecdot", lhs.tensor, rhs.tensor)
    place = len(shape) + axis
    batch = tuple(i for i in range(len(shape)) if i != place)
    return wrap(dot_general(broadcast_node(lhs, shape), broadcast_node(rhs, shape), (place,), (place,), batch, batch))


@operation("x1", "x2")
def tensordot(x1: object, x2: object, /, axes: int | Sequence[Sequence[int]] = 2) -> Tracer:
    """The sum of products over the last ``axes`` of ``x1`` and first of ``x2``, or over the pairs of axes named.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.tensordot(mnp.ones((2, 3)), mnp.ones((3, 4)), axes=1).shape
        (2, 4)
    """
    lhs, rhs = _promoted("tensordot", x1, x2)
    if isinstance(axes, int):
        if not 0 <= axes <= min(len(lhs.shape), len(rhs.shape)):
            raise ShapeError(f"tensordot: lhs is {lhs.type}, rhs is {rhs.type}; they have no {axes} axes to contract")
        left, right = tuple(range(len(lhs.shape) - axes, len(lhs.shape))), tuple(range(axes))
    else:
        left, right = some_axes("tensordot", axes[0], lhs.tensor), some_axes("tensordot", axes[1], rhs.tensor)
    return wrap(dot_general(lhs, rhs, left, right))


@operation("x1", "x2")
def outer(x1: object, x2: object, /) -> Tracer:
    """[m] and [n] -> [m, n], all products.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.outer(mnp.asarray([1, 2]), mnp.asarray([3, 4])).tolist()
        [[3, 4], [6, 8]]
    """
    lhs, rhs = _promoted("outer", x1, x2)
    if len(lhs.shape) != 1 or len(rhs.shape) != 1:
        raise ShapeError(f"outer: lhs is {lhs.type}, rhs is {rhs.type}; both have rank 1")
    return wrap(dot_general(lhs, rhs, (), ()))


def _promoted(name: str, x1: object, x2: object) -> tuple[Node, Node]:
    dtype, _ = common(name, [describe(x1, f"{name}: lhs"), describe(x2, f"{name}: rhs")])
    return as_node(x1, dtype, f"{name}: lhs"), as_node(x2, dtype, f"{name}: rhs")


def _batched(lhs: Node, rhs: Node) -> Node:
    """matmul where rhs has leading axes."""
    row = len(lhs.shape) == 1
    if row:
        lhs = reshape_node(lhs, (1, *lhs.shape))
    batch = broadcast_shapes("matmul", lhs.tensor.with_shape(lhs.shape[:-2]), rhs.tensor.with_shape(rhs.shape[:-2]))
    lhs = broadcast_node(lhs, (*batch, *lhs.shape[-2:]))
    rhs = broadcast_node(rhs, (*batch, *rhs.shape[-2:]))
    b, every = len(batch), tuple(range(len(batch)))
    product = dot_general(lhs, rhs, (b + 1,), (b,), every, every)
    return reshape_node(product, (*batch, product.shape[-1])) if row else product


def _contraction_error(lhs: TensorType, rhs: TensorType, contracted: int) -> ShapeError:
    i = lhs.rank - 1
    return ShapeError(
        f"dot_general: contracted dimensions differ: lhs is {lhs}, rhs is {rhs};\n"
        f"lhs axis {i} has {lhs.shape[i]}, rhs axis {contracted} has {rhs.shape[contracted]}",
        hint=_matmul_hint(lhs, rhs),
    )


def _matmul_hint(lhs: TensorType, rhs: TensorType) -> str:
    """A transpose that would fit, in the user's own words where the line has one ``a @ b``."""
    left, right = written_operands("matmul")
    if lhs.rank >= 1 and rhs.rank >= 2 and lhs.shape[-1] == rhs.shape[-1]:
        return f"did you mean {left} @ {right}.{'T' if rhs.rank == 2 else 'mT'} ?"
    if lhs.rank >= 2 and lhs.shape[-2] == rhs.shape[max(rhs.rank - 2, 0)]:
        return f"did you mean {left}.{'T' if lhs.rank == 2 else 'mT'} @ {right} ?"
    if lhs.rank == rhs.rank == 2 and rhs.shape[-1] == lhs.shape[-2]:
        return f"did you mean {right} @ {left} ?"
    return "the last axis of lhs must be as long as the second to last of rhs"
