"""The world of this process: which rank it is, of how many, on which named axes; joined when first asked for."""

from __future__ import annotations

import atexit
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, DistributedError

Groups = tuple[tuple[int, ...], ...]
Axes = str | Sequence[str] | None


@dataclass(frozen=True)
class World:
    """``size`` ranks, row-major over named ``axes``; ``handle`` is the runtime's, None where there is no other rank."""

    rank: int
    size: int
    axes: tuple[tuple[str, int], ...]
    handle: Any = None

    def along(self, names: Axes) -> tuple[str, ...]:
        """The axes of these names, all of them for None, in the order of the world. ArgumentError for others."""
        known = [name for name, _ in self.axes]
        given = known if names is None else names
        wanted = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        unknown = [n for n in wanted if n not in known]
        if unknown or len(set(wanted)) != len(wanted):
            raise ArgumentError(
                f"axis: the world has the axes {', '.join(known)}, not {', '.join(map(str, unknown or wanted))}",
                hint="name them at the start: mlc.distributed.init(axes={'data': 2, 'model': 2})",
            )
        return tuple(n for n in known if n in wanted)

    def groups(self, names: Axes = None) -> Groups:
        """The ranks that differ in these axes alone: the replica groups of a collective along them."""
        inside = self.along(names)
        found: dict[tuple[int, ...], list[int]] = {}
        for rank in range(self.size):
            place = self.place(rank)
            found.setdefault(tuple(i for n, i in place if n not in inside), []).append(rank)
        return tuple(map(tuple, found.values()))

    def place(self, rank: int) -> list[tuple[str, int]]:
        """Where a rank is on each axis."""
        found, left = [], rank
        for name, extent in reversed(self.axes):
            found.append((name, left % extent))
            left //= extent
        return found[::-1]


ALONE = World(0, 1, (("data", 1),))
_joined: list[World] = []
_left: list[World] = []  # with others: MPI, once ended, does not begin again in a process


def init(*, axes: Mapping[str, int] | None = None) -> None:
    """Join the processes that `mlc launch` (or mpiexec, or srun) has started together with this one.

    ``axes`` names how they are laid out, row-major, for collectives along one axis: ``{"data": 2, "model": 2}`` for
    four processes; by default all are along ``data``. A process that was started by itself is a world of its own. It is
    called once, and by ``rank``, ``size`` and whatever needs the world where the program did not.

    Raises DistributedError where there is no MPI library, or none that fits the launcher, and after ``finalize`` among
    several processes; ArgumentError for axes that do not multiply to the number of processes.
    """
    if _joined:
        if axes is not None and tuple(axes.items()) != _joined[0].axes:
            raise DistributedError(
                "init: this process has joined its world already, with other axes",
                hint="call mlc.distributed.init(axes=...) before anything else of mlc.distributed",
            )
        return
    if _left:
        raise DistributedError(
            "init: this process has left its world, which it cannot join again",
            hint="call mlc.distributed.finalize() after the last use of the world, or leave it to the process's end",
        )
    handle, rank, size = _open()
    named = tuple(axes.items()) if axes is not None else (("data", size),)
    if math.prod(extent for _, extent in named) != size or any(extent < 1 for _, extent in named):
        words = " x ".join(f"{name} {extent}" for name, extent in named)
        raise ArgumentError(f"init: the axes {words} are not {size} processes", hint=f"`mlc launch -n` started {size}")
    _joined.append(World(rank, size, named, handle))


def finalize() -> None:
    """Leave the world for good; done at the end of the process, too. Waits for the others to do so."""
    if not _joined:
        return
    from ..runtime._array import set_world
    from ..runtime._rt import lib

    world = _joined.pop()
    if world.size > 1:
        _left.append(world)
    if world.handle is not None:
        set_world(0)
        lib.mlc_world_close(world.handle)


def _forget() -> None:
    """In a forked child: the world is its parent's, which alone speaks in it and leaves it."""
    from ..runtime._array import set_world

    set_world(0)
    _joined[:] = [replace(world, handle=None) for world in _joined]


def rank(axis: str | None = None) -> int:
    """This process's number among those of the world, or its place along one axis; joins the world where need be."""
    here = world()
    return here.rank if axis is None else dict(here.place(here.rank))[here.along(axis)[0]]


def size(axis: str | None = None) -> int:
    """How many processes run this program together, or along one axis; joins the world where need be."""
    here = world()
    return here.size if axis is None else dict(here.axes)[here.along(axis)[0]]


def world() -> World:
    """The world of this process, which is joined where that has not happened."""
    if not _joined:
        init()
    return _joined[-1]


@contextmanager
def pretended(size: int, axes: Mapping[str, int] | None = None) -> Iterator[World]:
    """Inside, programs are traced for a world of ``size`` ranks: they compile, and the oracles run them, but not C."""
    named = tuple(axes.items()) if axes is not None else (("data", size),)
    _joined.append(World(0, size, named))
    try:
        yield _joined[-1]
    finally:
        _joined.pop()


def _open() -> tuple[Any, int, int]:
    """The runtime's world, this rank and the number of ranks."""
    from ..runtime._array import set_world
    from ..runtime._rt import ffi, lib

    if lib.mlc_launched_ranks() == 1:
        return None, 0, 1
    out, text = ffi.new("struct mlc_world **"), ffi.new("char[4096]")
    folder = ffi.new("char[]", str(Path(sys.prefix) / "lib").encode())
    if lib.mlc_mpi_open(folder, out, text, len(text)):
        raise DistributedError(f"init: {ffi.string(text).decode()}")
    set_world(int(ffi.cast("uintptr_t", out[0])))
    atexit.register(finalize)
    os.register_at_fork(after_in_child=_forget)
    return out[0], int(lib.mlc_world_rank(out[0])), int(lib.mlc_world_size(out[0]))
