"""dynamic_slice and dynamic_update_slice: one window of a tensor that starts where scalars say, read or replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from ..dims import bounds
from ..types import Shape, TensorType, ValueType
from .node import Node
from .op import Array, Op, declare, no_flops
from .shape import fill
from .typing import require_dtype, tensor
from .windows import FARTHEST


def _check(name: str, operand: TensorType, sizes: Shape, starts: Sequence[ValueType]) -> None:
    if len(starts) != operand.rank or len(sizes) != operand.rank:
        raise ShapeError(f"{name}: {operand} needs {operand.rank} start indices and sizes, "
                         f"was given {len(starts)} and {len(sizes)}")  # fmt: skip
    for axis, (start, size, whole) in enumerate(zip(starts, sizes, operand.shape, strict=True)):
        index = tensor(name, start, "start index")
        if index.rank or not index.dtype.is_integer:
            raise DTypeError(f"{name}: start index {axis} is {index}, not an integer scalar")
        if size != whole and (bounds(size)[0] < 0 or bounds(whole - size)[0] < 0):
            raise ShapeError(f"{name}: a window of {size} elements does not fit axis {axis} of {operand}")


def _begin(x: Array, shape: Sequence[int], starts: Sequence[Array]) -> tuple[slice, ...]:
    """The window of ``shape`` in ``x``, moved inside."""
    firsts = [min(max(min(int(s), FARTHEST), 0), n - m) for s, n, m in zip(starts, x.shape, shape, strict=True)]
    return tuple(slice(a, a + m) for a, m in zip(firsts, shape, strict=True))


# ---------------------------------------------------------------- dynamic_slice


def _infer_slice(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand, sizes = tensor("dynamic_slice", operands[0]), attributes["slice_sizes"]
    _check("dynamic_slice", operand, sizes, operands[1:])
    return operand.with_shape(sizes)


def _slice_tangent(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    t = tangents[0]
    return None if t is None else DYNAMIC_SLICE(t, *node.operands[1:], **node.attributes)


def _slice_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    x, *starts = node.operands
    return (DYNAMIC_UPDATE_SLICE(fill(0.0, x.tensor), ct, *starts), *(None for _ in starts))


DYNAMIC_SLICE: Op = declare(
    "dynamic_slice", operands=None, infer=_infer_slice, attributes=("slice_sizes",),
    evaluate=lambda n, shape, x, *starts: x[_begin(x, shape, starts)],
    jvp=_slice_tangent, transpose=_slice_transpose, flops=no_flops)  # fmt: skip
"""The window of ``slice_sizes`` of the first operand that starts at the others, clamped so that it lies inside."""

# ---------------------------------------------------------------- dynamic_update_slice


def _infer_update(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    if len(operands) < 2:
        raise ShapeError(f"dynamic_update_slice: takes an operand, an update and start indices, was given {operands}")
    operand, update = tensor("dynamic_update_slice", operands[0]), tensor("dynamic_update_slice", operands[1], "update")
    require_dtype("dynamic_update_slice", update, operand.dtype, "update")
    if update.rank != operand.rank:
        raise ShapeError(f"dynamic_update_slice: the update {update} has another rank than {operand}")
    _check("dynamic_update_slice", operand, update.shape, operands[2:])
    return operand


def _update(node: Node, shape: tuple[int, ...], x: Array, update: Array, *starts: Array) -> Array:
    result = np.array(x)
    result[_begin(x, update.shape, starts)] = update
    return result


def _update_tangent(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    of_x, of_update = tangents[:2]
    if of_x is None and of_update is None:
        return None
    x, update, *starts = node.operands
    of_x = of_x if of_x is not None else fill(0.0, x.tensor)
    of_update = of_update if of_update is not None else fill(0.0, update.tensor)
    return DYNAMIC_UPDATE_SLICE(of_x, of_update, *starts)


def _update_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    _, update, *starts = node.operands
    of_x = DYNAMIC_UPDATE_SLICE(ct, fill(0.0, update.tensor), *starts) if linear[0] else None
    of_update = DYNAMIC_SLICE(ct, *starts, slice_sizes=update.shape) if linear[1] else None
    return (of_x, of_update, *(None for _ in starts))


DYNAMIC_UPDATE_SLICE: Op = declare(
    "dynamic_update_slice", operands=None, infer=_infer_update, evaluate=_update,
    jvp=_update_tangent, transpose=_update_transpose, flops=no_flops)  # fmt: skip
"""The first operand with the window that starts at the scalars behind it, clamped to lie inside, replaced by the
second."""
