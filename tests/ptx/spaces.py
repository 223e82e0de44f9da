"""The state spaces of a launch: parameters, global, constant, shared and local memory, and generic addresses of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PtxError
from .memory import Allocation
from .shadow import Shadow, Who
from .text import Instruction, Register, Vector
from .values import RAW, bits_of, decode, encode

if TYPE_CHECKING:
    from .machine import Machine, Program

Array = Any
SHARED_WINDOW, LOCAL_WINDOW, PARAMETER_WINDOW, WINDOW = 1 << 40, 2 << 40, 3 << 40, 1 << 32
SPACES = ("global", "shared", "local", "param", "const")


class Spaces:
    def __init__(self, machine: Machine, program: Program, arguments: Sequence[int | float], dynamic: int) -> None:
        self.machine = machine
        self.memory = program.memory
        self.symbols = dict(program.addresses)
        self.allocations = list(self.memory.allocations)
        self.starts = np.array([a.address for a in self.allocations], np.uint64)
        self.shadows: dict[int, Shadow] = {}
        self.parameters = self._parameters(arguments)
        of_shared = [v for v in (*program.module.variables, *machine.kernel.variables) if v.space == "shared"]
        self.shared_size = self._place(sorted(of_shared, key=lambda v: v.size == 0)) + dynamic
        self.shared_stride = -(-max(self.shared_size, 1) // 16) * 16
        self.shared = np.full(self.shared_stride * machine.blocks, 0xCD, np.uint8)
        self.local_size = self._place([v for v in machine.kernel.variables if v.space == "local"])
        self.local_stride = -(-max(self.local_size, 1) // 16) * 16
        self.local = np.full(self.local_stride * machine.threads if self.local_size else 0, 0xCD, np.uint8)
        owners = (machine.warp_of, machine.block_of)
        self.shared_shadow = Shadow(len(self.shared), "shared memory", owners)
        self.owners = owners

    def _place(self, variables: Sequence[Any]) -> int:
        at = 0
        for v in variables:
            at = -(-at // max(v.align, 1)) * max(v.align, 1)
            self.symbols[v.name] = at
            at += v.size
        return at

    def _parameters(self, arguments: Sequence[int | float]) -> Array:
        wanted = self.machine.kernel.parameters
        if len(wanted) != len(arguments):
            raise PtxError(
                "launch", f"{self.machine.kernel.name} takes {len(wanted)} arguments, was given {len(arguments)}"
            )
        raw = b""
        for v, value in zip(wanted, arguments, strict=True):
            raw = raw.ljust(-(-len(raw) // v.align) * v.align, b"\0")
            self.symbols[v.name] = len(raw)
            if isinstance(value, float):
                raw += struct.pack("<f" if v.size == 4 else "<d", value)
            else:
                raw += (int(value) % (1 << 8 * v.size)).to_bytes(v.size, "little")
        return np.frombuffer(raw.ljust(-(-len(raw) // 16) * 16 + 16, b"\0"), np.uint8)

    def address_of(self, name: str) -> int:
        if name not in self.symbols:
            raise PtxError("unknown_instruction", f"no variable is called {name}")
        return self.symbols[name]

    def who(self) -> Who:
        m = self.machine
        lanes = m.lanes
        return Who(lanes, m.warp_of[lanes], m.block_of[lanes], m.epoch[lanes], m.warp_epoch[lanes])

    # ---------------------------------------------------------------- accesses

    def generic(self, n: Instruction) -> None:
        """``cvta``: windows of the generic address space for shared and local memory; global addresses are generic."""
        space = next(p for p in n.parts if p.split("::")[0] in SPACES).split("::")[0]
        value = self.machine.read(n.operands[1], n.parts[-1])
        offset = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW, "param": PARAMETER_WINDOW}.get(space, 0)
        moved = value - np.uint64(offset) if "to" in n.parts else value + np.uint64(offset)
        self.machine.write(n.operands[0], n.parts[-1], moved)

    def space_of(self, n: Instruction, addresses: Array) -> tuple[str, Array]:
        """The space of an access, and the addresses in it; a generic access must be in one space for all threads."""
        named = [p.split("::")[0] for p in n.parts if p.split("::")[0] in SPACES]
        if named:
            return named[0], addresses
        for space, start in (("shared", SHARED_WINDOW), ("local", LOCAL_WINDOW), ("param", PARAMETER_WINDOW)):
            inside = (addresses >= start) & (addresses < start + WINDOW)
            if inside.all():
                return space, addresses - np.uint64(start)
            if inside.any():
                raise PtxError("unknown_instruction", "a generic access in several spaces at once")
        return "global", addresses

    def access(self, n: Instruction, type: str) -> None:
        m, bits = self.machine, bits_of(type)
        stores = n.parts[0] == "st"
        where, what = (n.operands[0], n.operands[1]) if stores else (n.operands[1], n.operands[0])
        space, addresses = self.space_of(n, m.addresses(where))
        count = len(what.elements) if isinstance(what, Vector) else 1
        width = bits // 8 * count
        if (addresses % width).any():
            raise PtxError("misaligned", f"{width} bytes at {int(addresses[np.flatnonzero(addresses % width)[0]]):#x}")
        if stores:
            elements = what.elements if isinstance(what, Vector) else (what,)
            raw = np.stack([self._stored(e, type) for e in elements], 1)
            self.store(space, addresses, np.ascontiguousarray(raw).view(np.uint8))
        else:
            raw = self.load(space, addresses, width, n).view(RAW[bits])
            values = decode(raw[:, 0] if not isinstance(what, Vector) else raw.ravel(), type)
            m.write(what, type, values.reshape(raw.shape) if isinstance(what, Vector) else values)

    def _stored(self, element: Any, type: str) -> Array:
        return encode(self.machine.read(element, type), type)

    def load(self, space: str, addresses: Array, width: int, n: Instruction | None = None) -> Array:
        """Bytes [threads, width], checked."""
        if space == "param":
            self._inside(addresses, width, len(self.parameters), "parameters")
            return self._gather(self.parameters, addresses, width)
        if space == "shared":
            self._inside(addresses, width, self.shared_size, "shared memory")
            at = addresses.astype(np.int64) + self.machine.block_of[self.machine.lanes] * self.shared_stride
            self.shared_shadow.read(at, width, self.who())
            return self._gather(self.shared, at, width)
        if space == "local":
            self._inside(addresses, width, self.local_size, "local memory")
            return self._gather(self.local, addresses.astype(np.int64) + self.machine.lanes * self.local_stride, width)
        found = np.empty((len(addresses), width), np.uint8)
        who = self.who()
        for allocation, chosen in self._allocations(addresses, width):
            at = (addresses[chosen] - np.uint64(allocation.address)).astype(np.int64)
            self._shadow(allocation).read(at, width, who.at(chosen))
            found[chosen] = self._gather(allocation.data, at, width)
        return found

    def store(self, space: str, addresses: Array, raw: Array, *, pending: bool = False) -> None:
        width = raw.shape[1]
        if space == "shared":
            self._inside(addresses, width, self.shared_size, "shared memory")
            at = addresses.astype(np.int64) + self.machine.block_of[self.machine.lanes] * self.shared_stride
            self.shared_shadow.write(at, width, self.who(), pending=pending)
            self._scatter(self.shared, at, raw)
        elif space == "local":
            self._inside(addresses, width, self.local_size, "local memory")
            self._scatter(self.local, addresses.astype(np.int64) + self.machine.lanes * self.local_stride, raw)
        elif space == "global":
            who = self.who()
            for allocation, chosen in self._allocations(addresses, width):
                if allocation.is_constant:
                    raise PtxError("out_of_bounds", "a store to constant memory")
                at = (addresses[chosen] - np.uint64(allocation.address)).astype(np.int64)
                self._shadow(allocation).write(at, width, who.at(chosen))
                self._scatter(allocation.data, at, raw[chosen])
        else:
            raise PtxError("out_of_bounds", f"a store to .{space}")

    def _inside(self, addresses: Array, width: int, size: int, what: str) -> None:
        bad = addresses.astype(np.float64) + width > size
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            thread = self.machine.lanes[at]
            raise PtxError("out_of_bounds", f"{width} bytes at {int(addresses[at]):#x} of {size} bytes of {what}",
                           thread=f"thread {thread} of block {self.machine.block_of[thread]}")  # fmt: skip

    def _allocations(self, addresses: Array, width: int) -> list[tuple[Allocation, Array]]:
        """Which threads access which allocation."""
        which = np.searchsorted(self.starts, addresses, "right") - 1
        found = []
        for i in np.unique(which):
            chosen = np.flatnonzero(which == i)
            allocation = self.allocations[int(i)] if i >= 0 else None
            ends = addresses[chosen].astype(np.float64) + width
            bad = np.ones(len(chosen), bool) if allocation is None else ends > allocation.address + allocation.size
            if bad.any():
                at = chosen[int(np.flatnonzero(bad)[0])]
                thread = self.machine.lanes[at]
                near = f", after {allocation.name}" if allocation else ""
                raise PtxError("out_of_bounds", f"{width} bytes at {int(addresses[at]):#x} of global memory{near}",
                               thread=f"thread {thread} of block {self.machine.block_of[thread]}")  # fmt: skip
            assert allocation is not None
            found.append((allocation, chosen))
        return found

    def _shadow(self, allocation: Allocation) -> Shadow:
        if allocation.address not in self.shadows:
            shadow = Shadow(len(allocation.data), f"global memory at {allocation.address:#x}", self.owners)
            ready = allocation.ready
            assert ready is not None
            words = ready.reshape(-1, 4)
            if (words.any(1) != words.all(1)).any():
                shadow.of(np.zeros(0, np.int64), 1, writes=True)
                shadow.ready = ready.copy()
            else:
                shadow.ready = words.all(1)
            self.shadows[allocation.address] = shadow
        return self.shadows[allocation.address]

    def finish(self) -> None:
        """What was written is ready for the next launch."""
        for allocation in self.allocations:
            shadow = self.shadows.get(allocation.address)
            if shadow is not None:
                allocation.ready = np.repeat(shadow.ready, shadow.granule)

    @staticmethod
    def _gather(data: Array, at: Array, width: int) -> Array:
        unit = min(width, 16)
        at = at.astype(np.int64)
        if unit == 16:
            return data.view(np.uint64).reshape(-1, 2)[at // 16].view(np.uint8) if width == 16 else data[
                at[:, None] + np.arange(width)]  # fmt: skip
        return data.view(RAW[8 * unit])[at // unit][:, None].view(np.uint8)

    @staticmethod
    def _scatter(data: Array, at: Array, raw: Array) -> None:
        width = raw.shape[1]
        if width in (1, 2, 4, 8):
            data.view(RAW[8 * width])[at // width] = raw.view(RAW[8 * width])[:, 0]
        else:
            data[at[:, None] + np.arange(width)] = raw

    # ---------------------------------------------------------------- atomics

    def atomic(self, n: Instruction, type: str) -> None:
        """``atom`` and ``red``: one thread after the other, in the order of their numbers."""
        m, returns = self.machine, n.parts[0] == "atom"
        operands = n.operands if returns else (Register("_"), *n.operands)
        space, addresses = self.space_of(n, m.addresses(operands[1]))
        width = bits_of(type) // 8
        if (addresses % width).any():
            raise PtxError("misaligned", f"an atomic of {width} bytes")
        old = np.empty(len(addresses), RAW[bits_of(type)])
        values = [m.read(o, type) for o in operands[2:]]
        rule = next(_UPDATES[p] for p in n.parts if p in _UPDATES)
        lanes, data, at = m.lanes, self.shared, addresses.astype(np.int64)
        if space == "shared":
            self._inside(addresses, width, self.shared_size, "shared memory")
            at = at + m.block_of[lanes] * self.shared_stride
            shadow = self.shared_shadow
        else:
            (allocation, _), *more = self._allocations(addresses, width)
            if more:
                raise PtxError("unknown_instruction", "an atomic on several allocations at once")
            at, data, shadow = at - allocation.address, allocation.data, self._shadow(allocation)
        shadow.write(at, width, self.who(), atomic=True)
        cells = data.view(RAW[bits_of(type)])
        with np.errstate(all="ignore"):
            for i in range(len(lanes)):
                cell = cells[at[i] // width : at[i] // width + 1]
                old[i] = cell[0]
                cell[:] = encode(rule(decode(cell.copy(), type), *(v[i : i + 1] for v in values)), type)
        if returns:
            m.write(operands[0], type, decode(old, type))


_UPDATES: dict[str, Any] = {
    "add": lambda old, x: old + x, "min": np.minimum, "max": np.maximum, "exch": lambda old, x: x,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "cas": lambda old, x, y: np.where(old == x, y, old), "inc": lambda old, x: np.where(old >= x, 0, old + 1),
    "dec": lambda old, x: np.where((old == 0) | (old > x), x, old - 1),
}  # fmt: skip
