"""How far sorted tensors may be from the exact ones."""

from __future__ import annotations

import numpy as np

from mlc.ir.graph import Node, order_of, sorted_order
from mlc.ir.graph.tolerance import Expected


def sorted_values(node: Node, operands: list[Expected]) -> list[Expected]:
    """Moved with their bounds where the key is exact. Else only the key is known: the k-th smallest of numbers that are
    off by at most e is off by at most e."""
    axis = node["dimension"]
    number, descending = order_of(node["comparator"])
    key = operands[number]
    order = sorted_order(key.want, axis, descending)
    exact = np.all(key.bound == 0, axis=axis, keepdims=True)
    found = []
    for k, x in enumerate(operands):
        worst = np.inf if k != number else np.max(x.bound, axis=axis, keepdims=True, initial=0.0)
        if k == number:  # whether an uncertain number is one at all decides where all others are
            worst = np.where(np.isfinite(x.want).all(axis=axis, keepdims=True), worst, np.inf)
        bound = np.where(exact, np.take_along_axis(x.bound, order, axis), worst)
        found.append(Expected(np.take_along_axis(x.want, order, axis), bound, x.dtype))
    return found
