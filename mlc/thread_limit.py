"""mlc.threads: how many threads the calls in a block run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import ArgumentError
from .runtime._array import limit_threads


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Calls of compiled functions in this block, on this Python thread, run on ``number`` threads.

    Results have the same bits for every number. Blocks nest. Without one, calls run on MLC_NUM_THREADS threads, or as
    many as there are CPUs that affinity and cgroups leave this process. Raises ArgumentError for a number outside
    1..1024.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> with mlc.threads(1):
        ...     float(mnp.sum(mnp.ones(3)))
        3.0
    """
    if number == 0:
        raise ArgumentError("threads: 0 is no number of threads: it is 1 to 1024")
    before = limit_threads(number)
    try:
        yield
    finally:
        limit_threads(before)
