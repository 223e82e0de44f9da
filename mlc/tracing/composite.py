"""Composites: a formula traced once into a closed graph, and a named node that stands for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mlc.ir.graph import COMPOSITE, results_of
from mlc.ir.graph.node import Graph, Node, Table
from mlc.ir.types import TensorType

from .lift import as_node
from .tracer import Trace, Tracer


def composite(name: str, function: Callable[..., Any], *operands: Node, **options: Any) -> tuple[Node, ...]:
    """The results of the composite op ``name`` of ``operands`` (nodes of the active table).

    Its decomposition is ``function(*tracers, **options)``, a tracer or a tuple of them, traced with parameters of the
    operands' types; it may use nothing else. ``options`` (numbers, strings, tuples) are the node's attributes.
    """
    types = tuple(o.tensor for o in operands)
    decomposition = _decompose(name, function, types, tuple(sorted(options.items())))
    return results_of(COMPOSITE(*operands, name=name, decomposition=decomposition, options=dict(options)))


@lru_cache(maxsize=1024, typed=True)
def _decompose(
    name: str, function: Callable[..., Any], types: tuple[TensorType, ...], options: tuple[tuple[str, Any], ...]
) -> Graph:
    table = Table()
    here = Trace(table, name)
    here.inside = True  # the body is ours: its nodes get the call's location when it is opened
    with table.active():
        parameters = [table.parameter(t, f"x{i}") for i, t in enumerate(types)]
        result = function(*[Tracer(p, here) for p in parameters], **dict(options))
        results = [as_node(r) for r in (result if isinstance(result, tuple) else (result,))]
    here.ended = True
    return Graph(name, parameters, results, table)
