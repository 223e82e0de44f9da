"""How a function of mlc.numpy is called: inside a trace it adds nodes, outside it is compiled, cached and run.

The convention: ``@operation("x", "y")`` names the parameters that hold operands (values, or trees of them), which come
first; all others are static and hashable, or lists. The decorated function takes anything an operand may be (tracers,
arrays, numbers) and returns tracers. Outside of a trace ``mlc.eager`` runs the undecorated one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from mlc.errors import MlcError
from mlc.ir.graph.node import TRACES, current_table, has_active_table
from mlc.tracing.location import user_location
from mlc.tracing.tracer import Trace, current_trace

P = ParamSpec("P")
R = TypeVar("R")

EAGER: dict[Callable[..., Any], Callable[..., Any]] = {}
"""What runs an operation's function outside of traces, from its first call on."""


def operation(
    *operand_names: str, host: Callable[..., Any] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function of tracers a public function of values; its operands are the parameters named.

    ``host`` gives the result as a NumPy array where that needs no arithmetic, for calls outside of traces; None where
    the operation has to be compiled after all.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if tuple(inspect.signature(function).parameters)[: len(operand_names)] != operand_names:
            raise ValueError(f"{function.__name__}: operands {operand_names} are not the first parameters")

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not TRACES or not has_active_table():
                made: R | None = None if host is None else _made(host, args, kwargs)
                if made is not None:
                    return made
                result: R = (EAGER.get(function) or _eager(function, operand_names))(*args, **kwargs)
                return result
            trace = current_trace()
            if trace.inside:
                return function(*args, **kwargs)
            return _record(trace, function, args, kwargs)

        return call

    return decorate


def _made(host: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``host`` makes, as an array; None where it makes nothing, or the arguments do not fit."""
    from mlc.array import Array, asarray

    if any(isinstance(x, Array) and x.on is not None for x in args):  # the result is there too
        return None
    try:
        found = host(*args, **kwargs)
    except (MlcError, TypeError, ValueError):  # the operation itself says what is wrong
        return None
    return None if found is None else asarray(found, copy=True)


def _eager(function: Callable[..., Any], operand_names: tuple[str, ...]) -> Callable[..., Any]:
    from mlc.eager import EagerFunction

    return EAGER.setdefault(function, EagerFunction(function, operand_names))


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


__all__ = ["EAGER", "operation"]
