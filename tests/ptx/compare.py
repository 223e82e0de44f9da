"""``setp``: ordered comparisons are false for NaN, those with a ``u`` at the end are true."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
ORDERED: dict[str, Any] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip


def compare(name: str, a: Array, b: Array) -> Array:
    """Booleans, of the comparison that ``name`` says.

    >>> compare("ltu", np.array([1.0, np.nan]), np.array([1.0, 1.0]))
    array([False,  True])
    """
    unordered = np.isnan(a) | np.isnan(b) if a.dtype.kind == "f" else np.zeros(a.shape, bool)
    if name in ("num", "nan"):
        return unordered if name == "nan" else ~unordered
    found: Array = ORDERED[name](a, b) & ~unordered if name in ORDERED else ORDERED[name[:-1]](a, b) | unordered
    return found
