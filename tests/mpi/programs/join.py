"""Joins the world and leaves it."""

from __future__ import annotations

from tests.mpi.world import World

if __name__ == "__main__":
    world = World()
    print(f"rank {world.rank} of {world.size} has joined")
    world.close()
