"""grad and value_and_grad: functions of the derivative of a scalar function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import tree
from ..errors import DifferentiationError
from ..ir.graph import Node, current_table, full_like
from ..tracing import user_location
from .call import Called, anywhere, argument_positions, call_on_fresh, name_of
from .differentiable import is_differentiable
from .differentiate import vjp


def grad(fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient of ``fun``, a function of the same arguments that gives one float.

    ``argnums``: the positions of the arguments (trees of float arrays) to differentiate with respect to. The gradient
    has the tree, shapes and dtypes of that argument; with a sequence of positions it is a tuple of those. With
    ``has_aux``, ``fun`` returns (value, aux), and (gradient, aux) is given. What ``fun`` closes over is constant.
    Gradients of gradients are gradients of any order. Inside a traced function the derivative becomes part of it,
    elsewhere it is compiled.

    Raises DifferentiationError where the value is not one float or an argument has no derivative.

    Example:
        >>> import mlc
        >>> float(mlc.grad(lambda x: x * x * x)(2.0))
        12.0
    """
    both = _gradient("grad", fun, argnums, has_aux)

    def inside(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return anywhere("grad", fun, inside)


def value_and_grad(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """As ``grad``, giving (value, gradient); with ``has_aux`` ((value, aux), gradient).

    Example:
        >>> import mlc
        >>> value, slope = mlc.value_and_grad(lambda x, y: x * y, argnums=(0, 1))(2.0, 5.0)
        >>> float(value), float(slope[0]), float(slope[1])
        (10.0, 5.0, 2.0)
    """
    return anywhere("value_and_grad", fun, _gradient("value_and_grad", fun, argnums, has_aux))


def _gradient(
    transform: str, fun: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool
) -> Callable[..., tuple[Any, Any]]:
    def inside(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        positions = argument_positions(f"{transform} of {name_of(fun)}", argnums, len(args))
        called = call_on_fresh(transform, fun, positions, args, kwargs, has_aux)
        value = _scalar_value(called)
        cotangents = vjp([value], called.fresh)([full_like(value, 1.0)])
        filled = [full_like(p, 0.0) if c is None else c for p, c in zip(called.fresh, cotangents, strict=True)]
        tracers = called.settle([*called.results, *filled])
        count = len(called.results)
        gradients = tree.unflatten(tree.structure(tuple(args[i] for i in positions)), tracers[count:])
        out = (tracers[0], called.aux(tracers[1:count])) if has_aux else tracers[0]
        return out, gradients[0] if isinstance(argnums, int) else gradients

    return inside


def _scalar_value(called: Called) -> Node:
    """The function's value. Raises DifferentiationError where it is not one float."""
    here = str(user_location())
    if called.out_tree.kind is not None:
        raise DifferentiationError(
            f"{called.name}: the value is a {called.out_tree.kind.__name__}, not one float",
            location=here,
            hint="return (value, aux) and pass has_aux=True to return more than the value",
        )
    (value,) = called.values
    made_at = current_table().locations.get(value, ())
    here = str(made_at[0]) if made_at else here
    if not is_differentiable(value):
        raise DifferentiationError(
            f"{called.name}: the value is {value.type}, which has no derivative", location=here,
            hint="the value is a float; integers and bools are steps, with slope zero everywhere",
        )  # fmt: skip
    if value.shape != ():
        raise DifferentiationError(
            f"{called.name}: the value is {value.type}, not one float", location=here,
            hint="reduce it with .sum() or .mean(); mlc.vjp and mlc.jvp differentiate values of any shape",
        )  # fmt: skip
    return value
