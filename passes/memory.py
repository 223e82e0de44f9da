"""Offsets in one arena: values that are never alive together share bytes."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Interval:
    """A value of ``nbytes`` that is written at step ``first`` and read for the last time at step ``last``."""

    nbytes: int
    first: int
    last: int


def assign_offsets(values: Sequence[Interval]) -> tuple[list[int], int]:
    """An offset for every value and the bytes of the arena.

    Largest first, each at the lowest place that is free during its life (Pisarchyk and Lee 2020, "Efficient memory
    management for deep neural net inference", greedy by size).
    """
    offsets = [0] * len(values)
    placed: list[tuple[int, int, Interval]] = []
    total = 0
    for index in sorted(range(len(values)), key=lambda i: (-values[i].nbytes, values[i].first, i)):
        value = values[index]
        size = _round_up(value.nbytes)
        offset = 0
        for begin, end, other in placed:
            if other.last < value.first or value.last < other.first:
                continue
            if offset + size <= begin:
                break
            offset = max(offset, end)
        offsets[index] = offset
        insort(placed, (offset, offset + size, value), key=itemgetter(0, 1))
        total = max(total, offset + size)
    return offsets, total


def _round_up(n: int) -> int:
    return -(-max(n, 1) // ALIGNMENT) * ALIGNMENT
