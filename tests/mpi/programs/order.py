"""Ranks that start collectives in another order, or as many others as they may: what the argument says."""

from __future__ import annotations

import sys

import numpy as np

from tests.mpi.world import World


def one(
    world: World, label: str, *, kind: str = "all_reduce", count: int = 4, dtype: str = "f32", **how: object
) -> None:
    x = np.ones(4, dtype={"f32": np.float32, "f64": np.float64}[dtype])
    world.start(0, kind, x, x, count, dtype=dtype, label=label, **how)  # type: ignore[arg-type]
    world.wait(0)


def other(world: World, what: str) -> None:
    """Another collective than ``one(world, "first")``."""
    label = "other"
    if what == "dtype":
        one(world, label, dtype="f64")
    elif what == "size":
        one(world, label, count=3)
    elif what == "reduction":
        one(world, label, reduction="maximum")
    elif what == "kind":
        one(world, label, kind="collective_broadcast", root=1)
    elif what == "agreement":
        world.agree("train", 7)


def groups_at_their_own_pace(world: World) -> None:
    """Each group starts what it likes, more than are kept, among its pair and its pair turned round; then all meet."""
    pairs, turned = [[0, 2], [1, 3]], [[2, 0], [3, 1]]
    one(world, "first of the pair", groups=pairs)
    one(world, "first of the turned pair", groups=turned)
    for i in range(150):
        mine = turned if i % 3 == 0 and world.rank % 2 else pairs
        one(world, f"{i} of the pair", count=1 + (i + world.rank % 2) % 4, groups=mine)
    one(world, "all")
    world.agree("train", 7)
    one(world, "all again", reduction="maximum")


def main(what: str) -> None:
    world = World()
    try:
        if what == "groups":
            groups_at_their_own_pace(world)
        elif what == "within a group":
            pairs = [[0, 2], [1, 3]]
            one(world, "first of the pair", groups=pairs)
            one(world, "pair", count=3 if world.rank == 3 else 4, groups=pairs)
        else:
            one(world, "before")
            for _ in range(70):
                one(world, "many")
            steps = [lambda: one(world, "first"), lambda: other(world, what)]
            for step in steps if world.rank else steps[::-1]:
                step()
        print(f"rank {world.rank} was not stopped", flush=True)
    finally:
        world.close()


if __name__ == "__main__":
    main(sys.argv[1])
