"""A hash of all that a tree of arrays holds, so that two trainings can be compared by a line of text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import tree as trees

Array = npt.NDArray[Any]


def fingerprint(tree: Any) -> str:
    """64 hexadecimal digits of SHA-256: equal for trees with the same paths, element types, shapes and bits.

    Leaves are arrays and Python numbers, of any type and shape.

    Example:
        >>> import numpy as np
        >>> fingerprint({"w": np.zeros(2)}) == fingerprint({"w": np.array([0.0, 0.0])})
        True
        >>> fingerprint({"w": np.zeros(2)}) == fingerprint({"w": np.array([0.0, -0.0])})
        False
    """
    return digest({path: np.asarray(leaf) for path, leaf in trees.flatten_with_paths(tree)[0]})


def digest(arrays: Mapping[str, Array]) -> str:
    """The fingerprint of arrays by their paths, in whatever order."""
    state = hashlib.sha256()
    for path in sorted(arrays):
        array = np.asarray(arrays[path], order="C")
        state.update(f"{path}\0{array.dtype.name}\0{array.shape}\0".encode())
        state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()
