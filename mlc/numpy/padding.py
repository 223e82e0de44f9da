"""pad: more elements around an array, of one value or from inside of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mlc.errors import ArgumentError, ShapeError
from mlc.ir.graph import CONCATENATE, PAD, REVERSE
from mlc.ir.graph.node import Node
from mlc.tracing.lift import as_node, describe
from mlc.tracing.location import user_location
from mlc.tracing.tracer import Tracer

from .dispatch import operation
from .manipulation import part_of_axis
from .promotion import broadcast_node, wrap

PAD_MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad(x: object, pad_width: int | Sequence[int] | Sequence[Sequence[int]], /, mode: str = "constant", *,
        constant_values: object = 0) -> Tracer:  # fmt: skip
    """``x`` with more elements around: ``pad_width`` is a number, a pair (before, after), or a pair for each axis.

    ``mode`` is "constant" (``constant_values``), "edge" (the nearest element), "reflect" (mirrored at the last
    element), "symmetric" (mirrored behind it) or "wrap" (from the other end). Raises ArgumentError for another.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.pad(mnp.asarray([1, 2]), 1).tolist()
        [0, 1, 2, 0]
        >>> mnp.pad(mnp.asarray([1, 2, 3]), (2, 1), mode="reflect").tolist()
        [3, 2, 1, 2, 3, 2]
    """
    if mode not in PAD_MODES:
        raise ArgumentError(
            f"pad: mode is {mode!r}; it is one of {', '.join(PAD_MODES)}", location=str(user_location())
        )
    given = np.asarray(pad_width)
    rank = describe(x, "pad: operand")[0].rank
    if given.dtype.kind not in "iu" or given.shape not in ((), (2,), (1, 2), (rank, 2)):
        raise ShapeError(f"pad: pad_width is {pad_width!r}; it is a number, a pair, or a pair for each of {rank} axes",
                         location=str(user_location()))  # fmt: skip
    pairs = tuple((int(a), int(b)) for a, b in np.broadcast_to(given, (rank, 2)))
    return _pad(x, constant_values, pairs) if mode == "constant" else _pad_from_inside(x, pairs, mode)


@operation("x", "constant_values")
def _pad(x: object, constant_values: object, pad_width: tuple[tuple[int, int], ...]) -> Tracer:
    node = as_node(x, None, "pad: operand")
    if len(pad_width) != len(node.shape):
        raise ShapeError(f"pad: operand is {node.type}; pad_width has {len(pad_width)} pairs")
    if any(a < 0 or b < 0 for a, b in pad_width):
        raise ArgumentError(f"pad: pad_width {pad_width} is negative")
    low, high = tuple(a for a, _ in pad_width), tuple(b for _, b in pad_width)
    return wrap(PAD(node, as_node(constant_values, node.dtype), low=low, high=high, interior=(0,) * len(low)))


@operation("x")
def _pad_from_inside(x: object, pad_width: tuple[tuple[int, int], ...], mode: str) -> Tracer:
    """Each axis is put together of runs of its elements that go up, go down or stay."""
    node = as_node(x, None, "pad: operand")
    for axis, (low, high) in enumerate(pad_width):
        n = node.shape[axis]
        if low < 0 or high < 0:
            raise ArgumentError(f"pad: pad_width {pad_width} is negative")
        if not low and not high:
            continue
        if not isinstance(n, int) or not n:
            state = "is empty" if n == 0 else "is symbolic and can only be padded with a constant"
            raise ShapeError(f"pad: axis {axis} of operand {node.type} {state}")
        places = np.pad(np.arange(n), (low, high), mode)  # type: ignore[call-overload]  # a mode of its own
        parts = [_run(node, axis, first, step, count) for first, step, count in _runs(places.tolist())]
        node = CONCATENATE(*parts, dimension=axis) if len(parts) > 1 else parts[0]
    return wrap(node)


def _runs(places: Iterable[int]) -> list[tuple[int, int, int]]:
    """First element, step (1, -1 or 0) and length of the runs that ``places`` is made of."""
    found: list[tuple[int, int, int]] = []
    for place in places:
        if found:
            first, step, count = found[-1]
            delta = place - (first + step * (count - 1))
            if (count == 1 and abs(delta) <= 1) or (count > 1 and delta == step):
                found[-1] = (first, delta, count + 1)
                continue
        found.append((place, 1, 1))
    return found


def _run(node: Node, axis: int, first: int, step: int, count: int) -> Node:
    if step == 0:
        shape = (*node.shape[:axis], count, *node.shape[axis + 1 :])
        return broadcast_node(part_of_axis(node, axis, first, first + 1), shape)
    low = first if step > 0 else first - count + 1
    part = part_of_axis(node, axis, low, low + count)
    return part if step > 0 else REVERSE(part, dimensions=(axis,))
