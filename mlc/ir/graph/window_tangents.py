"""Tangents of folds whose operands lie in as many arrays: of a product, and of the first extreme."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from .elementwise import ADD, COMPARE, MULTIPLY, SELECT
from .node import Node


def tangent_of_product(factors: Sequence[Node], tangents: Sequence[Node]) -> Node:
    """Each tangent by the product of all other factors: of those before and those behind."""
    before = list(accumulate(factors[:-1], MULTIPLY))
    behind = list(accumulate(reversed(factors[1:]), MULTIPLY))[::-1]
    last = len(factors) - 1
    parts = []
    for i, t in enumerate(tangents):
        part = t if i == 0 else MULTIPLY(before[i - 1], t)
        parts.append(part if i == last else MULTIPLY(part, behind[i]))
    return list(accumulate(parts, ADD))[-1]


def tangent_of_first(values: Sequence[Node], tangents: Sequence[Node], direction: str) -> Node:
    """The tangent of the value that stays while it compares so (GE, LE) with the ones behind it."""
    best, tangent = values[0], tangents[0]
    for value, t in zip(values[1:], tangents[1:], strict=True):
        keep = COMPARE(best, value, direction=direction)
        best, tangent = SELECT(keep, best, value), SELECT(keep, tangent, t)
    return tangent
