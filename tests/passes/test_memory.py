"""The arena: values alive together do not overlap, and those that are not share bytes."""

from __future__ import annotations

import random

import pytest

from mlc.passes.memory import ALIGNMENT, Interval, assign_offsets


@pytest.mark.parametrize("seed", range(20))
def test_values_alive_together_do_not_overlap(seed: int) -> None:
    rng = random.Random(seed)
    values = []
    for _ in range(60):
        first = rng.randrange(40)
        values.append(Interval(rng.randrange(0, 5000), first, first + rng.randrange(8)))
    offsets, total = assign_offsets(values)
    for i, a in enumerate(values):
        assert offsets[i] % ALIGNMENT == 0
        assert offsets[i] + a.nbytes <= total
        for j, b in enumerate(values[:i]):
            if a.first <= b.last and b.first <= a.last:
                apart = offsets[i] + a.nbytes <= offsets[j] or offsets[j] + b.nbytes <= offsets[i]
                assert apart, (a, b)


def test_a_chain_needs_two_places() -> None:
    chain = [Interval(1000, i, i + 1) for i in range(50)]
    assert assign_offsets(chain)[1] == 2 * 1024


def test_nothing_needs_nothing() -> None:
    assert assign_offsets([]) == ([], 0)
