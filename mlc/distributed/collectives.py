"""Collectives on trees of arrays, in traces and outside of them: what every process calls, and each gets a result of.

All processes call the same ones in the same order. In a process that is alone they give what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from numbers import Integral
from typing import Any

from .. import tree
from ..control.region import anywhere
from ..errors import ArgumentError
from ..ir.graph import COLLECTIVE_BROADCAST, DIVIDE, Node, fill
from ..ir.graph.collective import all_gather as gather_node
from ..ir.graph.collective import all_reduce as reduce_node
from ..ir.graph.collective import reduce_scatter as scatter_node
from ..ir.types import F32
from ..numpy.axes import one_axis
from ..tracing import Tracer, as_node, as_tracer, current_trace
from ..transforms.call import at_users_line
from .world import Axes, Groups, world

OPS = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum", "and": "and", "or": "or", "xor": "xor",
       "mean": "add"}  # fmt: skip


def all_reduce(x: Any, op: str = "sum", *, axis: Axes = None) -> Any:
    """Every array of ``x`` folded with those of the other processes, element by element; all get the result.

    ``op`` is sum, mean, prod, max, min, and, or, xor. ``axis`` names the axes of the world along which to fold (see
    ``init``), all of them by default. Types and shapes stay, but for the mean of integers and bools, which is f32 as
    that of ``mlc.numpy.mean`` and of JAX's ``pmean``; the sum of bools is or, their product and. Sums have the order of
    the MPI library: the same bits on all processes and in every run with as many of them, but for the sign of a NaN.

    Raises ArgumentError for an unknown op or axis, ShapeError for and, or, xor of floats.

    Example:
        >>> import mlc
        >>> gradients = {"w": mlc.numpy.asarray([1.0, 2.0])}
        >>> mlc.all_reduce(gradients, "mean")["w"].tolist()
        [1.0, 2.0]
    """
    _check_op("all_reduce", op, OPS)
    return anywhere("all_reduce", _all_reduce, x, op=op, groups=world().groups(axis))


def all_gather(x: Any, *, dimension: int = 0, axis: Axes = None) -> Any:
    """The arrays of all processes side by side along ``dimension``, in the order of their ranks; all get the result.

    Each array of ``x`` has one shape on all processes; its axis ``dimension`` grows by the number of those. Raises
    ShapeError where an array has no such axis.

    Example:
        >>> import mlc
        >>> mlc.distributed.all_gather(mlc.numpy.asarray([1.0, 2.0])).shape
        (2,)
    """
    return anywhere("all_gather", _all_gather, x, dimension=dimension, groups=world().groups(axis))


def reduce_scatter(x: Any, op: str = "sum", *, dimension: int = 0, axis: Axes = None) -> Any:
    """As ``all_reduce``, and each process gets the block of its rank of the result, cut along ``dimension``.

    Raises ArgumentError for an unknown op or axis, ShapeError where an array has no axis ``dimension`` or this does not
    divide into so many blocks.
    """
    _check_op("reduce_scatter", op, [o for o in OPS if o != "mean"])
    return anywhere("reduce_scatter", _reduce_scatter, x, op=op, dimension=dimension, groups=world().groups(axis))


def broadcast(x: Any, root: int = 0, *, axis: Axes = None) -> Any:
    """The arrays of process ``root`` (along ``axis``, its place there) on all processes, whose own have its shapes.

    Raises ArgumentError for an unknown axis, and for a root that is no place there.

    Example:
        >>> import mlc
        >>> key = mlc.distributed.broadcast(mlc.random.key(0))  # the same everywhere, whatever each has made
    """
    groups = world().groups(axis)
    if not isinstance(root, Integral) or not 0 <= root < len(groups[0]):
        raise ArgumentError(f"broadcast: root is {root!r}, there are ranks 0 to {len(groups[0]) - 1}")
    first = tuple((g[root], *g[:root], *g[root + 1 :]) for g in groups)
    return anywhere("broadcast", _broadcast, x, groups=first)


def _check_op(name: str, op: object, ops: Collection[str]) -> None:
    if not isinstance(op, str) or op not in ops:
        raise ArgumentError(f"{name}: {op!r} is no op", hint=f"the ops are {', '.join(ops)}")


def _all_reduce(x: Any, *, op: str, groups: Groups) -> Any:
    def fold(node: Node) -> Node:
        folded = reduce_node(node, OPS[op], groups)
        return folded if op != "mean" else DIVIDE(folded, fill(len(groups[0]), folded.tensor))

    return _each(_floats(x, "all_reduce") if op == "mean" else x, "all_reduce", fold, groups)


def _floats(x: Any, name: str) -> Any:
    """The tree with its integers and bools as f32, in any world."""
    leaves, structure = tree.flatten_with_paths(x, f"{name}: x")
    with at_users_line():
        tracers = [as_tracer(leaf, name=path) for path, leaf in leaves]
        return tree.unflatten(structure, [t if t.dtype.is_float else as_tracer(t, F32) for t in tracers])


def _all_gather(x: Any, *, dimension: int, groups: Groups) -> Any:
    def gather(node: Node) -> Node:
        return gather_node(node, groups, one_axis("all_gather", dimension, node.tensor))

    return _each(x, "all_gather", gather, groups)


def _reduce_scatter(x: Any, *, op: str, dimension: int, groups: Groups) -> Any:
    def scatter(node: Node) -> Node:
        return scatter_node(node, OPS[op], groups, one_axis("reduce_scatter", dimension, node.tensor))

    return _each(x, "reduce_scatter", scatter, groups)


def _broadcast(x: Any, *, groups: Groups) -> Any:
    return _each(x, "broadcast", lambda n: COLLECTIVE_BROADCAST(n, replica_groups=groups), groups)


def _each(x: Any, name: str, make: Callable[[Node], Node], groups: Groups) -> Any:
    """``make`` of the node of every leaf. Where each group is one process it only checks: leaves stay what they are."""
    here = current_trace()
    leaves, structure = tree.flatten_with_paths(x, f"{name}: x")
    with at_users_line():
        tracers = [as_tracer(leaf, name=path) for path, leaf in leaves]
        made = [make(as_node(t)) for t in tracers]
        if len(groups[0]) > 1:
            tracers = [Tracer(n, here, t.weak) for n, t in zip(made, tracers, strict=True)]
    return tree.unflatten(structure, tracers)
