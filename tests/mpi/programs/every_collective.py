"""Every collective on every element type, small and large, in place or not, in groups or all, against NumPy."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from mlc.ir.types import DTYPES
from tests.mpi.world import REDUCTIONS, Array, World, WorldError, values

UFUNCS: dict[str, Any] = {
    "add": np.add,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}
SIZES = (0, 1, 7, 1000)
INTEGERS = tuple(name for name, dtype in DTYPES.items() if dtype.is_integer)


def reductions(dtype: str) -> tuple[str, ...]:
    return REDUCTIONS[:4] if DTYPES[dtype].is_float else REDUCTIONS


def reduced(reduction: str, blocks: list[Array]) -> Array:
    return functools.reduce(UFUNCS[reduction], blocks)


def same(found: Array, expected: Array, what: object) -> None:
    assert found.dtype == expected.dtype, what
    assert found.shape == expected.shape, what
    np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8), err_msg=str(what))


def check(world: World, dtype: str, count: int, in_place: bool, groups: list[list[int]]) -> None:
    """All collectives at once in flight, one slot each; waited for in another order than started."""
    mine = next(g for g in groups if world.rank in g)
    place, size, numpy = mine.index(world.rank), len(mine), DTYPES[dtype].numpy
    pending = []

    def begin(kind: str, source: Array, destination: Array, expected: Array, **more: Any) -> None:
        world.start(len(pending), kind, source, destination, count, dtype=dtype, groups=groups, **more)
        pending.append((destination[: expected.size], expected, (kind, dtype, count, in_place, groups, more)))

    everyone = [values(dtype, count, r) for r in mine]
    wide = [values(dtype, count * size, r) for r in mine]
    for reduction in reductions(dtype):
        source = everyone[place].copy()
        destination = source if in_place else np.zeros(count, numpy)
        begin("all_reduce", source, destination, reduced(reduction, everyone), reduction=reduction)
        source = wide[place].copy()
        destination = source if in_place else np.zeros(count, numpy)
        expected = reduced(reduction, wide)[place * count : (place + 1) * count]
        begin("reduce_scatter", source, destination, expected, reduction=reduction)
    gathered = np.zeros(count * size, numpy)
    block = gathered[place * count : (place + 1) * count] if in_place else everyone[place].copy()
    block[...] = everyone[place]
    begin("all_gather", block, gathered, np.concatenate(everyone))
    for root in {0, size - 1}:
        source = everyone[place].copy()
        destination = source if in_place else np.zeros(count, numpy)
        begin("collective_broadcast", source, destination, everyone[root], root=root)
    world.progress()
    for slot in sorted(range(len(pending)), key=lambda s: (s % 3, s)):
        world.wait(slot)
        same(*pending[slot])


def check_nan(world: World) -> None:
    """Maximum and minimum pass on NaN, whichever rank has it, and of NaN of all signs and of zeros the same bits."""
    for slot, (dtype, reduction) in enumerate(itertools.product(("f16", "bf16", "f32", "f64"), ("maximum", "minimum"))):
        x = np.full(world.size + 1, world.rank, DTYPES[dtype].numpy)
        x[world.rank] = np.nan
        world.start(slot, "all_reduce", x, x, x.size, dtype=dtype, reduction=reduction)
        world.wait(slot)
        wide = x.astype(np.float64)
        assert np.isnan(wide[:-1]).all(), (dtype, reduction, wide)
        assert wide[-1] == (world.size - 1 if reduction == "maximum" else 0), (dtype, reduction, wide)
        x[0] = 0.0 if world.rank % 2 else -0.0
        x[1] = np.nan if world.rank % 2 else -np.nan
        world.start(slot, "all_reduce", x, x, 2, dtype=dtype, reduction=reduction)
        world.wait(slot)
        negative = reduction == "minimum" or world.size == 1
        same(x[:1], np.asarray([-0.0 if negative else 0.0], x.dtype), (dtype, reduction))
        assert world.size == 1 or x[1].tobytes() == np.asarray(np.nan, x.dtype).tobytes(), (dtype, reduction, x)


def check_overflow(world: World) -> None:
    """Integers go round in every sum and product, whatever their width."""
    for slot, (dtype, reduction) in enumerate(itertools.product(INTEGERS, ("add", "multiply"))):
        ends = np.iinfo(DTYPES[dtype].numpy)
        blocks = [
            np.random.default_rng(r).integers(ends.min, ends.max, 99, DTYPES[dtype].numpy) for r in range(world.size)
        ]
        x = blocks[world.rank].copy()
        world.start(slot, "all_reduce", x, x, x.size, dtype=dtype, reduction=reduction)
        world.wait(slot)
        with np.errstate(over="ignore"):
            same(x, reduced(reduction, blocks), (dtype, reduction))


def check_halves(world: World) -> None:
    """Each sum of two halves is the nearest half, also of subnormals and at the border to infinity."""
    for dtype in ("f16", "bf16"):
        numpy = DTYPES[dtype].numpy
        bits = np.arange(1 << 16, dtype=np.uint16).view(numpy)
        blocks = [
            bits if r == 0 else np.roll(bits, 977 * r) if r == 1 else np.zeros_like(bits) for r in range(world.size)
        ]
        x = blocks[world.rank].copy()
        world.start(0, "all_reduce", x, x, x.size, dtype=dtype)
        world.wait(0)
        with np.errstate(invalid="ignore", over="ignore"):
            expected = (blocks[0].astype(np.float32) + blocks[1].astype(np.float32)).astype(numpy)
        finite = ~np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(x), ~finite)
        np.testing.assert_array_equal(x[finite].astype(np.float32), expected[finite].astype(np.float32))


def check_large(world: World) -> None:
    """A megabyte of random f32, with bits that are the same on all ranks and when it is done again."""
    blocks = [np.random.default_rng(r).standard_normal(1 << 18).astype(np.float32) for r in range(world.size)]
    found = []
    for _ in range(2):
        x = blocks[world.rank].copy()
        world.start(0, "all_reduce", x, x, x.size, dtype="f32")
        world.wait(0)
        np.testing.assert_allclose(x, np.sum(blocks, axis=0, dtype=np.float64), rtol=1e-5, atol=1e-5)
        everyone = np.zeros(x.size * world.size, np.float32)
        world.start(0, "all_gather", x, everyone, x.size, dtype="f32")
        world.wait(0)
        for r in range(world.size):
            same(everyone[r * x.size : (r + 1) * x.size], x, "bits of rank " + str(r))
        found.append(x)
    same(found[0], found[1], "bits of a rerun")


def check_refusals(world: World) -> None:
    """Mistakes are errors with a text, and do not reach MPI."""
    x = np.zeros(4, np.float32)
    world.start(3, "all_reduce", x, x, 4, dtype="f32")
    for expected, mistake in (
        ("slot 3 for twice is in use", lambda: world.start(3, "all_reduce", x, x, 4, dtype="f32", label="twice")),
        ("slot 64 for beyond", lambda: world.start(64, "all_reduce", x, x, 4, dtype="f32", label="beyond")),
        ("slot 5, where nothing is in flight", lambda: world.wait(5)),
        (
            f"is for {world.size + 1} ranks in groups of 1",
            lambda: world.start(4, "all_reduce", x, x, 4, dtype="f32", groups=[[r] for r in range(world.size + 1)]),
        ),
        ("integers and bool", lambda: world.start(4, "all_reduce", x, x, 4, dtype="f32", reduction="xor")),
    ):
        try:
            mistake()
        except WorldError as error:
            assert expected in str(error), error
        else:
            raise AssertionError(f"no error: {expected}")
    world.wait(3)


def main() -> None:
    world = World()
    halves = [list(range(world.size // 2)), list(range(world.size // 2, world.size))]
    odd_and_even = [list(range(1, world.size, 2)), list(range(0, world.size, 2))]
    alone = [[r] for r in range(world.size)]
    backwards = [list(range(world.size))[::-1]]
    for dtype in DTYPES:
        for count, in_place in itertools.product(SIZES, (False, True)):
            check(world, dtype, count, in_place, [list(range(world.size))])
    for groups in (halves, odd_and_even, alone, backwards) if world.size > 1 else (alone,):
        for count, in_place in itertools.product((5, 1000), (False, True)):
            check(world, "f32", count, in_place, groups)
    check_nan(world)
    check_overflow(world)
    if world.size > 1:
        check_halves(world)
    check_large(world)
    check_refusals(world)
    world.agree("every_collective", 1234)
    world.close()
    print(f"rank {world.rank} of {world.size} is done")


if __name__ == "__main__":
    main()
