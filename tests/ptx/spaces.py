"""The state spaces of a launch: parameters, global, constant, shared and local memory, and generic addresses."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PtxError
from .memory import Allocation, Memory
from .shadow import Shadow, Who
from .syntax import Instruction, Kernel, Operand, Variable, Vector
from .values import RAW, bits_of, decode, encode

if TYPE_CHECKING:
    from .machine import Machine

Array = Any
SHARED_WINDOW, LOCAL_WINDOW, PARAMETER_WINDOW, WINDOW = 1 << 40, 2 << 40, 3 << 40, 1 << 32
SPACES = ("global", "shared", "local", "param", "const")
STRONG = {"relaxed", "acquire", "release", "volatile", "mmio"}


@dataclass
class Region:
    """Bytes that some of the threads access: which threads, where in the bytes, and what is known of each."""

    data: Array
    shadow: Shadow | None
    chosen: Array | slice  # among the threads that are here
    at: Array
    can_write: bool = True


class Spaces:
    def __init__(
        self, machine: Machine, memory: Memory, variables: Sequence[Variable], symbols: Mapping[str, int], dynamic: int
    ) -> None:
        self.machine = machine
        self.symbols = dict(symbols)
        self.allocations = list(memory.allocations)
        self.starts = np.array([a.address for a in self.allocations], np.uint64)
        self.shadows: dict[int, Shadow] = {}
        self.parameters = np.zeros(0, np.uint8)
        found = [v for v in (*variables, *machine.kernel.variables) if v.space == "shared"]
        self.shared_size = self._lay_out(sorted(found, key=lambda v: v.size == 0)) + dynamic
        self.shared_stride = -(-max(self.shared_size, 1) // 16) * 16
        self.shared = np.full(self.shared_stride * machine.blocks, 0xCD, np.uint8)
        self.shared_shadow = Shadow(len(self.shared), "shared memory", machine.name_of)
        self.local_size = self._lay_out([v for v in machine.kernel.variables if v.space == "local"])
        self.local_stride = -(-max(self.local_size, 1) // 16) * 16
        self.local = np.full(self.local_stride * machine.threads if self.local_size else 0, 0xCD, np.uint8)
        self.local_shadow = Shadow(len(self.local), "local memory", machine.name_of)

    def _lay_out(self, variables: Sequence[Variable]) -> int:
        at = 0
        for v in variables:
            at = -(-at // max(v.align, 1)) * max(v.align, 1)
            self.symbols[v.name] = at
            at += v.size
        return at

    def pass_arguments(self, kernel: Kernel, arguments: Sequence[int | float | bytes]) -> None:
        wanted = kernel.parameters
        if len(wanted) != len(arguments):
            raise PtxError("launch", f"{kernel.name} takes {len(wanted)} arguments, was given {len(arguments)}")
        raw = b""
        for v, value in zip(wanted, arguments, strict=True):
            raw = raw.ljust(-(-len(raw) // v.align) * v.align, b"\0")
            self.symbols[v.name] = len(raw)
            raw += _argument(v, value)
        self.parameters = np.frombuffer(raw.ljust(-(-len(raw) // 16) * 16 + 16, b"\0"), np.uint8)

    def address_of(self, name: str) -> int:
        if name not in self.symbols:
            raise PtxError("unknown_instruction", f"no variable is called {name}")
        return self.symbols[name]

    def who(self) -> Who:
        m = self.machine
        lanes = m.lanes
        return Who(lanes, m.warp_of[lanes], m.block_of[lanes], m.epoch[lanes], m.warp_epoch[lanes])

    # ---------------------------------------------------------------- generic addresses

    def generic(self, n: Instruction) -> None:
        """``cvta``: windows of the generic address space for shared and local memory; global addresses are generic."""
        space = next(s for p in n.parts if (s := p.split("::")[0]) in SPACES)
        value = self.machine.read(n.operands[1], n.parts[-1])
        offset = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW, "param": PARAMETER_WINDOW}.get(space, 0)
        moved = value - np.uint64(offset) if "to" in n.parts else value + np.uint64(offset)
        self.machine.write(n.operands[0], n.parts[-1], moved)

    def space_of(self, n: Instruction, addresses: Array) -> tuple[str, Array]:
        """The space of an access, and the addresses in it; a generic access must be in one space for all threads."""
        named = [s for p in n.parts if (s := p.split("::")[0]) in SPACES]
        if named:
            return named[0], addresses
        for space, start in (("shared", SHARED_WINDOW), ("local", LOCAL_WINDOW), ("param", PARAMETER_WINDOW)):
            inside = (addresses >= start) & (addresses < start + WINDOW)
            if inside.all():
                return space, addresses - np.uint64(start)
            if inside.any():
                raise PtxError("unknown_instruction", "a generic access in several spaces at once")
        return "global", addresses

    # ---------------------------------------------------------------- accesses

    def access(self, n: Instruction, type: str) -> None:
        """``ld`` and ``st``."""
        stores = n.parts[0] == "st"
        where, what = (n.operands[0], n.operands[1]) if stores else (n.operands[1], n.operands[0])
        space, addresses = self.space_of(n, self.machine.addresses(where))
        is_strong = bool(STRONG & set(n.parts))
        if stores:
            self.store(space, addresses, self._stored(what, type), atomic=is_strong)
            return
        count = len(what.elements) if isinstance(what, Vector) else 1
        raw = self.load(space, addresses, bits_of(type) // 8 * count, atomic=is_strong).view(RAW[bits_of(type)])
        if isinstance(what, Vector):
            for i, one in enumerate(what.elements):
                self.machine.write(one, type, decode(raw[:, i], type))
        else:
            self.machine.write(what, type, decode(raw[:, 0], type))

    def _stored(self, what: Operand, type: str) -> Array:
        elements = what.elements if isinstance(what, Vector) else (what,)
        raw = np.stack([encode(self.machine.read(e, type), type) for e in elements], 1)
        return np.ascontiguousarray(raw).view(np.uint8)

    def load(self, space: str, addresses: Array, width: int, *, atomic: bool = False, of_warps: bool = False) -> Array:
        """Bytes [threads, width], checked."""
        found, who = np.empty((len(addresses), width), np.uint8), self.who()
        who = who.as_warps(writes=False) if of_warps else who
        for region in self.regions(space, addresses, width):
            if region.shadow is not None:
                region.shadow.read(region.at, width, who.at(region.chosen), atomic=atomic)
            found[region.chosen] = _gather(region.data, region.at, width)
        return found

    def store(
        self, space: str, addresses: Array, raw: Array, *, pending: bool = False, atomic: bool = False,
        of_warps: bool = False,
    ) -> None:  # fmt: skip
        width, who = raw.shape[1], self.who()
        who = who.as_warps(writes=True) if of_warps else who
        for region in self.regions(space, addresses, width):
            if not region.can_write or region.shadow is None:
                raise PtxError("out_of_bounds", f"a store to {space} memory, which is constant")
            region.shadow.write(region.at, width, who.at(region.chosen), pending=pending, atomic=atomic)
            _scatter(region.data, region.at, raw[region.chosen])

    def regions(self, space: str, addresses: Array, width: int) -> Iterator[Region]:
        """The bytes of an access of ``width`` bytes each; PtxError where they are outside, or not aligned."""
        self.aligned(addresses, width)
        m, whole = self.machine, slice(None)
        if space in ("global", "const"):
            yield from self._allocations(addresses, width)
            return
        size = {"param": len(self.parameters), "shared": self.shared_size, "local": self.local_size}[space]
        outside = addresses > np.uint64(size - width) if size >= width else np.ones(len(addresses), bool)
        self._check(outside, addresses, "out_of_bounds", f"{width} bytes at {{:#x}} of {size} bytes of {space} memory")
        at = addresses.astype(np.int64)
        if space == "param":
            yield Region(self.parameters, None, whole, at)
        elif space == "shared":
            yield Region(self.shared, self.shared_shadow, whole, at + m.block_of[m.lanes] * self.shared_stride)
        else:
            yield Region(self.local, self.local_shadow, whole, at + m.lanes * self.local_stride)

    def _allocations(self, addresses: Array, width: int) -> Iterator[Region]:
        which = np.searchsorted(self.starts, addresses, "right") - 1
        low, high = int(which.min()), int(which.max())
        for i in (low,) if low == high else np.unique(which).tolist():
            chosen = slice(None) if low == high else np.flatnonzero(which == i)
            allocation = self.allocations[i] if i >= 0 else None
            end = allocation.address + allocation.size - width if allocation is not None else -1
            outside = addresses > np.uint64(end) if end >= 0 else np.ones(len(addresses), bool)
            near = f", after {allocation.name}" if allocation is not None else ""
            message = f"{width} bytes at {{:#x}} of global memory{near}"
            self._check(outside & (which == i), addresses, "out_of_bounds", message)
            assert allocation is not None
            at = (addresses[chosen] - np.uint64(allocation.address)).astype(np.int64)
            yield Region(allocation.data, self._shadow(allocation), chosen, at, not allocation.is_constant)

    def aligned(self, addresses: Array, width: int) -> None:
        self._check(addresses & np.uint64(width - 1) != 0, addresses, "misaligned", f"{width} bytes at {{:#x}}")

    def _check(self, bad: Array, addresses: Array, kind: str, message: str) -> None:
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            thread = self.machine.name_of(int(self.machine.lanes[at]))
            raise PtxError(kind, message.format(int(addresses[at])), thread=thread)

    def _shadow(self, allocation: Allocation) -> Shadow:
        if allocation.address not in self.shadows:
            shadow = Shadow(len(allocation.data), allocation.name, self.machine.name_of)
            shadow.start_from(allocation.ready)
            self.shadows[allocation.address] = shadow
        return self.shadows[allocation.address]

    def finish(self) -> None:
        """What was written is ready for the next launch."""
        for allocation in self.allocations:
            shadow = self.shadows.get(allocation.address)
            if shadow is not None:
                allocation.ready = np.repeat(shadow.ready, shadow.granule)


def _argument(v: Variable, value: int | float | bytes) -> bytes:
    if isinstance(value, bytes):
        return value.ljust(v.size, b"\0")[: v.size]
    if isinstance(value, float):
        return struct.pack("<f" if v.size == 4 else "<d", value)
    return (int(value) % (1 << 8 * v.size)).to_bytes(v.size, "little")


def _gather(data: Array, at: Array, width: int) -> Array:
    if width == 16:
        return data.view(np.uint64).reshape(-1, 2)[at >> 4].view(np.uint8)
    if width in (1, 2, 4, 8):
        return data.view(RAW[8 * width])[at // width][:, None].view(np.uint8)
    return data[at[:, None] + np.arange(width)]


def _scatter(data: Array, at: Array, raw: Array) -> None:
    width = raw.shape[1]
    if width == 16:
        data.view(np.uint64).reshape(-1, 2)[at >> 4] = np.ascontiguousarray(raw).view(np.uint64)
    elif width in (1, 2, 4, 8):
        data.view(RAW[8 * width])[at // width] = np.ascontiguousarray(raw).view(RAW[8 * width])[:, 0]
    else:
        data[at[:, None] + np.arange(width)] = raw
