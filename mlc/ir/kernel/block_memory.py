"""Memory as the threads of a grid see it: places checked, races seen, asynchronous copies that land when waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlc.errors import VerifyError
from mlc.ir.types import BOOL

from .data import Instruction, Memory
from .index import IndexVariable
from .numeric import Array
from .races import Clock, Races

_PENDING = 1 << 60  # the group of a copy that is in none yet


class Threads:
    """``blocks`` blocks of ``size`` threads each, from block ``first`` on, and which of them are ``on``."""

    def __init__(self, first: int, blocks: int, size: int) -> None:
        count = blocks * size
        self.size = size
        self.number = first * size + np.arange(count)
        self.place = np.arange(count)
        self.warp = (first + self.place // size) * (-(-size // 32)) + self.place % size // 32
        self.block = self.number // size
        self.on = np.ones(count, np.bool_)
        self.blocks, self.warps = np.zeros(count, np.int64), np.zeros(count, np.int64)

    def clock(self, chosen: Array) -> Clock:
        fields = self.number, self.block, self.warp, self.blocks, self.warps
        return Clock(*(f[chosen] for f in fields))


@dataclass
class BlockMemory:
    """The elements of a memory, all blocks' one after another; those of thread t begin at ``starts[t]``."""

    memory: Memory
    flat: Array
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    starts: Array | None
    extent: int  # elements that one thread sees
    races: Races | None

    @staticmethod
    def of_buffer(m: Memory, flat: Array, sizes: Mapping[IndexVariable, int]) -> BlockMemory:
        shape, strides = (tuple(i.evaluate(sizes) for i in of) for of in (m.shape, m.strides))
        races = Races(len(flat), readers=False) if m.access in ("write", "readwrite") else None
        return BlockMemory(m, flat, shape, strides, None, len(flat), races)

    @staticmethod
    def of_threads(m: Memory, threads: Threads) -> BlockMemory:
        return _own(m, threads.place, len(threads.place))

    @staticmethod
    def of_blocks(m: Memory, threads: Threads) -> BlockMemory:
        found = _own(m, threads.place // threads.size, len(threads.place) // threads.size)
        found.races = Races(len(found.flat))
        return found

    def places(self, n: Instruction, at: list[Array], on: Array, threads: Threads) -> Array:
        """Flat places of the elements at ``at`` (an array an axis); VerifyError where one that is on is outside."""
        flat: Array = np.zeros(on.shape, np.int64)
        for axis, (position, size, stride) in enumerate(zip(at, self.shape, self.strides, strict=True)):
            flat = flat + position * stride
            outside = on & ((position < 0) | (position >= size))
            if outside.any():
                thread, lane = (int(i[0]) for i in np.nonzero(outside))
                found = [int(np.broadcast_to(p, on.shape)[thread, lane]) for p in at]
                raise VerifyError(
                    f"{n.op} {self.memory.name}{found} of shape {list(self.shape)} by thread "
                    f"{thread % threads.size}: axis {axis} is out of bounds at {found[axis]}"
                )
        if (on & ((flat < 0) | (flat >= self.extent))).any():
            raise VerifyError(f"{n.op} {self.memory.name} lies outside of its {self.extent} elements")
        return flat if self.starts is None else flat + self.starts[:, None]

    def read(self, n: Instruction, where: tuple[Array, Array], threads: Threads) -> Array:
        """The elements at (places, on); zeros where off."""
        places, on = where
        result = np.zeros(on.shape, self.flat.dtype)
        result[on] = self.flat[places[on]]
        if self.races is not None:
            by = threads.clock(np.nonzero(on)[0])
            self._refuse(n, self.races.read(places[on], by), by, "reads what another thread wrote", threads)
        return result

    def write(self, n: Instruction, where: tuple[Array, Array], value: Array, threads: Threads) -> None:
        places, on = where
        if self.races is not None:
            by = threads.clock(np.nonzero(on)[0])
            self._refuse(n, self.races.write(places[on], by), by, "writes what another thread uses", threads)
        self.flat[places[on]] = value[on]

    def _refuse(self, n: Instruction, races: Array, by: Clock, what: str, threads: Threads) -> None:
        if races.any():
            k = int(np.argmax(races))
            thread, block = int(by.thread[k]) % threads.size, int(by.block[k])
            raise VerifyError(
                f"{n.op} {self.memory.name}: thread {thread} of block {block} {what}, with no barrier between"
            )


def _own(m: Memory, owner: Array, count: int) -> BlockMemory:
    """Memory of the kernel's own, filled with rubbish, once for each of ``count`` owners."""
    size = m.static_size
    flat = np.zeros(size * count, m.dtype.numpy)
    flat.view(np.uint8)[:] = 1 if m.dtype == BOOL else 0xFF
    shape, strides = (tuple(i.constant or 0 for i in of) for of in (m.shape, m.strides))
    return BlockMemory(m, flat, shape, strides, owner * size, size, None)


@dataclass
class _Copy:
    """Copies under way: a row of ``values`` for each thread, ``group`` the group of each."""

    instruction: Instruction
    target: BlockMemory
    places: Array
    values: Array
    on: Array
    group: Array


class Copies:
    """Asynchronous copies; ``groups`` counts those that each thread has committed."""

    def __init__(self, threads: int) -> None:
        self.groups = np.zeros(threads, np.int64)
        self._under_way: list[_Copy] = []

    def issue(self, n: Instruction, target: BlockMemory, places: Array, on: Array, values: Array) -> None:
        group = np.full(len(self.groups), _PENDING)
        self._under_way.append(_Copy(n, target, places, values, on.copy(), group))

    def commit(self, threads: Array) -> Array:
        """The number of the group of all copies since the last one."""
        number = self.groups.copy()
        for copy in self._under_way:
            copy.group = np.where(threads & (copy.group == _PENDING), number, copy.group)
        self.groups = number + threads
        return number

    def wait(self, left: int, threads: Threads) -> None:
        """Groups but the last ``left`` of each thread arrive."""
        for copy in self._under_way:
            landed = copy.on & (threads.on & (copy.group < self.groups - left))[:, None]
            copy.target.write(copy.instruction, (copy.places, landed), copy.values, threads)
            copy.on = copy.on & ~landed
        self._under_way = [c for c in self._under_way if c.on.any()]
