"""dot_general: sums of products over contracted axes, with batch axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from ..dims import Size, size_product
from ..types import TensorType, ValueType
from .node import Node
from .op import Array, Op, declare, dtype_cast
from .shape import TRANSPOSE, inverse_permutation
from .typing import require_axes, require_kind, tensor


def free_axes(rank: int, *taken: Sequence[int]) -> tuple[int, ...]:
    """The axes of ``rank`` in none of ``taken``."""
    used = {a for axes in taken for a in axes}
    return tuple(a for a in range(rank) if a not in used)


def _infer(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    lhs, rhs = tensor("dot_general", operands[0], "lhs"), tensor("dot_general", operands[1], "rhs")
    if lhs.dtype != rhs.dtype:
        raise DTypeError(f"dot_general: element types differ: lhs is {lhs}, rhs is {rhs}",
                         hint=f"convert one of them, for example with .astype({lhs.dtype.name!r})")  # fmt: skip
    require_kind("dot_general", lhs, ("float", "int", "uint"))
    pairs = (("lhs_contracting", "rhs_contracting", "contracted"), ("lhs_batch", "rhs_batch", "batch"))
    for left, right, word in pairs:
        a, b = attributes[left], attributes[right]
        require_axes("dot_general", a, lhs.rank, left)
        require_axes("dot_general", b, rhs.rank, right)
        if len(a) != len(b):
            raise ShapeError(f"dot_general: {len(a)} {word} axes of lhs {lhs} and {len(b)} of rhs {rhs}")
        for i, j in zip(a, b, strict=True):
            if lhs.shape[i] != rhs.shape[j]:
                raise ShapeError(
                    f"dot_general: {word} dimensions differ: lhs is {lhs}, rhs is {rhs};\n"
                    f"lhs axis {i} has {lhs.shape[i]}, rhs axis {j} has {rhs.shape[j]}"
                )
    for operand, side in ((lhs, "lhs"), (rhs, "rhs")):
        both = set(attributes[f"{side}_contracting"]) & set(attributes[f"{side}_batch"])
        if both:
            raise ShapeError(f"dot_general: {side} axes {sorted(both)} of {operand} are named twice")
    return lhs.with_shape((
        *(lhs.shape[i] for i in attributes["lhs_batch"]),
        *(lhs.shape[i] for i in free_axes(lhs.rank, attributes["lhs_batch"], attributes["lhs_contracting"])),
        *(rhs.shape[i] for i in free_axes(rhs.rank, attributes["rhs_batch"], attributes["rhs_contracting"])),
    ))  # fmt: skip


def _evaluate(node: Node, shape: tuple[int, ...], x: Array, y: Array) -> Array:
    """Floats are summed in f64 and rounded once; integers wrap."""
    kind = np.float64 if node.dtype.is_float else x.dtype
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left, right = [next(letters) for _ in x.shape], [next(letters) for _ in y.shape]
    for mine, theirs in (("lhs_batch", "rhs_batch"), ("lhs_contracting", "rhs_contracting")):
        for i, j in zip(node[mine], node[theirs], strict=True):
            right[j] = left[i]
    out = [left[i] for i in node["lhs_batch"]]
    out += [left[i] for i in free_axes(x.ndim, node["lhs_batch"], node["lhs_contracting"])]
    out += [right[j] for j in free_axes(y.ndim, node["rhs_batch"], node["rhs_contracting"])]
    with np.errstate(all="ignore"):
        total = np.einsum(
            f"{''.join(left)},{''.join(right)}->{''.join(out)}",
            x.astype(kind),
            y.astype(kind),
            optimize=bool(x.size and y.size),
        )
        return dtype_cast(total, node)


def _transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    lhs, rhs = node.operands
    a = node.attributes
    batch = len(a["lhs_batch"])
    left_free = free_axes(len(lhs.shape), a["lhs_batch"], a["lhs_contracting"])
    right_free = free_axes(len(rhs.shape), a["rhs_batch"], a["rhs_contracting"])
    ct_batch = tuple(range(batch))
    ct_left = tuple(range(batch, batch + len(left_free)))
    ct_right = tuple(range(batch + len(left_free), len(ct.shape)))
    if linear[0]:
        out = dot_general(ct, rhs, ct_right, right_free, ct_batch, a["rhs_batch"])
        # axes of out: batch, lhs free, rhs contracting (ascending) -> where each stands in lhs
        partner = dict(zip(a["rhs_contracting"], a["lhs_contracting"], strict=True))
        position = (*a["lhs_batch"], *left_free, *(partner[j] for j in sorted(a["rhs_contracting"])))
        return (_permute(out, position), None)
    out = dot_general(lhs, ct, left_free, ct_left, a["lhs_batch"], ct_batch)
    # axes of out: batch, lhs contracting (ascending), rhs free -> where each stands in rhs
    partner = dict(zip(a["lhs_contracting"], a["rhs_contracting"], strict=True))
    position = (*a["rhs_batch"], *(partner[i] for i in sorted(a["lhs_contracting"])), *right_free)
    return (None, _permute(out, position))


def _permute(x: Node, position: Sequence[int]) -> Node:
    """Axis i of ``x`` goes to ``position[i]``."""
    axes = inverse_permutation(position)
    return x if axes == tuple(range(len(axes))) else TRANSPOSE(x, permutation=axes)


def _flops(node: Node) -> Size:
    lhs = node.operands[0]
    return node.tensor.size * size_product(lhs.shape[i] for i in node["lhs_contracting"]) * 2


DOT_GENERAL: Op = declare(
    "dot_general", operands=2, infer=_infer, evaluate=_evaluate,
    attributes=("lhs_contracting", "rhs_contracting", "lhs_batch", "rhs_batch"),
    jvp=(lambda t, n: DOT_GENERAL(t, n.operands[1], **n.attributes),
         lambda t, n: DOT_GENERAL(n.operands[0], t, **n.attributes)),
    transpose=_transpose, flops=_flops)  # fmt: skip


def dot_general(lhs: Node, rhs: Node, lhs_contracting: Sequence[int], rhs_contracting: Sequence[int],
                lhs_batch: Sequence[int] = (), rhs_batch: Sequence[int] = ()) -> Node:  # fmt: skip
    return DOT_GENERAL(lhs, rhs, lhs_contracting=tuple(lhs_contracting), rhs_contracting=tuple(rhs_contracting),
                       lhs_batch=tuple(lhs_batch), rhs_batch=tuple(rhs_batch))  # fmt: skip
