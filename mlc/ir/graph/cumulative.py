"""Windows of all elements up to each one, or from each one on: cumulative sums, products and extremes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import bounds
from .elementwise import ADD, MULTIPLY
from .node import Literal, Node
from .op import Array, Op
from .reduction import UFUNCS, identity_of, reducer_of
from .shape import CONSTANT, PAD, constant


def cumulative_axis(node: Node) -> tuple[int, bool] | None:
    """Of a reduce_window from the identity of its op, the axis of which each window holds all elements up to one, or
    all from one on (True); None for other windows."""
    window, axes, init = node["window_dimensions"], range(len(node.shape)), node.operands[1]
    long = [a for a in axes if window[a] != 1]
    plain = (*node["window_strides"], *node["base_dilations"], *node["window_dilations"])
    if len(long) != 1 or any(d != 1 for d in plain) or any(node["padding"][a] != (0, 0) for a in axes if a != long[0]):
        return None
    (axis,) = long
    most, padding = window[axis] - 1, node["padding"][axis]
    if padding not in ((most, 0), (0, most)) or bounds(node.shape[axis])[1] > window[axis]:
        return None
    neutral = identity_of(reducer_of(node["body"]), node.dtype)
    if init.op is not CONSTANT or init["value"] != Literal(neutral, node.dtype):
        return None
    return axis, padding[0] == 0


def accumulate(op: Op, x: Array, axis: int, backward: bool) -> Array:
    """The elements of ``x`` up to each one (or from each one on) folded with ``op``."""
    ufunc: Any = {"add": np.add, **UFUNCS}[op.name]
    if x.dtype == bool and op in (ADD, MULTIPLY):
        ufunc = np.logical_or if op is ADD else np.logical_and
    x = np.flip(x, axis) if backward else x
    with np.errstate(all="ignore"):
        folded: Array = ufunc.accumulate(x, axis, dtype=x.dtype)
    return np.flip(folded, axis) if backward else folded


def tangent_of_products(node: Node, t: Node, axis: int, backward: bool) -> Node:
    """That of cumulative products, right where factors are zero: windows double in length, each the product of two.

    (p, t) of two neighbouring windows make (p p', p t' + t p').
    """
    product, step = node.operands[0], 1
    none = (0,) * len(product.shape)
    while step < node["window_dimensions"][axis]:
        front, behind = ((*none[:axis], k, *none[axis + 1 :]) for k in (step, -step))
        low, high = (behind, front) if backward else (front, behind)
        before, of_before = (
            PAD(v, constant(np.asarray(k, v.dtype.numpy), v.dtype), low=low, high=high, interior=none)
            for v, k in ((product, 1), (t, 0))
        )
        t = ADD(MULTIPLY(t, before), MULTIPLY(of_before, product))
        product, step = MULTIPLY(product, before), 2 * step
    return t


__all__ = ["accumulate", "cumulative_axis", "tangent_of_products"]
