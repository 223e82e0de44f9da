"""jvp and vjp of user functions: the Jacobian times a tangent, or a cotangent times the Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from .. import tree
from ..errors import DifferentiationError
from ..ir.graph import Node, current_table, full_like, has_active_table
from ..tracing import Tracer, as_node, as_tracer, current_trace, user_location
from ..tree import TreeDef
from .call import Called, at_users_line, call_on_fresh, compile_lazily, name_of
from .cotangent import transpose
from .tangent import jvp as push

KEPT = 128  # functions whose compiled products are kept


def jvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """``fun(*primals)`` and its derivative in the direction ``tangents``, of the trees and types of ``primals``.

    Both results have the tree of ``fun``'s; integers and bools in it have tangents of zeros. Inside a traced function
    this becomes part of it, elsewhere it is compiled, once for each function object.
    Raises DifferentiationError for primals that are no floats and tangents that do not fit.

    Example:
        >>> import mlc
        >>> value, slope = mlc.jvp(lambda x: x * x, (3.0,), (1.0,))
        >>> float(value), float(slope)
        (9.0, 6.0)
    """
    if not has_active_table():
        found: tuple[Any, Any] = _compiled_jvp(fun)(tuple(primals), tuple(tangents))
        return found
    with at_users_line():
        return _jvp(fun, tuple(primals), tuple(tangents))


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """``fun(*primals)`` and its pullback: a function from a cotangent of the result (its tree and types) to those of
    ``primals``, a tuple.

    With ``has_aux``, ``fun`` returns (value, aux), and (value, pullback, aux) is given. Inside a traced function the
    pullback adds to it and shares what the call computed; elsewhere a pullback is compiled and computes ``fun`` again.
    Raises DifferentiationError for primals that are no floats and cotangents that do not fit.

    Example:
        >>> import mlc
        >>> value, pullback = mlc.vjp(lambda x, y: x * y, 3.0, 4.0)
        >>> float(value), [float(c) for c in pullback(1.0)]
        (12.0, [4.0, 3.0])
    """
    if has_active_table():
        with at_users_line():
            return _vjp(fun, primals, has_aux)
    forward, backward = _compiled_vjp(fun, has_aux)
    value, aux = forward(*primals)

    def pullback(cotangent: Any) -> Any:
        return backward(primals, cotangent)

    return (value, pullback, aux) if has_aux else (value, pullback)


@lru_cache(maxsize=KEPT)
def _compiled_jvp(fun: Callable[..., Any]) -> Callable[..., Any]:
    def both(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        return jvp(fun, primals, tangents)

    both.__name__ = f"jvp_of_{name_of(fun)}"
    return compile_lazily(both)


@lru_cache(maxsize=KEPT)
def _compiled_vjp(fun: Callable[..., Any], has_aux: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(*primals: Any) -> tuple[Any, Any]:
        value, _, *aux = vjp(fun, *primals, has_aux=has_aux)
        return value, aux[0] if has_aux else None

    def backward(primals: tuple[Any, ...], cotangent: Any) -> Any:
        return vjp(fun, *primals, has_aux=has_aux)[1](cotangent)

    forward.__name__, backward.__name__ = f"vjp_of_{name_of(fun)}", f"pullback_of_{name_of(fun)}"
    return compile_lazily(forward), compile_lazily(backward)


def _jvp(fun: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    called = call_on_fresh("jvp", fun, range(len(primals)), primals, {})
    given = _fitting(called, "tangents", tangents, tree.structure(primals), called.fresh)
    pushed = push(called.results, dict(zip(called.fresh, given, strict=True)))
    filled = [full_like(r, 0) if t is None else t for r, t in zip(called.results, pushed, strict=True)]
    tracers = called.settle([*called.results, *filled])
    count = len(called.results)
    return tree.unflatten(called.out_tree, tracers[:count]), tree.unflatten(called.out_tree, tracers[count:])


def _vjp(fun: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool) -> Any:
    called = call_on_fresh("vjp", fun, range(len(primals)), primals, {}, has_aux)
    table, here = current_table(), current_trace()
    linear = [table.parameter(p.type) for p in called.fresh]
    pushed = push(called.values, dict(zip(called.fresh, linear, strict=True)))
    settled = [t.node for t in called.settle([*called.results, *(p for p in pushed if p is not None)])]
    rest = iter(settled[len(called.results) :])
    pushed = [None if p is None else next(rest) for p in pushed]
    out = [Tracer(n, here) for n in settled[: len(called.results)]]
    count, in_tree = len(called.values), tree.structure(primals)

    def pullback(cotangent: Any) -> Any:
        with at_users_line():
            given = _fitting(called, "the cotangent", cotangent, called.out_tree, called.values)
            pulled = transpose(pushed, linear, given)
            filled = [full_like(p, 0.0) if c is None else c for p, c in zip(linear, pulled, strict=True)]
        return tree.unflatten(in_tree, [Tracer(n, here) for n in filled])

    value = tree.unflatten(called.out_tree, out[:count])
    return (value, pullback, called.aux(out[count:])) if has_aux else (value, pullback)


def _fitting(called: Called, what: str, given: Any, want: TreeDef, like: Sequence[Node]) -> list[Node]:
    """The leaves of ``given`` as nodes of the types of ``like``. Raises DifferentiationError where they do not fit."""
    leaves, structure = tree.flatten(given)
    if structure != want:
        raise DifferentiationError(
            f"{called.name}: {what}: {tree.difference(want, structure)}",
            location=str(user_location()),
            hint="it has the tree, the shapes and the element types of the value it belongs to",
        )
    nodes = []
    for path, leaf, node in zip(tree.paths(want), leaves, like, strict=True):
        tracer = as_tracer(leaf, name=f"{called.name}: {what}")
        made = as_node(tracer, node.dtype) if tracer.weak else tracer.node
        if made.type != node.type:
            raise DifferentiationError(
                f"{called.name}: {what}{path} is {made.type} where the value is {node.type}",
                location=str(user_location()),
                hint="it has the tree, the shapes and the element types of the value it belongs to",
            )
        nodes.append(made)
    return nodes
