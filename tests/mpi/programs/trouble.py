"""Three ranks, of which rank 1 does what the argument says, while the others go on."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from tests.mpi.world import World, WorldError, ffi


def all_reduce(world: World, label: str) -> None:
    x = np.ones(1000, np.float32)
    world.start(0, "all_reduce", x, x, x.size, dtype="f32", label=label)
    world.wait(0)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@ffi.callback("int(void *)")
def interrupted(_: object) -> int:
    return 1


def main(trouble: str) -> None:
    mine = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK")) == "1"
    if mine and trouble == "stopped early":
        stop()
    world = World()
    try:
        work(world, trouble, mine)
    finally:
        world.close()


def work(world: World, trouble: str, mine: bool) -> None:
    all_reduce(world, "all_reduce f32[1000] in one (model.py:1)")
    if mine and trouble == "stopped":
        stop()
    if mine and trouble == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mine and trouble == "busy":
        time.sleep(100)
    if mine and trouble == "raised":
        raise ValueError("rank 1 cannot go on")
    if trouble == "another program":
        world.agree("train" if mine else "step", 7 if mine else 8)
    if mine and trouble == "another collective":
        world.agree("train", 7)
    if trouble == "last":
        time.sleep(3 * mine)
        return
    x = np.ones(1 << 18, np.float32)  # too large for a rank to be done without all others
    world.start(1, "all_reduce", x, x, x.size, dtype="f32", label="all_reduce f32[262144] in two (model.py:2)")
    if mine and trouble == "stopped within":
        stop()
    if mine and trouble == "idle within":
        time.sleep(100)
    if trouble == "interrupted":
        if mine:
            time.sleep(100)
        try:
            world.wait(1, interrupted)
        except WorldError as error:
            print(f"interrupted: {error}", flush=True)
            raise
    world.wait(1)


if __name__ == "__main__":
    main(sys.argv[1])
