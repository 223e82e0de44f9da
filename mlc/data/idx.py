"""The IDX file format of MNIST: bytes to arrays (http://yann.lecun.com/exdb/mnist/, "THE IDX FILE FORMAT")."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes. Raises DataError where it is missing or is no such file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) < 4 or data[:3] != bytes((0, 0, UNSIGNED_BYTE)):
        raise DataError(f"{path}: is not an IDX file of unsigned bytes")
    rank = data[3]
    header = 4 + 4 * rank
    if len(data) < header:
        raise DataError(f"{path}: ends inside its header")
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    if len(data) != header + prod(shape):
        raise DataError(f"{path}: has {len(data) - header} elements, its header says {' x '.join(map(str, shape))}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
