"""checkpoint: a function whose gradient computes anew what it needs, rather than keep it from the way forward.

A call is a composite that differentiates to composites. On the way back the function starts behind barriers on its
operands, with a remat id: what is computed there is never merged with what was computed forward.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from ..ir.graph import COMPOSITE, OPTIMIZATION_BARRIER, Graph, Node, Table, current_table, inline, reachable, results_of
from ..ir.graph import has_active_table as is_tracing
from .call import at_users_line, name_of
from .closed import close
from .control import or_zero, push_region, spread
from .cotangent import transpose
from .region_rules import REGION_RULES, RegionRule

NAME = "checkpoint"

P = ParamSpec("P")
R = TypeVar("R")


def checkpoint(fun: Callable[P, R]) -> Callable[P, R]:
    """``fun``, of which gradients keep the arguments alone: on the way back it is computed again.

    Saves memory for time. Arguments and results are trees of arrays and numbers; what ``fun`` closes over is kept too.
    It can be used as a decorator, nested, and as the body of ``mlc.scan``.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> block = mlc.checkpoint(lambda x: mnp.sin(mnp.sin(x)))
        >>> float(mlc.grad(block)(0.0))
        1.0
    """

    @functools.wraps(fun)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_tracing():
            return fun(*args, **kwargs)
        with at_users_line():
            closed = close(fun, args, kwargs, f"checkpoint of {name_of(fun)}")
            graph = closed.traced.graph
            found: R = closed.tree_of(_composite(graph, closed.operands) if graph.results else ())
            return found

    return call


def _composite(graph: Graph, operands: Sequence[Node]) -> tuple[Node, ...]:
    """The results of the composite of those operands that the graph reads."""
    read = set(reachable(graph.results))
    kept = [i for i, p in enumerate(graph.parameters) if p in read]
    graph = Graph(graph.name, [graph.parameters[i] for i in kept], graph.results, graph.table)
    return results_of(COMPOSITE(*(operands[i] for i in kept), name=NAME, decomposition=graph, options={}))


def checkpoint_tangents(node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
    """A checkpoint that computes the function again for its tangents: opened, the two share what they compute."""
    table = Table()
    parameters, fresh, _, found = push_region(node["decomposition"], [t is not None for t in tangents], table)
    live = [i for i, f in enumerate(found) if f is not None]
    if not live:
        return [None] * len(found)
    graph = Graph("tangents", (*parameters, *fresh), [f for f in found if f is not None], table)
    return spread(len(found), live, _composite(graph, (*node.operands, *(t for t in tangents if t is not None))))


def checkpoint_cotangents(
    node: Node, wanted: Sequence[bool], cotangents: Sequence[Node | None]
) -> Sequence[Node | None]:  # fmt: skip
    """A checkpoint of the transpose, which computes the function behind barriers on what it is not linear in."""
    graph, table = node["decomposition"], Table()
    present = [i for i, c in enumerate(cotangents) if c is not None]
    with table.active():
        parameters = [table.parameter(p.type) for p in graph.parameters]
        pulled = [table.parameter(graph.results[i].type) for i in present]
        starts = [p if w else _anew(p) for p, w in zip(parameters, wanted, strict=True)]
        linear = [p for p, w in zip(parameters, wanted, strict=True) if w]
        results = inline(graph, starts)
        parts = transpose(results, linear, spread(len(results), present, pulled))
        made = [or_zero(part, p) for part, p in zip(parts, linear, strict=True)]
    fixed = [i for i, w in enumerate(wanted) if not w]
    back = Graph("cotangents", (*(parameters[i] for i in fixed), *pulled), made, table)
    given = [c for c in cotangents if c is not None]
    found = _composite(back, (*(node.operands[i] for i in fixed), *given))
    return spread(len(wanted), [i for i, w in enumerate(wanted) if w], found)


def _anew(x: Node) -> Node:
    """``x`` as the start of a computation that is not merged with any other."""
    return current_table().make(OPTIMIZATION_BARRIER, (x,), x.type, {}, remat=1)


REGION_RULES[NAME] = RegionRule(checkpoint_tangents, checkpoint_cotangents)
