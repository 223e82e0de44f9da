"""Trace: a Python function and the types of its arguments to a graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlc import tree
from mlc.errors import ArgumentError, MlcError
from mlc.ir.dims import Dim
from mlc.ir.graph.node import Graph, Node, Table, has_active_table, reachable
from mlc.ir.types import F64, TensorType
from mlc.tree import TreeDef

from .lift import as_node, describe, is_f64_data, notice_f64
from .location import user_location
from .tracer import Trace, Tracer, current_trace, leaked


@dataclass(frozen=True)
class Traced:
    """A traced function: its graph and how trees of arguments and results map to parameters and results.

    ``in_tree`` is the structure of ``(args, kwargs)`` without static arguments; ``in_weak`` and ``out_weak`` say which
    leaves are weak. ``captured`` are values of the enclosing trace that the function uses: the last parameters.
    """

    graph: Graph
    in_tree: TreeDef
    out_tree: TreeDef
    in_weak: tuple[bool, ...]
    out_weak: tuple[bool, ...]
    captured: tuple[Tracer, ...] = ()

    @property
    def in_types(self) -> tuple[TensorType, ...]:
        return tuple(p.tensor for p in self.graph.parameters[: self.in_tree.num_leaves])

    @property
    def out_types(self) -> tuple[TensorType, ...]:
        return tuple(r.tensor for r in self.graph.results)


def trace(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    static: Mapping[str, Any] | None = None,
    capture: bool = False,
    device: str | None = None,
) -> Traced:
    """Call ``function`` once on tracers for ``args`` and ``kwargs``, trees of ShapeDtypes, arrays and numbers.

    Python numbers are weak and traced. ``static`` are further keyword arguments, passed as they are. With ``capture``,
    values of an enclosing trace may be used and become parameters (``Traced.captured``). Operations are done on
    ``device``, that of the enclosing trace where it is None.

    Raises ArgumentError for arguments that do not fit the signature, leaves that are no arrays and results that are no
    trees of arrays; TracerError for values of other traces; and what the function itself raises.

    Example:
        >>> import mlc.numpy as mnp
        >>> from mlc.tracing import ShapeDtype
        >>> trace(lambda x: {"y": mnp.exp(x) + 1}, [ShapeDtype((2, 3), "f32")]).out_types
        (f32[2,3],)
    """
    name = name or _name_of(function)
    leaves, in_tree, names = _flatten_arguments(function, name, args, dict(kwargs or {}), dict(static or {}))
    described = [_describe_argument(x, leaf_name, name) for x, leaf_name in zip(leaves, names, strict=True)]
    outer = current_trace() if has_active_table() else None
    table = Table()
    here = Trace(table, name, outer, capture=capture)
    with table.active(), _going_on(here):
        parameters = [table.parameter(t, n) for (t, _), n in zip(described, names, strict=True)]
        tracers = [Tracer(p, here, weak) for p, (_, weak) in zip(parameters, described, strict=True)]
        traced_args, traced_kwargs = tree.unflatten(in_tree, tracers)
        with table.at((), device or (outer.table.device if outer is not None else None)):
            result = function(*traced_args, **traced_kwargs, **(static or {}))
        results, out_tree, out_weak = _flatten_results(result, name)
    captures = tuple((here.captures or {}).values())
    parameters += [node for _, node in captures]
    _check_closed(results, parameters, here)
    return Traced(
        Graph(name, parameters, results, table), in_tree, out_tree, tuple(weak for _, weak in described), out_weak,
        tuple(tracer for tracer, _ in captures),
    )  # fmt: skip


def subtrace(
    function: Callable[..., Any],
    nodes: Sequence[Node],
    in_tree: TreeDef | None = None,
    *,
    weak: Sequence[bool] | None = None,
    name: str | None = None,
) -> tuple[list[Node], TreeDef]:
    """Call ``function`` on tracers of ``nodes``, within the active table; its results' nodes and their tree.

    The tracers are passed one by one, or as the argument tuple of structure ``in_tree``. Nothing is copied: nodes that
    the function makes land in the active table. Raises as ``trace`` does for unfit results.
    """
    here = current_trace()
    flags = weak if weak is not None else [False] * len(nodes)
    tracers = [Tracer(n, here, w) for n, w in zip(nodes, flags, strict=True)]
    args = tracers if in_tree is None else tree.unflatten(in_tree, tracers)
    inside, here.inside = here.inside, False
    locations = here.table.current
    try:
        results, out_tree, _ = _flatten_results(function(*args), name or _name_of(function))
    finally:
        here.inside = inside
        here.table.current = locations
    return results, out_tree


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


@contextmanager
def _going_on(here: Trace) -> Iterator[None]:
    try:
        yield
    finally:
        here.ended = True
        here.constants.clear()
        here.closed.clear()


def _flatten_arguments(
    function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: dict[str, Any], static: dict[str, Any]
) -> tuple[list[Any], TreeDef, list[str]]:
    names = _argument_names(function, name, args, kwargs, static)
    leaves, in_tree = tree.flatten((tuple(args), kwargs))
    args_tree, kwargs_tree = in_tree.children
    paths = [p for n, child in zip(names, args_tree.children, strict=True) for p in tree.paths(child, n)]
    keys = kwargs_tree.aux if isinstance(kwargs_tree.aux, tuple) else ()
    paths += [p for n, child in zip(keys, kwargs_tree.children, strict=True) for p in tree.paths(child, n)]
    return leaves, in_tree, paths


def _argument_names(
    function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: dict[str, Any], static: dict[str, Any]
) -> list[str]:
    """The name of each positional argument, from the signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a callable written in C
        return [f"arg{i}" for i in range(len(args))]
    bind(name, signature, args, {**kwargs, **static})
    found: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            found += [f"{parameter.name}[{i}]" for i in range(len(args) - len(found))]
        elif parameter.name not in static:
            found.append(parameter.name)
    return found[: len(args)]


