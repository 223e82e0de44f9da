"""Calls to their times: the distribution over many calls after a warm-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of ``calls`` calls: the least, the mean, and percentiles by their number."""

    calls: int
    least: float
    mean: float
    percentiles: dict[int, float]

    @property
    def throughput(self) -> float:
        """Calls a second, by the mean."""
        return 1 / self.mean if self.mean else float("inf")

    def as_dict(self) -> dict[str, float | int]:
        named = {f"p{p}": v for p, v in self.percentiles.items()}
        return {"calls": self.calls, "min": self.least, "mean": self.mean, **named, "throughput": self.throughput}


def measure(call: Callable[[], object], *, seconds: float = 1.0, calls: int = 20, warmup: int = 3) -> Timing:
    """Time ``call`` for about ``seconds``, at least ``calls`` times, after ``warmup`` calls that do not count.

    Example:
        >>> measure(lambda: None, seconds=0.0, calls=5).calls
        5
    """
    for _ in range(warmup):
        call()
    times: list[int] = []
    clock = time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    while len(times) < calls or clock() < end:
        begin = clock()
        call()
        times.append(clock() - begin)
    array = np.array(times) * 1e-9
    found = {p: float(v) for p, v in zip(PERCENTILES, np.percentile(array, PERCENTILES), strict=True)}
    return Timing(len(times), float(array.min()), float(array.mean()), found)
