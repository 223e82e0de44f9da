"""Global memory: allocations at made-up 64-bit addresses, with their extents, so that no access outside goes unseen."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import PtxError

Array = Any
BASE = 0x7F00_0000_0000
GUARD = 4096  # bytes between allocations that nothing may touch


@dataclass
class Allocation:
    address: int
    size: int
    data: Array  # uint8, its size rounded up to 16
    ready: Array  # bytes that were written
    is_constant: bool = False

    @property
    def name(self) -> str:
        return f"the allocation of {self.size} bytes at {self.address:#x}"


class Memory:
    """Bytes of a device. Allocations are uninitialised until they are written; addresses are never used again.

    >>> memory = Memory()
    >>> address = memory.allocate(8)
    >>> memory.write(address, np.arange(2, dtype=np.float32))
    >>> memory.array(address, 8).view(np.float32)
    array([0., 1.], dtype=float32)
    """

    def __init__(self) -> None:
        self.allocations: list[Allocation] = []  # by address
        self.next = BASE

    def allocate(self, size: int) -> int:
        data = np.full(-(-max(size, 1) // 16) * 16, 0xCD, np.uint8)
        found = Allocation(self.next, size, data, np.zeros(len(data), bool))
        self.allocations.append(found)
        self.next += -(-(size + GUARD) // 256) * 256
        return found.address

    def place(self, values: Array) -> int:
        """The address of a new allocation with these values."""
        address = self.allocate(values.nbytes)
        self.write(address, values)
        return address

    def free(self, address: int) -> None:
        """PtxError of kind launch where no allocation begins at ``address``."""
        found, at = self.find(address, 0)
        if at:
            raise PtxError("launch", f"no allocation begins at {address:#x}")
        self.allocations.remove(found)

    def find(self, address: int, size: int) -> tuple[Allocation, int]:
        """The allocation that has these bytes, and where they begin in it."""
        index = bisect_right(self.allocations, address, key=lambda a: a.address) - 1
        if index >= 0:
            found = self.allocations[index]
            if address + size <= found.address + found.size:
                return found, address - found.address
        raise PtxError("out_of_bounds", f"{size} bytes at {address:#x} are in no allocation")

    def write(self, address: int, values: Array) -> None:
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        found, at = self.find(address, len(raw))
        found.data[at : at + len(raw)] = raw
        found.ready[at : at + len(raw)] = True

    def array(self, address: int, size: int) -> Array:
        """The bytes as they are and will be, not to be written through."""
        found, at = self.find(address, size)
        view = found.data[at : at + size]
        view.flags.writeable = False
        return view

    def read(self, address: int, size: int) -> Array:
        """A copy of the bytes."""
        return self.array(address, size).copy()
