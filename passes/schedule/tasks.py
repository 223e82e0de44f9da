"""How work is cut into tasks and vectors: by shape and target alone, never by the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mlc.ir.dims import Size, bounds
from mlc.ir.graph import Node
from mlc.ir.kernel import Index, KernelBuilder, Value
from mlc.ir.target import Target
from mlc.ir.types import BOOL, DType, TensorType

TASK_COST = 48 << 10  # bytes moved plus flops of one task: well above the cost of handing it out, well inside L2


def choose_lanes(nodes: Iterable[Node], target: Target, extent: Size) -> int:
    """Lanes of the vectors that walk an axis of ``extent``: one register of the widest type up to 4 bytes.

    A mix of 4 and 8 byte elements takes two registers for the wide ones; half floats are computed in f32.
    """
    widths = {_width(n.dtype) for n in nodes if isinstance(n.type, TensorType) and n.type.shape and n.dtype != BOOL}
    widest = max(widths, default=1)
    if widest == 8 and 4 in widths:
        widest = 4
    lanes = target.vector_bits // (8 * widest)
    most = bounds(extent)[1]
    while lanes > 1 and lanes // 2 >= most:
        lanes //= 2
    return lanes


def _width(dtype: DType) -> int:
    return max(dtype.itemsize, 4) if dtype.is_float else dtype.itemsize


def cut(extents: Sequence[Size], cost: int, multiple: int = 1) -> tuple[int | None, ...]:
    """The grain of each axis of a nest: how many of its iterations one task does, or None for all of them.

    ``cost`` is that of one innermost iteration. Inner axes are kept whole as long as a task stays small; the grain
    of the innermost is a ``multiple``; blocks are of nearly equal size.
    """
    left = max(TASK_COST // max(cost, 1), 1)
    grains: list[int | None] = []
    for k, extent in reversed(list(enumerate(extents))):
        step = multiple if k == len(extents) - 1 else 1
        most = bounds(extent)[1]
        if most <= max(left, step):
            grains.append(None)
            left //= max(most, 1)
            continue
        grain = max(left, 1)
        if isinstance(extent, int):
            grain = -(-extent // -(-extent // grain))
        grains.append(-(-grain // step) * step)
        left = 1 if left < most else left
        left = 1
    return tuple(reversed(grains))


def count_tasks(nest: Iterable[tuple[Size, int]]) -> int:
    """The most tasks that a parallel nest has."""
    total = 1
    for extent, grain in nest:
        total *= -(-bounds(extent)[1] // grain)
    return total


def counted(b: KernelBuilder, lower: Index, upper: Index, body: Callable[[Index], None]) -> None:
    """A loop, or nothing or only its body where it runs at most once for certain."""
    trips = (upper - lower).constant
    if trips is not None and trips <= 1:
        if trips == 1:
            body(lower)
        return
    with b.loop(lower, upper) as loop:
        body(loop.index)


def vector_loop(
    b: KernelBuilder,
    lower: Index,
    upper: Index,
    extent: Index,
    lanes: int,
    unroll: int,
    emit: Callable[[Index, Value | None], None],
) -> None:
    """Walk lower .. upper by vectors: ``emit(index, mask)`` for each, the mask None but for the tail of ``extent``.

    ``lower`` is a multiple of ``lanes``, and ``upper`` is one, too, or ``extent``.
    """
    size, first, last = extent.constant, lower.constant, upper.constant
    if lanes == 1:
        if (upper - lower).constant == 1:
            emit(lower, None)
        else:
            with b.loop(lower, upper, unroll=unroll) as loop:
                emit(loop.index, None)
        return
    whole = Index.of(size // lanes * lanes) if size is not None else b.floordiv(extent, lanes) * lanes
    if first is not None and last is not None and whole.constant is not None:
        full = min(last, whole.constant)
        if full - first == lanes:
            emit(lower, None)
        elif full > first:
            with b.loop(lower, full, lanes, unroll=unroll) as loop:
                emit(loop.index, None)
        if full < last:
            emit(Index.of(max(full, first)), b.tail_mask(max(full, first), extent, lanes))
        return
    if size is None or size >= lanes:
        with b.loop(lower, whole if upper == extent else b.min(upper, whole), lanes, unroll=unroll) as loop:
            emit(loop.index, None)
    if size is None or size % lanes:
        with b.loop(whole if first == 0 else b.max(lower, whole), upper, lanes) as loop:
            emit(loop.index, b.tail_mask(loop.index, extent, lanes))
