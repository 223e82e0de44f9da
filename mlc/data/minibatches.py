"""Shuffled minibatches of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError

Array = npt.NDArray[Any]


def batches(
    arrays: Sequence[Array],
    batch: int,
    *,
    seed: int = 0,
    epochs: int | None = 1,
    keep_last: bool = False,
    start: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Array, ...]]:
    """Yield minibatches: for each array the same ``batch`` rows, every row once an epoch, in a new order each epoch.

    The order depends on ``seed`` and the epoch alone. ``epochs=None`` never ends. The rows left over at the end of an
    epoch are dropped, so that all batches have one shape, unless ``keep_last``. The first ``start`` batches are left
    out: a training that used them before goes on behind them. ``shard=(rank, size)`` yields of every batch the rows of
    this rank, the rank-th of ``size`` equal parts, which in the order of the ranks are the batch.
    Raises ArgumentError where arrays differ in length or have fewer than ``batch`` rows, and for batches that cannot be
    cut into ``size`` equal parts.

    Example:
        >>> import numpy as np
        >>> x, y = np.arange(6.0), np.arange(6)
        >>> [bool((a == b).all()) for a, b in batches((x, y), 3, seed=1)]
        [True, True]
        >>> whole, half = (next(batches((y,), 4, shard=s)) for s in ((0, 1), (1, 2)))
        >>> whole[0][2:].tolist() == half[0].tolist()
        True
    """
    rows = _rows(arrays)
    rank, size = shard
    if batch < 1 or (rows < batch and not keep_last):
        raise ArgumentError(f"batches: batches of {batch} cannot be made from {rows} rows")
    if start < 0 or not 0 <= rank < size:
        raise ArgumentError(f"batches: start={start}, shard={shard}: start is 0 or more, shard is a rank and a size")
    for length in (batch, rows % batch if keep_last else 0):
        if length % size:
            raise ArgumentError(
                f"batches: {length} rows cannot be cut into {size} equal parts", hint=f"choose a multiple of {size}"
            )
    return _batches(arrays, rows, batch, seed, epochs, keep_last, start, shard)


def _batches(
    arrays: Sequence[Array],
    rows: int,
    batch: int,
    seed: int,
    epochs: int | None,
    keep_last: bool,
    start: int,
    shard: tuple[int, int],
) -> Iterator[tuple[Array, ...]]:
    starts = range(0, rows if keep_last else rows - rows % batch, batch)
    first, skipped = divmod(start, len(starts)) if starts else (0, 0)
    rank, size = shard
    for epoch in count(first) if epochs is None else range(first, epochs):
        order = np.random.default_rng((seed, epoch)).permutation(rows)
        for begin in starts[skipped if epoch == first else 0 :]:
            chosen = order[begin : begin + batch]
            part = len(chosen) // size
            chosen = chosen[rank * part : (rank + 1) * part]
            yield tuple(a[chosen] for a in arrays)


def _rows(arrays: Sequence[Array]) -> int:
    lengths = [len(a) for a in arrays]
    if not lengths or len(set(lengths)) > 1:
        raise ArgumentError(f"batches: needs arrays with the same number of rows, was given {lengths}")
    return lengths[0]
