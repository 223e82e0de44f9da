"""Panels: some columns of a contraction's operand in scratch, one row of vectors for each k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.ir.kernel import Index, KernelBuilder, Memory, Value

from .contraction_form import Batch
from .contraction_frame import Frame
from .tiling import Tiling
from .turned import transpose


@dataclass(frozen=True, slots=True)
class Columns:
    """Vectors of neighbouring columns: the first one, and the mask of each vector (None where all lanes are inside).

    In a panel they begin at column ``place``.
    """

    first: Index
    masks: tuple[Value | None, ...]
    place: int = 0


def pack_panel(f: Frame, t: Tiling, panel: Memory, batch: Batch, columns: Columns, start: Index, stop: Index) -> None:
    """Write ``columns`` at k in start .. stop to ``panel[k - start]``.

    Columns outside and, in a transposed panel, rows after the last k hold anything.
    """
    b = f.builder
    if t.packing == "transpose":
        _transpose(f, t, panel, batch, columns, start, stop)
        return
    with b.loop(start, stop, unroll=4) as loop:
        for v, mask in enumerate(columns.masks):
            column = columns.first + v * t.lanes
            b.store(panel, (loop.index - start, v * t.lanes), f.column_vector(batch, column, loop.index, t.lanes, mask))


def _transpose(f: Frame, t: Tiling, panel: Memory, batch: Batch, columns: Columns, start: Index, stop: Index) -> None:
    """Squares of lanes x lanes elements, read along K and turned in registers."""
    b, lanes = f.builder, t.lanes
    length = (stop - start).constant
    whole = Index.of(length // lanes * lanes) if length is not None else b.floordiv(stop - start, lanes) * lanes

    def square(k: Index, first: Index, v: int, inside: bool, mask: Value | None) -> None:
        places = [first + j if inside else b.min(first + j, f.n - 1) for j in range(lanes)]
        runs = [f.column_run(batch, column, start + k, lanes, mask) for column in places]
        for i, row in enumerate(transpose(b, runs)):
            b.store(panel, (k + i, v), row)

    def squares(k: Index, mask: Value | None) -> None:
        for v, outside in enumerate(columns.masks):
            square(k, columns.first + v * lanes, v * lanes, outside is None, mask)

    if whole.constant != 0:
        with b.loop(0, whole, lanes) as loop:
            squares(loop.index, None)
    if length is None or length % lanes:
        with b.loop(whole, stop - start, lanes) as loop:
            squares(loop.index, b.tail_mask(start + loop.index, stop, lanes))


def sums(b: KernelBuilder, vectors: Sequence[Value]) -> Value:
    """Lane i is the sum of the lanes of vector i: a fixed tree of halves. The number of vectors is a power of two."""
    found, lanes = list(vectors), vectors[0].lanes
    segment = lanes  # lanes that belong to one sum
    while len(found) > 1 or segment > 1:
        half = segment // 2
        if segment == 1:  # more vectors than lanes: nothing is left to add, only to join
            found = [_join(b, x, y) for x, y in zip(found[::2], found[1::2], strict=True)]
            continue
        if len(found) == 1:
            x = y = found[0]
            count = x.lanes // segment
            low = tuple(s * segment + i for s in range(count) for i in range(half))
            high = tuple(i + half for i in low)
            found = [_add(b, x, y, low, high)]
        else:
            width = found[0].lanes
            low = tuple(s + i for s in range(0, 2 * width, segment) for i in range(half))
            high = tuple(i + half for i in low)
            found = [_add(b, x, y, low, high) for x, y in zip(found[::2], found[1::2], strict=True)]
        segment = half
    return found[0]


def _add(b: KernelBuilder, x: Value, y: Value, low: tuple[int, ...], high: tuple[int, ...]) -> Value:
    return b.op("add", b.shuffle(x, y, low), b.shuffle(x, y, high))


def _join(b: KernelBuilder, x: Value, y: Value) -> Value:
    return b.shuffle(x, y, tuple(range(x.lanes + y.lanes)))
