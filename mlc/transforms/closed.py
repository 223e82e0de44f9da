"""A function called inside a trace as a closed graph of its own: traced for its types, with what it uses around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import tree
from ..ir.graph import Node
from ..tracing import Traced, Tracer, as_node, current_trace, trace
from .raising import raise_formulas


@dataclass(frozen=True)
class Closed:
    """A traced function and the ``operands`` of its call: the leaves of its arguments, then what it captured."""

    traced: Traced
    operands: tuple[Node, ...]

    def tree_of(self, results: Sequence[Node]) -> Any:
        """The call's results as the function gives them."""
        here, flags = current_trace(), self.traced.out_weak
        return tree.unflatten(
            self.traced.out_tree, [Tracer(n, here, weak) for n, weak in zip(results, flags, strict=True)]
        )


def close(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], name: str, **how: Any
) -> Closed:
    """``function`` traced for these arguments within the trace that goes on; ``how`` is passed on to ``trace``."""
    return called(raised(trace(function, args, kwargs, name=name, capture=True, **how)), args, kwargs)


def called(traced: Traced, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Closed:
    """A call of a traced function on arguments of its types."""
    leaves, _ = tree.flatten((tuple(args), dict(kwargs)))
    types = traced.in_types
    own = [as_node(x, t.dtype) for x, t in zip(leaves, types, strict=True)]
    return Closed(traced, (*own, *(as_node(c) for c in traced.captured)))


def raised(traced: Traced) -> Traced:
    """The trace with formulas written by hand as the composites that they are."""
    graph = traced.graph
    with graph.table.active():
        return replace(traced, graph=graph.with_results(raise_formulas(graph.results)))
