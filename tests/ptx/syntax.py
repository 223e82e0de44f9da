"""What PTX text says: modules of variables and functions, and functions of instructions on operands."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Register:
    """``%r1``; special ones as ``%tid.x`` too, and ``_``, which takes what nobody wants."""

    name: str


@dataclass(frozen=True)
class Number:
    """An integer, or the bits of a float that are written ``0f...`` and ``0d...``."""

    bits: int
    width: int = 0  # of a float

    def as_float(self) -> float:
        kind, raw = ("<f", "<I") if self.width == 32 else ("<d", "<Q")
        found: float = struct.unpack(kind, struct.pack(raw, self.bits))[0]
        return found


@dataclass(frozen=True)
class Symbol:
    """The name of a variable, a parameter, a function or a label."""

    name: str


@dataclass(frozen=True)
class Address:
    """``[base + offset]``."""

    base: Register | Symbol | Number
    offset: int


@dataclass(frozen=True)
class Vector:
    """``{a, b, c, d}``."""

    elements: tuple[Register | Number, ...]


@dataclass(frozen=True)
class Pair:
    """``%r1|%p1``: a value, and the predicate beside it."""

    value: Register
    predicate: Register


@dataclass(frozen=True)
class Negated:
    """``!%p1``."""

    register: Register


@dataclass(frozen=True)
class Names:
    """``(param0, param1)`` of a call."""

    names: tuple[str, ...]


Operand = Register | Number | Symbol | Address | Vector | Pair | Negated | Names


@dataclass(frozen=True)
class Instruction:
    """``@guard name.part.part operands;`` of a line of the text."""

    parts: tuple[str, ...]
    operands: tuple[Operand, ...]
    line: int
    guard: Register | Negated | None = None

    def __str__(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True)
class Variable:
    """Bytes in ``space``; ``initial`` where the text gives them. ``size`` 0: an extern array, as large as launched."""

    name: str
    space: str
    align: int
    size: int
    initial: bytes | None = None


@dataclass
class Kernel:
    """An entry or a function: parameters in order, types of registers, variables, instructions and labels in them."""

    name: str
    parameters: list[Variable]
    results: list[Variable] = field(default_factory=list)  # of functions
    registers: dict[str, str] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of labels, for brx.idx
    limits: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Module:
    version: str
    target: str
    kernels: dict[str, Kernel]
    functions: dict[str, Kernel]
    variables: list[Variable]


WIDTHS = {"pred": 1, **{f"{kind}{bits}": bits // 8 for kind in "busf" for bits in (8, 16, 32, 64)}, "b128": 16}
