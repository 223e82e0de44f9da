"""The tolerance table's rows for windows: reduce_window and what selects in windows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .elementwise import ADD, MAXIMUM, MINIMUM, MULTIPLY
from .node import Node
from .op import Array, Op
from .reduce_window import fold_windows
from .reduction import reducer_of
from .tolerance import FORMATS, Expected, _folded, _limited, _sum_unit, _wide


def windows(node: Node, operands: list[Expected], sizes: Mapping[str, int]) -> Expected:
    """What a row over windows should give, and how far from it the result may be."""
    if node.op.name == "reduce_window":
        return _reduce_window(node, operands[0], operands[1], sizes)
    selecting = operands[1] if node.op.name == "select_and_gather" else operands[0]
    want = _wide(node, [o.want for o in operands], sizes)
    if np.any(selecting.bound > 0):  # which element is selected is open
        return Expected(want, np.full(want.shape, np.inf), node.dtype)
    exact = selecting.want
    if node.op.name == "select_and_gather":
        amount = operands[0].bound if node.dtype.is_float else (operands[0].bound > 0).astype(want.dtype)
        bound = _wide(node, [amount, exact], sizes)
        return Expected(want, bound if node.dtype.is_float else np.where(bound != 0, np.inf, 0.0), node.dtype)
    _, source, init = operands
    if not node.dtype.is_float:
        open_ = np.any(source.bound > 0) or np.any(init.bound > 0)
        return Expected(want, np.full(want.shape, np.inf if open_ else 0.0), node.dtype)
    size_source, size_init = np.abs(source.want) + source.bound, np.abs(init.want) + init.bound
    spread = _wide(node, [exact, source.bound, init.bound], sizes)
    total = _wide(node, [exact, size_source, size_init], sizes)
    count = (
        int(np.prod([-(-w // s) for w, s in zip(node["window_dimensions"], node["window_strides"], strict=True)])) + 1
    )
    return _summed(node, want, spread, total, count, np.maximum(np.max(source.bound, initial=0.0), init.bound))


def _reduce_window(node: Node, x: Expected, init: Expected, sizes: Mapping[str, int]) -> Expected:
    want = _wide(node, [x.want, init.want], sizes)
    op = reducer_of(node["body"])

    def fold(op: Op, values: Array, first: Array) -> Array:
        return fold_windows(node, op, values, first, want.shape)

    worst = fold(MAXIMUM, x.bound, init.bound)
    if not node.dtype.is_float:
        return Expected(want, np.where(worst > 0, np.inf, 0.0), node.dtype)
    if op in (MAXIMUM, MINIMUM):
        return _limited(want, np.where(np.isfinite(want) | (worst == 0), worst, np.inf), node.dtype)
    count = int(np.prod(node["window_dimensions"], dtype=int)) + 1
    size_x, size_init = np.abs(x.want) + x.bound, np.abs(init.want) + init.bound
    if op is ADD:
        total = fold(ADD, size_x, size_init)
        return _summed(node, want, fold(ADD, x.bound, init.bound), total, count, worst)
    growth = count * _sum_unit(node.dtype)
    product = fold(MULTIPLY, size_x, size_init)
    bound = product * (1 + growth * 1.01) - fold(MULTIPLY, np.abs(x.want), np.abs(init.want))
    most = fold(MULTIPLY, np.maximum(size_x, 1), np.maximum(size_init, 1))
    small = np.minimum(np.where(x.want == 0, 1, np.abs(x.want)), 1)
    least = fold(MULTIPLY, small, np.minimum(np.abs(init.want), 1))
    unit, tiny, _ = FORMATS[node.dtype.name]
    lost = np.where((least > 0) & (least < tiny), np.inf, 0.0) + count * tiny * (unit * 2)
    return _folded(node, want, bound + lost, most, worst)


def _summed(node: Node, want: Array, spread: Array, total: Array, count: int, worst: Array) -> Expected:
    """A sum of ``count`` terms in any order, whose sizes add to ``total`` and whose bounds to ``spread``."""
    bound = spread + count * _sum_unit(node.dtype) * total * 1.01
    return _folded(node, want, bound, total, np.broadcast_to(worst, want.shape))
