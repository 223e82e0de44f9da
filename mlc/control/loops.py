"""while_loop: a tree of values, replaced by what a function makes of it, as long as another says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import tree
from ..errors import ArgumentError, DTypeError, ShapeError
from ..ir.graph import WHILE, Node, results_of
from ..ir.types import BOOL, scalar
from ..tracing import Traced, user_location
from ..transforms.call import at_users_line, name_of
from .region import (
    anywhere,
    as_here,
    differing,
    line_of,
    same_structure,
    trace_region,
    tracers_of,
    union_of_captured,
    with_parameters,
    wrap,
)


def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any) -> Any:
    """``val = init_val``; as long as ``cond_fun(val)``: ``val = body_fun(val)``; then ``val``.

    ``val`` is a tree of arrays and numbers whose structure, shapes and dtypes stay the same; ``cond_fun`` gives one
    bool. Both may use values of the function around them. It is compiled as one loop, however often it runs, and has
    derivatives forward (``mlc.jvp``); for gradients use ``mlc.scan`` or ``mlc.fori_loop`` with a fixed number of trips.

    Raises ArgumentError, DTypeError or ShapeError, with the line of ``body_fun`` and both types, where what is carried
    would change.

    Example:
        >>> import mlc
        >>> int(mlc.while_loop(lambda x: x < 100, lambda x: x * 3, 1))
        243
    """
    return anywhere("while_loop", while_inside, init_val, cond_fun=cond_fun, body_fun=body_fun)


def while_inside(init_val: Any, cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any]) -> Any:
    with at_users_line():
        init = tracers_of(init_val, "while_loop: init_val")
        body = trace_region(body_fun, [init], f"while_loop: {name_of(body_fun)}")
        init, body = settle(init, body, lambda v: trace_region(body_fun, [v], f"while_loop: {name_of(body_fun)}"))
        cond = trace_region(cond_fun, [init], f"while_loop: {name_of(cond_fun)}")
        if cond.out_types != (scalar(BOOL),):
            found = ", ".join(map(str, cond.out_types)) or "nothing"
            raise DTypeError(
                f"while_loop: {name_of(cond_fun)} gives {found}, not one bool",
                location=line_of(cond, 0) if cond.out_types else str(user_location()),
                hint="compare, or reduce with mlc.numpy.any or all",
            )
        return loop(init, cond, body)


def settle(init: Any, body: Traced, again: Callable[[Any], Traced]) -> tuple[Any, Traced]:
    """The first values and the body with types that agree: weak numbers take the element type that the body gives."""
    leaves, structure = tree.flatten_with_paths(init, "value")
    same_structure(f"{body.graph.name} gives another tree than it takes", structure, body.out_tree)
    if any(
        x.weak and x.node.type != t and x.shape == t.shape for (_, x), t in zip(leaves, body.out_types, strict=True)
    ):
        given = [
            x.astype(t.dtype) if x.weak and x.shape == t.shape else x
            for (_, x), t in zip(leaves, body.out_types, strict=True)
        ]
        init = tree.unflatten(structure, given)
        body = again(init)
        leaves = tree.flatten_with_paths(init, "value")[0]
    for i, ((path, x), t) in enumerate(zip(leaves, body.out_types, strict=True)):
        if x.node.type != t:
            kind = DTypeError if x.dtype != t.dtype else ShapeError
            what = f"{body.graph.name}: carried {path} changes its type"
            raise differing(kind, what, x.node.tensor, t, line_of(body, i))
    return init, body


def loop(init: Any, cond: Traced, body: Traced) -> Any:
    """The while of two regions over the same tree."""
    leaves, structure = tree.flatten(init)
    captured = union_of_captured([cond, body])
    operands: list[Node] = [*(x.node for x in leaves), *as_here(captured)]
    if not leaves:
        raise ArgumentError("while_loop: init_val holds no value", location=str(user_location()))
    whole = with_parameters(body, captured, "body")
    whole = whole.with_results((*whole.results, *whole.parameters[len(leaves) :]))
    made = results_of(WHILE(*operands, cond=with_parameters(cond, captured, "cond"), body=whole))
    weak = [x.weak and w for x, w in zip(leaves, body.out_weak, strict=True)]
    return wrap(made[: len(leaves)], structure, weak)
