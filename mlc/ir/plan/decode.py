"""Bytes to Plan, for untrusted bytes: anything damaged is a ParseError that says what and where."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import TypeVar

from mlc.errors import ParseError, VerifyError
from mlc.ir.dims import Dim, Size, Symbol
from mlc.ir.types import DTYPES, TensorType

from .data import (
    COLLECTIVES,
    REDUCTIONS,
    SPACES,
    Branch,
    BufferRef,
    CollectiveDone,
    CollectiveStart,
    Copy,
    Launch,
    Loop,
    Plan,
    PlanConstant,
    PlanDevice,
    PlanInput,
    PlanOutput,
    Progress,
    Step,
)  # fmt: skip
from .encode import (
    BARRIER,
    BRANCH,
    COLLECTIVE_DONE,
    COLLECTIVE_START,
    COPY,
    HEADER,
    LAUNCH,
    LOOP,
    MAGIC,
    PROGRESS,
    SERIAL,
    VERSION,
)  # fmt: skip
from .verify import MAX_NESTING, verify_plan

T = TypeVar("T")
_DTYPES = tuple(DTYPES.values())
_Read = tuple[Step, tuple[int, ...]]  # a step, and how many of the following ones belong to each of its parts


def decode(data: bytes) -> Plan:
    """The verified Plan that ``data`` holds. Raises ParseError for anything that ``encode`` did not make."""
    _check_header(data)
    plan = _Decoder(data).plan()
    try:
        verify_plan(plan)
    except VerifyError as error:
        raise ParseError(f"plan: damaged: {error.message}") from error
    return plan


def _check_header(data: bytes) -> None:
    if len(data) < HEADER.size or data[:4] != MAGIC:
        raise ParseError("plan: it does not begin as a plan does")
    _, version, size, crc, zero = HEADER.unpack_from(data)
    if version != VERSION:
        raise ParseError(f"plan: its version is {version}, this mlc reads {VERSION}", hint="compile it again")
    if size != len(data):
        raise ParseError(f"plan: damaged: it has {len(data)} bytes, its header says {size}")
    if zero or crc != zlib.crc32(data[HEADER.size :]):
        raise ParseError("plan: damaged: its checksum differs")


class _Decoder:
    """Reads forward from ``at``."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = HEADER.size
        self.symbols: list[Symbol] = []
        self.sizes: list[Size] = []

    def plan(self) -> Plan:
        name = self.string()
        self.symbols = self.items(self.symbol)
        self.sizes = self.items(self.size_terms)
        devices = self.items(lambda: PlanDevice(self.string(), self.string(), self.i64()))
        inputs = self.items(self.input)
        outputs = self.items(lambda: PlanOutput(self.string(), self.type(), self.u32()))
        constants = self.items(lambda: PlanConstant(self.string(), self.type(), self.u32()))
        kernels = self.items(self.string)
        arena, scratch = self.i64(), self.i64()
        steps = self.nested(self.items(self.step))
        if self.at != len(self.data):
            raise self.damaged("bytes follow its end")
        return Plan(
            name, tuple(self.symbols), tuple(inputs), tuple(outputs), tuple(constants), arena, scratch, tuple(kernels),
            steps, tuple(devices),
        )  # fmt: skip

    def damaged(self, what: str) -> ParseError:
        return ParseError(f"plan: damaged: {what} (byte {self.at})")

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise self.damaged("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def i64(self) -> int:
        return int.from_bytes(self.take(8), "little", signed=True)

    def items(self, read: Callable[[], T]) -> list[T]:
        """A list: each item takes at least one byte, so a wrong count soon meets the end."""
        count = self.u32()
        if count > (len(self.data) - self.at) // 4:
            raise self.damaged("a list is longer than the plan")
        return [read() for _ in range(count)]

    def string(self) -> str:
        try:
            text = self.take(self.u32()).decode()
        except UnicodeDecodeError:
            raise self.damaged("a name is not UTF-8") from None
        if "\0" in text:
            raise self.damaged("a name holds a NUL")
        return text

    def pick(self, table: tuple[T, ...] | list[T], what: str) -> T:
        index = self.u32()
        if index >= len(table):
            raise self.damaged(f"unknown {what} {index}")
        return table[index]

    def symbol(self) -> Symbol:
        return Symbol(self.string(), self.i64(), self.i64())

    def size_terms(self) -> Size:
        total: Size = 0
        for coefficient, factors in self.items(self.term):
            total = total + (Dim({tuple(sorted(factors)): coefficient}) if factors else coefficient)
        return total

    def term(self) -> tuple[int, list[Symbol]]:
        return self.i64(), self.items(lambda: self.pick(self.symbols, "symbol"))

    def size(self) -> Size:
        return self.pick(self.sizes, "size")

    def type(self) -> TensorType:
        dtype = self.pick(_DTYPES, "element type")
        return TensorType(tuple(self.items(self.size)), dtype)

    def input(self) -> PlanInput:
        name, type, device = self.string(), self.type(), self.u32()
        return PlanInput(name, type, self.donated_to(), device)

    def donated_to(self) -> int | None:
        (output,) = struct.unpack("<i", self.take(4))
        if output < -1:
            raise self.damaged(f"unknown output {output}")
        return None if output == -1 else int(output)

    def nested(self, flat: list[_Read], depth: int = 0) -> tuple[Step, ...]:
        """The steps of a list in which those inside of a loop or branch follow it."""
        if flat and depth > MAX_NESTING:
            raise self.damaged("loops and branches are nested too deep")
        found, at = list[Step](), 0
        while at < len(flat):
            step, lengths = flat[at]
            at += 1
            parts = []
            for length in lengths:
                if length > len(flat) - at:
                    raise self.damaged("a loop or branch is longer than what holds it")
                parts.append(self.nested(flat[at : at + length], depth + 1))
                at += length
            if isinstance(step, Loop):
                step = Loop(step.predicate, parts[0], step.label)
            elif isinstance(step, Branch):
                step = Branch(step.index, tuple(parts), step.label)
            found.append(step)
        return tuple(found)

    def step(self) -> _Read:
        kind, flags = self.u32(), self.u32()
        label = self.string()
        barrier, serial = bool(flags & BARRIER), bool(flags & SERIAL)
        if kind == COPY and flags <= BARRIER | SERIAL:
            return Copy(self.operand(), self.operand(), self.size(), barrier, label, serial), ()
        if kind in (LOOP, BRANCH) and not flags:
            place, lengths = self.operand(), tuple(self.items(self.u32))
            if kind == BRANCH and lengths:
                return Branch(place, (), label), lengths
            if kind == BRANCH or len(lengths) != 1:
                raise self.damaged("a loop has one body and a branch at least one")
            return Loop(place, (), label), lengths
        if kind == COLLECTIVE_START and flags <= BARRIER:
            return self.collective(barrier, label), ()
        if kind == COLLECTIVE_DONE and flags <= BARRIER:
            return CollectiveDone(self.u32(), barrier, label), ()
        if kind == PROGRESS and not flags:
            return Progress(label), ()
        if kind != LAUNCH or flags > BARRIER | SERIAL:
            raise self.damaged(f"unknown step {kind} with flags {flags}")
        kernel = self.u32()
        operands = tuple(self.items(self.operand))
        sizes = tuple(self.items(self.size))
        tasks = tuple(self.items(lambda: (self.size(), self.i64())))
        device, threads, shared = self.u32(), self.u32(), self.u32()
        return Launch(kernel, operands, sizes, tasks, barrier, serial, label, device, threads, shared), ()

    def collective(self, barrier: bool, label: str) -> CollectiveStart:
        kind, slot = self.pick(COLLECTIVES, "collective"), self.u32()
        dtype, reduction, root = self.pick(_DTYPES, "element type"), self.pick(REDUCTIONS, "reduction"), self.u32()
        destination, source, count = self.operand(), self.operand(), self.size()
        members, ranks = self.u32(), self.items(self.u32)
        if not members or not ranks or len(ranks) % members:
            raise self.damaged("the ranks of a collective are no groups of one size")
        groups = tuple(tuple(ranks[i : i + members]) for i in range(0, len(ranks), members))
        return CollectiveStart(kind, slot, source, destination, count, dtype, groups, reduction, root, barrier, label)

    def operand(self) -> BufferRef:
        return BufferRef(self.pick(SPACES, "space"), self.u32(), self.i64())
