"""eval_shape: the shapes and element types of what a function gives, without computing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc import tree
from mlc.ir.graph.node import has_active_table

from .spec import ShapeDtype
from .trace import trace


def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The tree of ``fun(*args, **kwargs)`` with a ``ShapeDtype`` for each array.

    Arguments are trees of arrays, numbers and ShapeDtypes; only their types count. Nothing is compiled or run.
    Raises what tracing ``fun`` raises.

    Example:
        >>> import mlc
        >>> mlc.eval_shape(lambda x, w: {"y": x @ w}, mlc.ShapeDtype((2, 3)), mlc.ShapeDtype((3, 4)))
        {'y': ShapeDtype((2, 4), f32)}
    """
    traced = trace(fun, args, kwargs, capture=has_active_table())
    return tree.unflatten(traced.out_tree, [ShapeDtype(t.shape, t.dtype) for t in traced.out_types])
