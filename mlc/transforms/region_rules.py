"""The registry of how nodes with regions differentiate as a whole: case, while, and composites that are loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir.graph import COMPOSITE, Node

# tangents(node, tangents of the operands) -> one a result; None is zero
RegionTangents = Callable[[Node, Sequence[Node | None]], Sequence[Node | None]]
# cotangents(node, which operands are wanted, cotangents of the results) -> one an operand; None is zero
RegionCotangents = Callable[[Node, Sequence[bool], Sequence[Node | None]], Sequence[Node | None]]


@dataclass(frozen=True, slots=True)
class RegionRule:
    """Tangents by regions of their own, which ``cotangents`` transposes where they are linear."""

    tangents: RegionTangents
    cotangents: RegionCotangents


REGION_RULES: dict[str, RegionRule] = {}
"""By the name of the op, or of the composite."""


def region_rule(node: Node) -> RegionRule | None:
    """The rule of a node that has one."""
    return REGION_RULES.get(node["name"] if node.op is COMPOSITE else node.op.name)
