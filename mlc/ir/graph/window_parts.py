"""One element of every window at once, as a slice of the padded operand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import UnsupportedError
from ..dims import Dim, Size
from .node import Node
from .shape import PAD, SLICE, constant


def pad_windows(x: Node, value: Node, padding: Sequence[tuple[int, int]], interior: Sequence[int] = ()) -> Node:
    """``x`` with ``value`` around it and between its elements; ``x`` itself where there is none."""
    if not any(a or b for a, b in padding) and not any(interior):
        return x
    low, high = tuple(a for a, _ in padding), tuple(b for _, b in padding)
    return PAD(x, value, low=low, high=high, interior=tuple(interior) or (0,) * len(low))


def window_element(x: Node, offset: Sequence[int], counts: Sequence[Size], strides: Sequence[int] = ()) -> Node:
    """The elements ``offset`` into each of ``counts`` windows ``strides`` apart."""
    start, limit, steps, high = [], [], [], []
    for a, c, s, have in zip(offset, counts, strides or (1,) * len(offset), x.shape, strict=True):
        if isinstance(have, int) and isinstance(c, int):
            start.append(a)
            limit.append(a + (c - 1) * s + 1 if c else a)
            steps.append(s)
            high.append(0)
        else:  # only whole axes of symbolic size are sliced: others are cut by a negative padding
            if s != 1:
                raise UnsupportedError("windows: a symbolic axis is compiled for a stride of 1 only")
            start.append(0)
            limit.append(c)  # type: ignore[arg-type]
            steps.append(1)
            high.append(fixed(c + a - have))
    symbolic = [a if not isinstance(have, int) else 0 for a, have in zip(offset, x.shape, strict=True)]
    zero = constant(np.zeros((), x.dtype.numpy), x.dtype)
    x = pad_windows(x, zero, tuple((-a, b) for a, b in zip(symbolic, high, strict=True)))
    if all(a == 0 and s == 1 for a, s in zip(start, steps, strict=True)) and tuple(limit) == x.shape:
        return x
    return SLICE(x, start=tuple(start), limit=tuple(limit), strides=tuple(steps))


def fixed(size: Size) -> int:
    """``size`` where it is an int; else raises UnsupportedError."""
    if isinstance(size, Dim):
        raise UnsupportedError(f"windows: a padding depends on the symbolic size {size}")
    return size
