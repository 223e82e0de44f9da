"""The PTX interpreter's global memory over memory of this process: what the mock driver allocated, by address."""

from __future__ import annotations

import ctypes
from bisect import insort

import numpy as np

from tests.ptx.memory import Allocation, Memory

ABOVE_THE_HOST = 0x9000_0000_0000  # no process has addresses there: for the variables of modules


class HostMemory(Memory):
    """Allocations come and go as a driver makes them; which of their bytes were written is kept here."""

    def __init__(self) -> None:
        super().__init__()
        self.next = ABOVE_THE_HOST

    def adopt(self, address: int, size: int) -> None:
        """Memory of this process, as yet unwritten; whole pieces of 16 bytes are there."""
        rounded = -(-size // 16) * 16
        data = np.frombuffer((ctypes.c_char * rounded).from_address(address), np.uint8)
        insort(self.allocations, Allocation(address, size, data, np.zeros(rounded, bool)), key=lambda a: a.address)

    def note_written(self, address: int, size: int) -> None:
        found, at = self.find(address, size)
        found.ready[at : at + size] = True

    def note_copied(self, to: int, source: int, size: int) -> None:
        """What was unwritten at the source is unwritten in the copy."""
        (target, at), (origin, begin) = self.find(to, size), self.find(source, size)
        target.ready[at : at + size] = origin.ready[begin : begin + size].copy()
