"""scan: a loop over the first axis of arrays, that carries a tree of values and collects one result a trip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import tree
from ..errors import ArgumentError, ShapeError
from ..ir.dims import Size
from ..ir.graph.scan import Scan
from ..tracing import ShapeDtype, Traced, Tracer, user_location
from ..transforms.call import at_users_line, name_of
from .loops import settle
from .region import anywhere, as_here, trace_region, tracers_of, wrap


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """``carry, ys[i] = f(carry, xs[i])`` for every ``i`` along the first axis of ``xs``; gives ``(carry, ys)``.

    ``carry`` starts as ``init`` and keeps its tree, shapes and dtypes; ``xs`` and ``ys`` are trees of arrays (or None,
    and then ``length`` says how often ``f`` runs) that have one axis more than what ``f`` sees and gives. With
    ``reverse`` the last element comes first. It is compiled as one loop, whatever its length, and has derivatives of
    any order both ways; what the way back needs of every trip is kept.

    Raises ShapeError where the first axes of ``xs`` differ, ArgumentError where there is nothing to say how often, and
    what ``while_loop`` raises for a carry that changes.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> total, sums = mlc.scan(lambda c, x: (c + x, c + x), 0.0, mnp.asarray([1.0, 2.0, 3.0]))
        >>> float(total), [float(s) for s in sums]
        (6.0, [1.0, 3.0, 6.0])
    """
    found: tuple[Any, Any] = anywhere("scan", _scan, init, xs, f=f, length=length, reverse=reverse)
    return found


def _scan(
    init: Any, xs: Any, f: Callable[[Any, Any], tuple[Any, Any]], length: int | None, reverse: bool
) -> tuple[Any, Any]:
    with at_users_line():
        return scan_inside(init, tracers_of(xs, "scan: xs"), f, length, reverse, f"scan: {name_of(f)}")


def scan_inside(
    init: Any, xs: Any, f: Callable[[Any, Any], tuple[Any, Any]], length: Size | None, reverse: bool, name: str
) -> tuple[Any, Any]:
    """``scan`` in the trace that goes on, for arrays that are tracers."""
    arrays, structure = tree.flatten_with_paths(xs, "xs")
    trips = _length([(path, x) for path, x in arrays], length)
    first = tracers_of(init, "scan: init")
    slices = tree.unflatten(structure, [ShapeDtype(x.shape[1:], x.dtype) for _, x in arrays])

    def carry_of(traced: Traced) -> Traced:
        """The region as one that gives the carried values alone, for the check of their types."""
        return _part(traced, traced.out_tree.children[0].num_leaves, name)

    def again(carry: Any) -> Traced:
        traced = trace_region(f, [carry, slices], name)
        if traced.out_tree.kind is not tuple or len(traced.out_tree.children) != 2:
            raise ArgumentError(
                f"{name} gives {traced.out_tree}, not a pair (carry, y)",
                location=str(user_location()),
                hint="where nothing is collected, return (carry, None)",
            )
        return traced

    body = again(first)
    settled, _ = settle(first, carry_of(body), lambda carry: carry_of(again(carry)))
    body = body if settled is first else again(settled)
    leaves = tree.flatten(settled)[0]
    return _build(body, leaves, [x for _, x in arrays], trips, reverse)


def _build(body: Traced, leaves: list[Tracer], arrays: list[Tracer], trips: Size, reverse: bool) -> tuple[Any, Any]:
    graph, own = body.graph, len(leaves) + len(arrays)
    parameters = (*graph.parameters[own:], *graph.parameters[:own])  # captured values are the constants of the scan
    region = type(graph)("body", parameters, graph.results, graph.table)
    operands = [*as_here(body.captured), *(x.node for x in leaves), *(x.node for x in arrays)]
    if not graph.results:
        return wrap([], body.out_tree, ())  # type: ignore[no-any-return]
    made = Scan(region, trips, reverse, len(body.captured), len(leaves))(operands)
    weak = [x.weak and w for x, w in zip(leaves, body.out_weak, strict=False)]
    found: tuple[Any, Any] = wrap(made, body.out_tree, [*weak, *(False for _ in made[len(leaves) :])])
    return found


def _part(traced: Traced, count: int, name: str) -> Traced:
    from dataclasses import replace

    graph = traced.graph.with_results(traced.graph.results[:count])
    graph.name = name
    return replace(traced, graph=graph, out_tree=traced.out_tree.children[0], out_weak=traced.out_weak[:count])


def _length(arrays: list[tuple[str, Tracer]], length: Size | None) -> Size:
    """How often the body runs, which every array says."""
    here = str(user_location())
    found: Size | None = length
    said = "length"
    if isinstance(found, int) and found < 0:
        raise ArgumentError(f"scan: length is {found}", location=here)
    for path, x in arrays:
        if not x.shape:
            raise ShapeError(f"scan: {path} is {x.node.type}, which has no first axis", location=here)
        if found is not None and x.shape[0] != found:
            raise ShapeError(f"scan: {path} is {x.node.type}, but {said} says {found}", location=here,
                             hint="the first axes of xs are of one size")  # fmt: skip
        found, said = x.shape[0], path
    if found is None:
        raise ArgumentError("scan: xs holds no array, and length is None", location=here, hint="pass length=")
    return found