def bind(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The arguments by the names that the function ``name`` gives them. ArgumentError where they do not fit."""
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        written = signature.replace(parameters=plain, return_annotation=signature.empty)
        raise ArgumentError(f"{name}: {error}", location=str(user_location()), hint=f"it is {name}{written}") from None


def _describe_argument(x: object, leaf: str, name: str) -> tuple[TensorType, bool]:
    try:
        if isinstance(x, Dim) and not has_active_table():
            raise ArgumentError(
                f"{name}: argument {leaf} is the symbolic size {x}, which has no value here",
                hint=f"sizes are part of shapes: mlc.ShapeDtype(({x}, ...), 'f32')",
            )
        type, weak = describe(x, f"{name}: argument {leaf}")
    except MlcError as error:
        error.location = error.location or str(user_location())
        if leaf == "self":
            error.hint = "make it static (static_argnames='self'), or its class a tree (mlc.tree.register_node)"
        raise
    if type.dtype is F64 and is_f64_data(x):
        notice_f64(f"{name}: argument {leaf}, {type},")
    return type, weak


def _flatten_results(result: Any, name: str) -> tuple[list[Node], TreeDef, tuple[bool, ...]]:
    found, out_tree = tree.flatten_with_paths(result, "result")
    nodes, weak = [], []
    for path, x in found:
        try:
            weak.append(describe(x)[1])
        except MlcError as error:
            where = "its result" if path == "result" else f"{path} of its result"
            kind = type(x).__name__
            raise ArgumentError(
                f"{name}: {where.replace('result[', '[')} is of type {kind}, which a compiled function cannot return",
                location=str(user_location()),
                hint="results are arrays and numbers, in dict, list, tuple, dataclass or None",
            ) from error
        nodes.append(as_node(x))
    return nodes, out_tree, tuple(weak)


def _check_closed(results: Sequence[Node], parameters: Sequence[Node], here: Trace) -> None:
    """Every parameter that the results depend on is one of the graph's own."""
    own = set(parameters)
    for node in reachable(results):
        if node.op.name == "parameter" and node not in own:
            here.name = f"a function that was differentiated or mapped inside {here.name}"
            raise leaked(Tracer(node, here))
