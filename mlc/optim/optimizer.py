"""What an optimizer is, and what all of them share: the step count, the rate, and walking parameters with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlc import numpy as mnp
from mlc import tree
from mlc.errors import ArgumentError, DTypeError, ShapeError
from mlc.ir.graph.node import has_active_table
from mlc.ir.types import F32, F64, TensorType
from mlc.tracing.lift import describe
from mlc.tracing.location import user_location

Schedule = Callable[[Any], Any]


class Optimizer(NamedTuple):
    """A pair of pure functions on trees of arrays.

    ``init(params)`` is the first state. ``update(params, grads, state)`` is ``(params, state)`` after one step; the
    step count is an array of the state, so that one compiled function serves all steps. Neither changes its arguments:
    donate them (``donate_argnames``) to update in place.

    Example:
        >>> import mlc
        >>> opt = mlc.optim.sgd(0.5)
        >>> params = {"w": mlc.numpy.asarray([1.0, 2.0])}
        >>> params, state = opt.update(params, {"w": mlc.numpy.asarray([2.0, 2.0])}, opt.init(params))
        >>> params["w"].tolist()
        [0.0, 1.0]
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], tuple[Any, Any]]


def first_step() -> Any:
    """The step count of a first state: i64, no step taken."""
    return mnp.asarray(np.zeros((), np.int64))


def zeros_for(params: Any) -> Any:
    """A tree of zeros like ``params``."""
    return tree.map(_zeros, params)


def rate_at(learning_rate: float | Schedule, step: Any) -> Any:
    """The learning rate at ``step`` (steps taken before): a number, or what the schedule says."""
    return learning_rate(step) if callable(learning_rate) else learning_rate


def as_real(step: Any, like: Any) -> Any:
    """The step count as a float wide enough for ``like``: f64 for f64 parameters, else f32."""
    return mnp.astype(step, F64 if describe(like)[0].dtype == F64 else F32)


def each(
    function: Callable[..., tuple[Any, ...]], results: int, params: Any, grads: Any, *states: Any
) -> tuple[Any, ...]:
    """``function(param, grad, *states)`` at every leaf: ``results`` trees, each leaf in the type it had before.

    Result i takes the element type of the parameter (i = 0) or of state i - 1. Raises ArgumentError and ShapeError that
    name the leaf where the trees do not fit, DTypeError for a parameter of integers.
    """
    leaves, structure = tree.flatten(params)
    for path, leaf in tree.flatten_with_paths(params, "params")[0]:
        type, _ = describe(leaf, path)
        if not type.dtype.is_float:
            raise DTypeError(
                f"update: {path} is {type}; what an optimizer changes are floats", location=str(user_location()),
                hint="keep what is not learned out of params",
            )  # fmt: skip
    columns = [leaves, _fitting("grads", grads, params, structure)]
    columns += [_fitting("the state", s, params, structure) for s in states]
    rows = [function(*row) for row in zip(*columns, strict=True)]
    found = []
    for i in range(results):
        before = columns[0] if i == 0 else columns[i + 1]
        found.append([mnp.astype(row[i], describe(x)[0].dtype) for row, x in zip(rows, before, strict=True)])
    return tuple(tree.unflatten(structure, column) for column in found)


def _zeros(leaf: Any) -> Any:
    if has_active_table():
        return mnp.zeros_like(leaf)
    type, _ = describe(leaf, "init: a parameter")
    return mnp.asarray(np.zeros(_static(type), type.dtype.numpy))


def _static(type: TensorType) -> tuple[int, ...]:
    """The shape of a parameter, which is no symbolic one."""
    return tuple(n for n in type.shape if isinstance(n, int))


def _fitting(what: str, other: Any, params: Any, structure: tree.TreeDef) -> list[Any]:
    """The leaves of ``other``, which has the structure and shapes of ``params``."""
    leaves, kind = tree.flatten(other)
    if kind != structure:
        words = tree.difference(structure, kind)
        raise ArgumentError(f"update: params and {what}: {words}", location=str(user_location()))
    for (path, x), y in zip(tree.flatten_with_paths(params, "params")[0], leaves, strict=True):
        a, b = describe(x, path)[0], describe(y, f"{what} for {path}")[0]
        if a.shape != b.shape:
            raise ShapeError(f"update: {path} is {a}, {what} for it {b}", location=str(user_location()))
    return leaves
