"""Reverse differentiation of graph nodes: tangents pushed forward, then transposed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir.graph import Node, current_table
from .cotangent import transpose
from .differentiable import is_differentiable
from .tangent import jvp

Pullback = Callable[[Sequence[Node | None]], list[Node | None]]


def vjp(results: Sequence[Node], wrt: Sequence[Node]) -> Pullback:
    """A function from cotangents of ``results`` (None: zero) to cotangents of the nodes ``wrt``, in the active table.

    The derivative of what ``wrt`` were computed from is not followed. Nodes of ``wrt`` that are no floats get None.
    """
    table = current_table()
    fresh = {w: table.parameter(w.type) for w in wrt if is_differentiable(w)}
    tangents = jvp(results, fresh)

    def pullback(cotangents: Sequence[Node | None]) -> list[Node | None]:
        pulled = dict(zip(fresh, transpose(tangents, tuple(fresh.values()), cotangents), strict=True))
        return [pulled.get(w) for w in wrt]

    return pullback


__all__ = ["Pullback", "jvp", "transpose", "vjp"]
