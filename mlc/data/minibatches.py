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
    arrays: Sequence[Array], batch: int, *, seed: int = 0, epochs: int | None = 1, keep_last: bool = False
) -> Iterator[tuple[Array, ...]]:
    """Yield minibatches: for each array the same ``batch`` rows, every row once an epoch, in a new order each epoch.

    The order depends on ``seed`` and the epoch alone. ``epochs=None`` never ends. The rows left over at the end of an
    epoch are dropped, so that all batches have one shape, unless ``keep_last``.
    Raises ArgumentError where arrays differ in length or have fewer than ``batch`` rows.

    Example:
        >>> import numpy as np
        >>> x, y = np.arange(6.0), np.arange(6)
        >>> [bool((a == b).all()) for a, b in batches((x, y), 3, seed=1)]
        [True, True]
    """
    rows = _rows(arrays)
    if batch < 1 or (rows < batch and not keep_last):
        raise ArgumentError(f"batches: batches of {batch} cannot be made from {rows} rows")
    return _batches(arrays, rows, batch, seed, epochs, keep_last)


def _batches(
    arrays: Sequence[Array], rows: int, batch: int, seed: int, epochs: int | None, keep_last: bool
) -> Iterator[tuple[Array, ...]]:
    end = rows if keep_last else rows - rows % batch
    for epoch in count() if epochs is None else range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(rows)
        for start in range(0, end, batch):
            chosen = order[start : start + batch]
            yield tuple(a[chosen] for a in arrays)


def _rows(arrays: Sequence[Array]) -> int:
    lengths = [len(a) for a in arrays]
    if not lengths or len(set(lengths)) > 1:
        raise ArgumentError(f"batches: needs arrays with the same number of rows, was given {lengths}")
    return lengths[0]
