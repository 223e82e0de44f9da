"""jacfwd, jacrev and hessian: every derivative of every result, a direction at a time, as one loop over directions.

What does not depend on the direction is the same in every trip and moves before the loop; what is left is linear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import numpy as mnp
from .. import tree
from ..errors import UnsupportedError
from ..ir.dims import Dim
from ..tracing import Tracer, as_tracer, user_location
from .call import anywhere, argument_positions, name_of
from .products import jvp, vjp

Argnums = int | Sequence[int]


def jacfwd(fun: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The Jacobian of ``fun``, by tangents: best where it has fewer arguments than results.

    For each array of the result's tree (shape r) it holds the tree of the argument at ``argnums`` with arrays of shape
    r + that of the argument's; with a sequence of positions it holds tuples of those.

    Raises DifferentiationError where an argument has no derivative, UnsupportedError for symbolic sizes.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> mlc.jacfwd(lambda x: x * x)(mnp.asarray([1.0, 2.0])).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
    """

    def inside(*args: Any, **kwargs: Any) -> Any:
        given, call = _chosen("jacfwd", fun, argnums, args, kwargs)
        leaves, in_tree = _leaves(given, "jacfwd", fun)
        zeros = [mnp.zeros(x.shape, x.dtype) for x in leaves]

        def along(k: int) -> Any:
            def step(_: None, e: Any) -> tuple[None, Any]:
                tangents = [e if i == k else zero for i, zero in enumerate(zeros)]
                return None, jvp(call, tree.unflatten(in_tree, leaves), tree.unflatten(in_tree, tangents))[1]

            return tree.map(lambda c: _turned(c, leaves[k].shape), _each(step, leaves[k]))

        columns = [along(k) for k in range(len(leaves))]
        parts, out_tree = [tree.leaves(c) for c in columns], tree.structure(columns[0])
        found = [_of_argument(in_tree, [p[i] for p in parts], argnums) for i in range(out_tree.num_leaves)]
        return tree.unflatten(out_tree, found)

    return anywhere("jacfwd", fun, inside)


def jacrev(fun: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The Jacobian of ``fun`` as ``jacfwd`` gives it, by cotangents: best where it has fewer results than arguments.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> mlc.jacrev(lambda x: mnp.sum(x * x))(mnp.asarray([1.0, 2.0])).tolist()
        [2.0, 4.0]
    """

    def inside(*args: Any, **kwargs: Any) -> Any:
        given, call = _chosen("jacrev", fun, argnums, args, kwargs)
        leaves, in_tree = _leaves(given, "jacrev", fun)
        primals = tree.unflatten(in_tree, leaves)
        results, out_tree = _leaves(call(*primals), "jacrev", fun)

        def of(k: int) -> Any:
            def step(_: None, e: Any) -> tuple[None, Any]:
                cotangents = [e if i == k else mnp.zeros(r.shape, r.dtype) for i, r in enumerate(results)]
                return None, vjp(call, *primals)[1](tree.unflatten(out_tree, cotangents))

            rows = tree.leaves(_each(step, results[k]))
            whole = [mnp.reshape(r, (*results[k].shape, *x.shape)) for r, x in zip(rows, leaves, strict=True)]
            return _of_argument(in_tree, whole, argnums)

        return tree.unflatten(out_tree, [of(k) for k in range(len(results))])

    return anywhere("jacrev", fun, inside)


def hessian(fun: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The second derivatives of ``fun``: the Jacobian, by tangents, of its Jacobian by cotangents.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> mlc.hessian(lambda x: x[0] * x[0] * x[1])(mnp.asarray([3.0, 5.0])).tolist()
        [[10.0, 6.0], [6.0, 0.0]]
    """
    return jacfwd(jacrev(fun, argnums), argnums)


def _chosen(
    transform: str, fun: Callable[..., Any], argnums: Argnums, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], Callable[..., Any]]:
    """The arguments that are differentiated, and ``fun`` as a function of these."""
    positions = argument_positions(f"{transform} of {name_of(fun)}", argnums, len(args))

    def call(*some: Any) -> Any:
        given = list(args)
        for i, x in zip(positions, some, strict=True):
            given[i] = x
        return fun(*given, **kwargs)

    call.__name__ = name_of(fun)
    return tuple(args[i] for i in positions), call


def _leaves(x: Any, transform: str, fun: Callable[..., Any]) -> tuple[list[Tracer], Any]:
    leaves, structure = tree.flatten(x)
    found = [as_tracer(leaf, name=f"{transform} of {name_of(fun)}: argument") for leaf in leaves]
    for leaf in found:
        if isinstance(leaf.size, Dim):
            raise UnsupportedError(
                f"{transform} of {name_of(fun)}: {leaf.node.type} has a symbolic size: as many directions as it says",
                location=str(user_location()), hint="trace it with sizes that are numbers",
            )  # fmt: skip
    return found, structure


def _each(step: Callable[[None, Any], tuple[None, Any]], x: Tracer) -> Any:
    """What ``step`` gives for every direction of ``x``, stacked."""
    from ..control import scan

    basis = mnp.reshape(mnp.eye(x.size, dtype=x.dtype), (x.size, *x.shape))
    return scan(step, None, basis)[1]


def _turned(columns: Any, shape: tuple[Any, ...]) -> Any:
    """Stacked derivatives of a result with the directions last, in the shape of the argument."""
    last = mnp.moveaxis(columns, 0, -1)
    return mnp.reshape(last, (*last.shape[:-1], *shape))


def _of_argument(in_tree: Any, leaves: Sequence[Any], argnums: Argnums) -> Any:
    whole = tree.unflatten(in_tree, leaves)
    return whole[0] if isinstance(argnums, int) else whole
