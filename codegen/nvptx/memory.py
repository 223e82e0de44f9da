"""Reads and writes of a GPU's memories as LLVM IR: 16 bytes at a time where the address is a multiple of them."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

from mlc.codegen import values
from mlc.codegen.lines import Lines
from mlc.codegen.memory import Accesses
from mlc.codegen.names import constant, memory_element, typed, vector
from mlc.codegen.nvptx.addresses import DeviceAddresses
from mlc.codegen.nvptx.facts import Divisors
from mlc.ir.kernel import Index, Instruction, Memory, VectorType
from mlc.ir.types import BOOL, I64, U8

LARGEST = 16  # bytes that one instruction moves; every memory is aligned to at least as many


class DeviceAccesses(Accesses):
    """What is masked is branched around: all lanes at once where all are on, else one by one."""

    def __init__(self, out: Lines, addresses: DeviceAddresses, aliases: dict[int, str], divisors: Divisors) -> None:
        super().__init__(out, addresses, {}, aliases)
        self.addresses: DeviceAddresses = addresses
        self.divisors = divisors
        self.tails: dict[int, tuple[Index, Index]] = {}  # start and stop of the masks that are tails
        self.uniform: dict[int, str] = {}  # of the masks that are the same in all lanes

    def read(self, n: Instruction) -> str:
        m, mask, t = _memory(n), self.mask_of(n), _stored(n)
        places = self.places(n)
        if len(places) == 1 < t.lanes:  # the others follow
            loaded = self.read_wide(n, places[0], t, mask)
        else:
            loaded = self.read_lanes(m, places, t, mask)
        if m.dtype != BOOL:
            return loaded
        return self.out.let(f"icmp ne {typed(t)} {loaded}, {constant(0, t)}")

    def write(self, n: Instruction) -> None:
        m, mask, t = _memory(n), self.mask_of(n), _stored(n)
        places, operand = self.places(n), self.operands[n.operands[0].id]
        if m.dtype == BOOL:
            operand = self.out.let(f"zext {vector('i1', t.lanes)} {operand} to {typed(t)}")
        if len(places) == 1 < t.lanes:
            self.write_wide(n, places[0], t, operand, mask)
        else:
            self.write_lanes(m, places, t, operand, mask)

    # Many lanes from one place on

    def read_wide(self, n: Instruction, place: str, t: VectorType, mask: str | None) -> str:
        m, align = _memory(n), self.alignment(n)
        if mask is None:
            return self.load(m, place, t, align)
        if n.mask is not None and n.mask.id in self.uniform:
            on = self.uniform[n.mask.id]
            return self.choose(on, lambda: self.load(m, place, t, align), lambda: constant(0, t), typed(t))
        on, places = self.all_on(n, mask), self.following(m, place, t.lanes)
        return self.choose(
            on, lambda: self.load(m, place, t, align), lambda: self.read_lanes(m, places, t, mask), typed(t)
        )

    def write_wide(self, n: Instruction, place: str, t: VectorType, operand: str, mask: str | None) -> None:
        m, align = _memory(n), self.alignment(n)
        if mask is None:
            self.store(m, place, t, operand, align)
            return
        if n.mask is not None and n.mask.id in self.uniform:
            self.choose(self.uniform[n.mask.id], lambda: self.store(m, place, t, operand, align))
            return
        on, places = self.all_on(n, mask), self.following(m, place, t.lanes)
        self.choose(
            on, lambda: self.store(m, place, t, operand, align), lambda: self.write_lanes(m, places, t, operand, mask)
        )

    def all_on(self, n: Instruction, mask: str) -> str:
        """Whether every lane of a mask is on; asked once in a block of statements."""
        assert n.mask is not None
        key, cache = ("all on", mask), self.out.scopes[-1].cache
        if key not in cache:
            if n.mask.id in self.tails:
                start, stop = self.tails[n.mask.id]
                last = start + (n.mask.lanes - 1)
                kind = "i32" if self.addresses.are_narrow(last, stop) else "i64"
                ends = (self.addresses.index(i, kind) for i in (last, stop))
                cache[key] = self.out.let(f"icmp slt {kind} {', '.join(ends)}")
            else:
                cache[key] = values.reduce(self.out, "and", mask, n.mask.type)
        return cache[key]

    # Lane after lane

    def read_lanes(self, m: Memory, places: list[str], t: VectorType, mask: str | None) -> str:
        one, parts, total = VectorType(t.dtype), [], "poison"
        for lane, place in enumerate(places):
            if mask is None:
                parts.append(self.load(m, place, one, m.dtype.itemsize))
            else:
                on = values.extract(self.out, mask, VectorType(BOOL, t.lanes), lane)
                parts.append(self.load_if(on, m, place, one))
        for lane, part in enumerate(parts):  # together: half a vector in a register is a read of what is not written
            total = values.insert(self.out, total, t, part, lane)
        return total

    def load_if(self, on: str, m: Memory, place: str, t: VectorType) -> str:
        return self.choose(on, lambda: self.load(m, place, t, m.dtype.itemsize), lambda: constant(0, t), typed(t))

    def write_lanes(self, m: Memory, places: list[str], t: VectorType, operand: str, mask: str | None) -> None:
        one = VectorType(t.dtype)
        for lane, place in enumerate(places):
            part = values.extract(self.out, operand, t, lane)
            if mask is None:
                self.store(m, place, one, part, m.dtype.itemsize)
            else:
                on = values.extract(self.out, mask, VectorType(BOOL, t.lanes), lane)
                self.store_if(on, m, place, one, part)

    def store_if(self, on: str, m: Memory, place: str, t: VectorType, operand: str) -> None:
        self.choose(on, lambda: self.store(m, place, t, operand, m.dtype.itemsize))

    # Places

    def places(self, n: Instruction) -> list[str]:
        """Pointers to the elements of an access, or to the first alone where the others follow it."""
        m, lanes = _memory(n), n.accessed.lanes
        if n.offsets is not None:
            offsets = [self.offset(n, lane) for lane in range(lanes)]
            return [self.addresses.moved(m, n.indices, o) for o in offsets]
        if m.swizzle and lanes > 1 and self.alignment(n) < lanes * m.dtype.itemsize:
            return [self.addresses.element(m, (*n.indices[:-1], n.indices[-1] + k)) for k in range(lanes)]
        return [self.addresses.element(m, n.indices)]

    def offset(self, n: Instruction, lane: int) -> str:
        """By how many elements a lane of a gather or scatter is moved, as an i64."""
        assert n.offsets is not None
        one, stride = VectorType(n.offsets.dtype), _memory(n).strides[-1]
        operand = values.extract(self.out, self.operands[n.offsets.id], n.offsets.type, lane)
        operand = values.convert(self.out, operand, one, VectorType(I64))
        if stride.constant == 1:
            return operand
        return self.out.let(f"mul i64 {operand}, {self.addresses.index(stride)}")

    def following(self, m: Memory, place: str, lanes: int) -> list[str]:
        """Pointers to this element and those behind it."""
        element, kind = memory_element(m.dtype), self.addresses.pointer_type(m)
        return [place, *(self.out.let(f"getelementptr {element}, {kind} {place}, i64 {k}") for k in range(1, lanes))]

    def alignment(self, n: Instruction) -> int:
        """Bytes that the address of an access is a multiple of, at most those that are accessed."""
        m, most = _memory(n), min(LARGEST, n.accessed.lanes * _memory(n).dtype.itemsize)
        if n.attribute == "nontemporal":
            return most
        return gcd(self.divisors.of_address(m, n.indices), most)

    def mask_of(self, n: Instruction) -> str | None:
        return None if n.mask is None else self.operands[n.mask.id]

    # Instructions

    def load(self, m: Memory, place: str, t: VectorType, align: int) -> str:
        kind = self.addresses.pointer_type(m)
        return self.out.let(f"load {typed(t)}, {kind} {place}, align {align}{self.aliases[m.id]}")

    def store(self, m: Memory, place: str, t: VectorType, operand: str, align: int) -> None:
        kind = self.addresses.pointer_type(m)
        self.out.add(f"store {typed(t)} {operand}, {kind} {place}, align {align}{self.aliases[m.id]}")

    def choose(
        self, on: str, then: Callable[[], str | None], otherwise: Callable[[], str | None] | None = None, kind: str = ""
    ) -> str:
        """Branches around ``then``, to ``otherwise`` if there is one; what they give is one value of type ``kind``.

        Nothing that they compute is known behind them: pointers come ready.
        """
        out = self.out
        first, second, after = out.fresh("on"), out.fresh("off"), out.fresh("after")
        out.add(f"br i1 {on}, label {first}, label {second if otherwise else after}")
        out.label(first)
        left = then()
        left_end = out.current_label
        out.add(f"br label {after}")
        right, right_end = None, ""
        if otherwise is not None:
            out.label(second)
            right = otherwise()
            right_end = out.current_label
            out.add(f"br label {after}")
        out.label(after)
        if not kind:
            return ""
        return out.let(f"phi {kind} [ {left}, {left_end} ], [ {right}, {right_end} ]")


def _memory(n: Instruction) -> Memory:
    assert n.memory is not None
    return n.memory


def _stored(n: Instruction) -> VectorType:
    """The type in memory of what is read or written."""
    t = n.accessed
    return VectorType(U8, t.lanes) if t.dtype == BOOL else t
