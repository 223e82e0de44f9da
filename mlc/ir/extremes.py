"""The larger and the smaller of floats as IEEE 754-2019 has them: -0.0 is below 0.0, and NaN wins over every number.

NumPy's ``maximum`` leaves open which of two zeros it gives. What is defined here are functions with the methods of a
ufunc that the evaluators call; other element types are NumPy's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Extreme:
    """One of ``np.maximum`` and ``np.minimum``, on floats by way of integers in the same order."""

    ufunc: Any

    def __call__(self, x: Array, y: Array) -> Array:
        x, y = np.asarray(x), np.asarray(y)
        if not _is_float(x):
            return np.asarray(self.ufunc(x, y))
        return _floats(self.ufunc(self._keys(x), self._keys(y.astype(x.dtype))), x.dtype)

    def reduce(self, x: Array, axis: int) -> Array:
        """Over one axis, which is not empty."""
        return self._on_keys(x, lambda keys: self.ufunc.reduce(keys, axis=axis))

    def accumulate(self, x: Array, axis: int, dtype: Any = None) -> Array:
        """Of all elements up to each one along ``axis``; ``dtype`` is that of ``x``."""
        return self._on_keys(x, lambda keys: self.ufunc.accumulate(keys, axis))

    def at(self, x: Array, places: Any, updates: Array) -> None:
        """Combine ``updates`` into ``x`` in place, several into one element too."""
        if not _is_float(x):
            self.ufunc.at(x, places, updates)
            return
        keys = self._keys(x)
        self.ufunc.at(keys, places, self._keys(updates))
        x[...] = _floats(keys, x.dtype)

    def _on_keys(self, x: Array, function: Any) -> Array:
        if not _is_float(x):
            return np.asarray(function(x))
        return _floats(np.asarray(function(self._keys(x))), x.dtype)

    def _keys(self, x: Array) -> Array:
        """Integers in the order of the floats, NaN at the end that wins."""
        bits = np.ascontiguousarray(x).reshape(x.shape).view(f"i{x.dtype.itemsize}")
        ends = np.iinfo(bits.dtype)
        keys = bits ^ ((bits >> (8 * x.dtype.itemsize - 1)) & ends.max)
        return np.where(np.isnan(x), ends.max if self.ufunc is np.maximum else ends.min, keys).astype(bits.dtype)


def _floats(keys: Array, dtype: np.dtype[Any]) -> Array:
    ends = np.iinfo(keys.dtype)
    bits = np.asarray(keys ^ ((keys >> (8 * dtype.itemsize - 1)) & ends.max), keys.dtype)
    numbers = bits.view(dtype)
    return np.where((keys == ends.max) | (keys == ends.min), np.array(np.nan, dtype), numbers)


def _is_float(x: Array) -> bool:
    return x.dtype.kind == "f" or x.dtype.name == "bfloat16"


maximum = Extreme(np.maximum)
minimum = Extreme(np.minimum)
