"""Functions of the user's to regions: closed graphs, with the values of the trace around them that they use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import tree
from ..errors import ArgumentError, MlcError
from ..ir.graph import CONVERT, Graph, Node, has_active_table
from ..ir.types import DType, TensorType
from ..tracing import Traced, Tracer, as_tracer, current_trace, trace, user_location
from ..transforms.raising import raise_formulas


def anywhere(name: str, inside: Callable[..., Any], *args: Any, **static: Any) -> Any:
    """``inside(*args, **static)`` in the trace that goes on, or compiled where there is none.

    ``name`` is what users call: errors and notices say it.
    """
    if has_active_table():
        return inside(*args, **static)
    from ..staging import eager

    return eager(name, inside, *args, **static)


def trace_region(function: Callable[..., Any], args: Sequence[Any], name: str) -> Traced:
    """``function`` traced for trees of tracers; what it uses of the traces around it is captured."""
    traced = trace(function, args, name=name, capture=True)
    graph = traced.graph
    with graph.table.active():
        return replace(traced, graph=graph.with_results(raise_formulas(graph.results)))


def tracers_of(x: Any, name: str) -> Any:
    """The tree with its leaves as tracers of the trace that goes on."""
    leaves, structure = tree.flatten_with_paths(x, name)
    return tree.unflatten(structure, [as_tracer(leaf, name=path) for path, leaf in leaves])


def with_parameters(traced: Traced, captured: Sequence[Tracer], name: str = "") -> Graph:
    """The region's graph with a parameter for each of ``captured``, which hold what it captured, behind its own."""
    graph, own = traced.graph, len(traced.graph.parameters) - len(traced.captured)
    mine: Mapping[Node, Node] = dict(zip((c.node for c in traced.captured), graph.parameters[own:], strict=True))
    extra = [mine[c.node] if c.node in mine else graph.table.parameter(c.node.type, "captured") for c in captured]
    return Graph(name or graph.name, (*graph.parameters[:own], *extra), graph.results, graph.table)


def union_of_captured(regions: Sequence[Traced]) -> list[Tracer]:
    """What the regions use of the trace around them, once each, in order."""
    found = {c.node: c for traced in regions for c in traced.captured}
    return list(found.values())


def as_here(captured: Sequence[Tracer]) -> list[Node]:
    """The captured values as nodes of the trace that goes on, whose own captured values they may be."""
    from ..tracing import as_node

    return [as_node(c) for c in captured]


def convert_results(traced: Traced, dtypes: Sequence[DType]) -> Traced:
    """The region with its results converted to these element types."""
    graph = traced.graph
    with graph.table.active():
        results = [r if r.dtype == d else CONVERT(r, dtype=d) for r, d in zip(graph.results, dtypes, strict=True)]
    return replace(traced, graph=graph.with_results(results))


def wrap(nodes: Sequence[Node], structure: Any, weak: Sequence[bool]) -> Any:
    """Nodes of the trace that goes on as a tree of tracers."""
    here = current_trace()
    return tree.unflatten(structure, [Tracer(n, here, w) for n, w in zip(nodes, weak, strict=True)])


def line_of(traced: Traced, result: int) -> str:
    """The user's line that made a result of a region."""
    graph = traced.graph
    locations = graph.locations(graph.results[result])
    return str(locations[0]) if locations else str(user_location(2))


def same_structure(what: str, expected: Any, given: Any) -> None:
    """Raise ArgumentError where trees of two structures meet, with both."""
    if expected != given:
        raise ArgumentError(
            f"{what}:\nthe one is {expected}\nthe other {given}",
            location=str(user_location(2)),
            hint="the same names and numbers of values go in and come out",
        )


def differing(kind: type[MlcError], what: str, one: TensorType, other: TensorType, location: str) -> MlcError:
    """The error for two types that have to be one."""
    if one.dtype != other.dtype:
        hint = f"convert it with .astype({one.dtype.name!r})"
    else:
        hint = "they have one shape: pad, slice, reduce or broadcast one of them"
    return kind(f"{what}: {one} and {other}", location=location, hint=hint)
