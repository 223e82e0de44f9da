"""Plan to bytes: the little-endian, versioned binary form that ``runtime/plan_decode.c`` reads (and describes)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

from mlc.ir.dims import Dim, Size
from mlc.ir.types import DTYPES

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
    Progress,
    Step,
    Value,
    parts_of,
    walk_steps,
)  # fmt: skip

MAGIC = b"MLCP"
VERSION = 4
HEADER = struct.Struct("<4sIQII")  # magic, version, total bytes, CRC-32 of the body, zero
LAUNCH, COPY, LOOP, BRANCH, COLLECTIVE_START, COLLECTIVE_DONE, PROGRESS = range(7)
BARRIER, SERIAL = 1, 2
DTYPE_CODES = {name: code for code, name in enumerate(DTYPES)}


def encode(plan: Plan) -> bytes:
    """The binary form of ``plan``; the same Plan gives the same bytes.

    Raises OverflowError for numbers beyond 64 bits; does not verify (see ``verify_plan``).
    """
    body = _Encoder(plan).body()
    return HEADER.pack(MAGIC, VERSION, HEADER.size + len(body), zlib.crc32(body), 0) + body


class _Encoder:
    """Appends to ``parts``; sizes are interned in a table that the body holds before what refers to it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.parts: list[bytes] = []
        self.sizes: dict[Size, int] = {}
        self.symbol_index = {s.name: i for i, s in enumerate(plan.symbols)}

    def body(self) -> bytes:
        self.values()
        rest, self.parts = self.parts, []
        self.string(self.plan.name)
        self.symbols()
        self.size_table()
        return b"".join(self.parts + rest)

    def u32(self, *numbers: int) -> None:
        for n in numbers:
            self.parts.append(n.to_bytes(4, "little"))

    def i64(self, *numbers: int) -> None:
        for n in numbers:
            self.parts.append(n.to_bytes(8, "little", signed=True))

    def string(self, text: str) -> None:
        data = text.encode()
        self.u32(len(data))
        self.parts.append(data)

    def symbols(self) -> None:
        self.u32(len(self.plan.symbols))
        for symbol in self.plan.symbols:
            self.string(symbol.name)
            self.i64(symbol.lower, symbol.upper)

    def size_table(self) -> None:
        self.u32(len(self.sizes))
        for size in self.sizes:
            terms = size.terms if isinstance(size, Dim) else (((), size),) if size else ()
            self.u32(len(terms))
            for monomial, coefficient in terms:
                self.i64(coefficient)
                self.u32(len(monomial), *(self.symbol_index[s.name] for s in monomial))

    def size(self, size: Size) -> None:
        self.u32(self.sizes.setdefault(size, len(self.sizes)))

    def values(self) -> None:
        plan = self.plan
        self.u32(len(plan.devices))
        for device in plan.devices:
            self.string(device.name)
            self.string(device.target)
            self.i64(device.arena_bytes)
        self.u32(len(plan.inputs))
        for value in plan.inputs:
            self.value(value)
            self.parts.append(struct.pack("<i", -1 if value.donated_to is None else value.donated_to))
        for values in (plan.outputs, plan.constants):
            self.u32(len(values))
            for item in values:
                self.value(item)
        self.u32(len(plan.kernels))
        for kernel in plan.kernels:
            self.string(kernel)
        self.i64(plan.arena_bytes, plan.scratch_bytes)
        steps = list(walk_steps(plan.steps))
        self.u32(len(steps))
        for step in steps:
            self.step(step)

    def value(self, value: Value) -> None:
        self.string(value.name)
        self.u32(DTYPE_CODES[value.type.dtype.name], value.type.rank)
        for extent in value.type.shape:
            self.size(extent)
        self.u32(value.device)

    def step(self, step: Step) -> None:
        if isinstance(step, Copy):
            self.u32(COPY, BARRIER * step.barrier | SERIAL * step.serial)
            self.string(step.label)
            self.operands((step.destination, step.source))
            self.size(step.nbytes)
        elif isinstance(step, Launch):
            self.launch(step)
        elif isinstance(step, CollectiveStart):
            self.collective(step)
        elif isinstance(step, CollectiveDone):
            self.u32(COLLECTIVE_DONE, BARRIER * step.barrier)
            self.string(step.label)
            self.u32(step.slot)
        elif isinstance(step, Progress):
            self.u32(PROGRESS, 0)
            self.string(step.label)
        else:
            self.nest(step)

    def collective(self, step: CollectiveStart) -> None:
        self.u32(COLLECTIVE_START, BARRIER * step.barrier)
        self.string(step.label)
        self.u32(COLLECTIVES.index(step.kind), step.slot, DTYPE_CODES[step.dtype.name])
        self.u32(REDUCTIONS.index(step.reduction), step.root)
        self.operands((step.destination, step.source))
        self.size(step.count)
        ranks = [rank for group in step.groups for rank in group]
        self.u32(len(step.groups[0]), len(ranks), *ranks)

    def nest(self, step: Loop | Branch) -> None:
        """The steps inside follow it in the list; the counts say how many, those inside of these included."""
        self.u32(LOOP if isinstance(step, Loop) else BRANCH, 0)
        self.string(step.label)
        self.operands((step.predicate if isinstance(step, Loop) else step.index,))
        parts = parts_of(step)
        self.u32(len(parts), *(sum(1 for _ in walk_steps(part)) for part in parts))

    def launch(self, step: Launch) -> None:
        self.u32(LAUNCH, BARRIER * step.barrier | SERIAL * step.serial)
        self.string(step.label)
        self.u32(step.kernel, len(step.operands))
        self.operands(step.operands)
        self.u32(len(step.sizes))
        for size in step.sizes:
            self.size(size)
        self.u32(len(step.tasks))
        for extent, grain in step.tasks:
            self.size(extent)
            self.i64(grain)
        self.u32(step.device, step.threads, step.shared_bytes)

    def operands(self, operands: Iterable[BufferRef]) -> None:
        for operand in operands:
            self.u32(SPACES.index(operand.space), operand.index)
            self.i64(operand.offset)
