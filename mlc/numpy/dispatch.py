"""How a function of mlc.numpy is called: inside a trace it adds nodes, outside it is compiled, cached and run.

The convention: ``@operation("x", "y")`` names the parameters that hold operands (values, or trees of them), which come
first; all others are static and hashable. The decorated function takes anything an operand may be (tracers, arrays,
numbers) and returns tracers. Outside of a trace ``mlc.eager.eager(function, *operands, **static)`` runs it, where
``function`` is the undecorated one and every operand is passed by position.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from mlc import tree
from mlc.errors import ArgumentError, MlcError
from mlc.ir.graph.node import current_table, has_active_table
from mlc.ir.types import F64
from mlc.tracing.lift import ExactFloat, describe
from mlc.tracing.location import user_location
from mlc.tracing.tracer import Trace, Tracer, current_trace, leaked

P = ParamSpec("P")
R = TypeVar("R")


def operation(*operand_names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function of tracers a public function of values; its operands are the parameters named."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        split = _splitter(function, operand_names)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not has_active_table():
                operands, static = split(args, kwargs)
                return cast(R, _run_eagerly(function, operands, static))
            trace = current_trace()
            if trace.inside:
                return function(*args, **kwargs)
            return _record(trace, function, args, kwargs)

        return call

    return decorate


def _record(trace: Trace, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    """Call ``function`` with the user's line as the location of the nodes that it makes."""
    table = current_table()
    before, here = table.current, user_location(2)
    table.current = (here,)
    trace.inside = True
    try:
        return function(*args, **kwargs)
    except MlcError as error:
        if error.location is None:
            error.location = str(here)
        raise
    finally:
        trace.inside = False
        table.current = before


def _splitter(function: Callable[..., Any], operand_names: tuple[str, ...]) -> Callable[..., Any]:
    """A function that parts the arguments of a call into operands, by position, and static keyword arguments."""
    signature = inspect.signature(function)
    order = tuple(signature.parameters)
    if order[: len(operand_names)] != operand_names:
        raise ValueError(f"{function.__name__}: operands {operand_names} are not the first parameters")

    def split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not kwargs and len(args) == len(operand_names):
            return args, kwargs
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise _unfit(function, error) from None
        operands = []
        for name in operand_names:
            default = signature.parameters[name].default
            operands.append(bound.pop(name, default))
        return tuple(operands), {k: _static(v) for k, v in bound.items()}

    return split


def _unfit(function: Callable[..., Any], error: TypeError) -> ArgumentError:
    """The error for a call whose arguments do not fit the signature of ``function``."""
    name, signature = function.__name__, inspect.signature(function)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    hint = f"it is {name}{signature.replace(parameters=plain, return_annotation=signature.empty)}"
    return ArgumentError(f"{name}: {error}", location=str(user_location(3)), hint=hint)


def _static(x: Any) -> Any:
    """Hashable: lists become tuples."""
    return tuple(map(_static, x)) if isinstance(x, list) else x


def _run_eagerly(function: Callable[..., Any], operands: tuple[Any, ...], static: dict[str, Any]) -> Any:
    from mlc.eager import eager

    operands = _check_operands(function.__name__, operands)
    try:
        return eager(function, *operands, **static)
    except MlcError as error:
        error.location = error.location or str(user_location(2))
        raise


def _check_operands(name: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands, with lists of plain numbers refused and numbers beside f64 arrays made f64 rather than f32."""
    leaves, structure = tree.flatten(operands)
    wide = False
    for x in leaves:
        if isinstance(x, Tracer):
            raise leaked(x)
        if not isinstance(x, float | int):
            try:
                wide = wide or describe(x, f"{name}: operand")[0].dtype is F64
            except MlcError as error:
                error.location = str(user_location(3))
                raise
    if not wide:
        return operands
    exact = [ExactFloat(x) if isinstance(x, float) else x for x in leaves]
    return cast(tuple[Any, ...], tree.unflatten(structure, exact))


__all__ = ["operation"]
