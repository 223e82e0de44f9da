"""PTX text becomes modules: variables, kernels, and their instructions in order, as LLVM writes them and ptxas takes them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .errors import PtxError


@dataclass(frozen=True)
class Register:
    """``%r1``; special ones as ``%tid.x`` too."""

    name: str


@dataclass(frozen=True)
class Number:
    """An integer, or the bits of a float that are written ``0f...`` and ``0d...``."""

    bits: int
    width: int = 0  # of a float

    def as_float(self) -> float:
        found: float = struct.unpack("<f", struct.pack("<I", self.bits))[0] if self.width == 32 else struct.unpack(
            "<d", struct.pack("<Q", self.bits))[0]  # fmt: skip
        return found


@dataclass(frozen=True)
class Symbol:
    """The name of a variable, a parameter or a label."""

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


Operand = Register | Number | Symbol | Address | Vector | Pair | Negated


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
    """Bytes in ``space``; ``initial`` where the text gives them. ``size`` 0 is an extern array, as large as the launch says."""

    name: str
    space: str
    align: int
    size: int
    initial: bytes | None = None


@dataclass
class Kernel:
    """An entry: its parameters in order, registers by name, variables, instructions and where labels lie among them."""

    name: str
    parameters: list[Variable]
    registers: dict[str, str] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    limits: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Module:
    version: str
    target: str
    kernels: dict[str, Kernel]
    variables: list[Variable]


WIDTHS = {"pred": 1, **{f"{kind}{bits}": bits // 8 for kind in "busf" for bits in (8, 16, 32, 64)}}
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)|(?P<text>"[^"]*")
    |(?P<float>0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16})
    |(?P<decimal>\d+\.\d+)|(?P<number>-?(?:0[xX][0-9a-fA-F]+|\d+)U?)|(?P<name>[%$_a-zA-Z][\w$]*(?:(?:::|\.)[\w$]+(?:::[\w$]+)*)*)
    |(?P<directive>\.[a-zA-Z_][\w]*(?:\.[\w]+)*)|(?P<mark>[][{}()<>,;:@!|=+*-])""",
    re.VERBOSE | re.DOTALL,
)  # fmt: skip


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def parse(text: str) -> Module:
    """The module that ``text`` writes; PtxError of kind syntax names the line of what is not understood."""
    return _Parser(list(_tokens(text))).module()


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise PtxError("syntax", f"cannot read {text[at : at + 20]!r}", line=line)
        kind, found = str(match.lastgroup), match.group()
        if kind != "space":
            yield _Token(kind, found, line)
        line += found.count("\n")
        at = match.end()
    yield _Token("end", "", line)


class _Parser:
    def __init__(self, tokens: Sequence[_Token]) -> None:
        self.tokens = tokens
        self.at = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def peek(self, *texts: str) -> bool:
        return self.token.text in texts

    def accept(self, text: str) -> bool:
        found = self.token.text == text
        self.at += found
        return found

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.wrong(f"{text!r}")

    def wrong(self, wanted: str) -> PtxError:
        return PtxError("syntax", f"found {self.token.text!r}, expected {wanted}", line=self.token.line)

    def integer(self) -> int:
        if self.token.kind != "number":
            raise self.wrong("a number")
        return int(self.take().text.rstrip("U"), 0)

    # ---------------------------------------------------------------- modules

    def module(self) -> Module:
        module = Module("", "", {}, [])
        while self.token.kind != "end":
            word = self.take()
            if word.text == ".version":
                module.version = self.take().text
            elif word.text == ".target":
                module.target = self.take().text
                while self.accept(","):
                    self.take()
            elif word.text == ".address_size":
                self.integer()
            elif word.text in (".visible", ".weak"):
                continue
            elif word.text == ".entry":
                kernel = self.kernel()
                module.kernels[kernel.name] = kernel
            elif word.text in (".extern", ".global", ".shared", ".const"):
                space = self.take().text if word.text == ".extern" else word.text
                module.variables.append(self.variable(space[1:]))
            elif word.text == ".file" or word.text == ".section":
                self.skip_line(word.line)
            else:
                raise PtxError("syntax", f"found {word.text!r} at the top of a module", line=word.line)
        return module

    def skip_line(self, line: int) -> None:
        while self.token.line == line and self.token.kind != "end":
            self.take()

    def variable(self, space: str, ends: str = ";") -> Variable:
        """What follows the space: ``.align 16 .b8 name[1024] = {...};``."""
        align, width, is_pointer = 0, 0, False
        while self.token.kind == "directive":
            for part in self.take().text[1:].split("."):
                if part == "align":
                    align = self.integer()
                elif part in WIDTHS:
                    width = WIDTHS[part]
                elif part in ("ptr", "global", "shared", "const", "param"):
                    is_pointer = is_pointer or part == "ptr"
                else:
                    raise self.wrong(f"a type, not .{part},")
        name, count = self.take().text, 1
        while self.accept("["):
            count *= 0 if self.peek("]") else self.integer()
            self.expect("]")
        initial = self.initial(width, count) if self.accept("=") else None
        if ends:
            self.expect(ends)
        return Variable(name, space, width if is_pointer or not align else align, width * count, initial)

    def initial(self, width: int, count: int) -> bytes:
        numbers = []
        braces = self.accept("{")
        while not self.peek("}", ";"):
            token = self.take()
            numbers.append(int(token.text[2:], 16) if token.kind == "float" else int(token.text.rstrip("U"), 0))
            self.accept(",")
        if braces:
            self.expect("}")
        found = b"".join((n % (1 << 8 * width)).to_bytes(width, "little") for n in numbers)
        return found.ljust(width * count, b"\0")

    # ---------------------------------------------------------------- kernels

    def kernel(self) -> Kernel:
        kernel = Kernel(self.take().text, [])
        self.expect("(")
        while not self.accept(")"):
            if self.take().text != ".param":
                raise self.wrong(".param")
            kernel.parameters.append(self.variable("param", ends=""))
            self.accept(",")
        while self.token.kind == "directive":
            name, values = self.take().text, []
            while self.token.kind == "number":
                values.append(self.integer())
                self.accept(",")
            kernel.limits[name[1:]] = tuple(values)
        self.expect("{")
        self.body(kernel)
        return kernel

    def body(self, kernel: Kernel) -> None:
        depth = 1
        while depth:
            token = self.take()
            if token.text == "{":
                depth += 1
            elif token.text == "}":
                depth -= 1
            elif token.kind == "directive":
                self.directive(kernel, token)
            elif token.kind == "name" and self.peek(":"):
                self.take()
                kernel.labels[token.text] = len(kernel.code)
            elif token.kind == "name" or token.text == "@":
                kernel.code.append(self.instruction(token))
            else:
                raise PtxError("syntax", f"found {token.text!r} in a kernel", line=token.line)

    def directive(self, kernel: Kernel, token: _Token) -> None:
        space = token.text[1:]
        if space == "reg":
            self.registers(kernel)
        elif space.split(".")[0] in ("shared", "local"):
            kernel.variables.append(self.variable(space))
        elif space in ("loc", "pragma", "file"):
            self.skip_line(token.line)
        else:
            raise PtxError("syntax", f"{token.text} in a kernel", line=token.line)

    def registers(self, kernel: Kernel) -> None:
        kind = self.take().text[1:]
        while not self.accept(";"):
            name = self.take().text
            if self.accept("<"):
                for i in range(self.integer()):
                    kernel.registers[f"{name}{i}"] = kind
                self.expect(">")
            else:
                kernel.registers[name] = kind
            self.accept(",")

    # ---------------------------------------------------------------- instructions

    def instruction(self, token: _Token) -> Instruction:
        guard: Register | Negated | None = None
        if token.text == "@":
            negated = self.accept("!")
            register = Register(self.take().text)
            guard = Negated(register) if negated else register
            token = self.take()
        operands: list[Operand] = []
        while not self.accept(";"):
            operands.append(self.operand())
            if not self.peek(";"):
                self.expect(",")
        return Instruction(tuple(token.text.split(".")), tuple(operands), token.line, guard)

    def operand(self) -> Operand:
        if self.accept("["):
            return self.address()
        if self.accept("{"):
            elements: list[Register | Number] = []
            while not self.accept("}"):
                one = self.simple()
                assert not isinstance(one, Symbol)
                elements.append(one)
                self.accept(",")
            return Vector(tuple(elements))
        if self.accept("!"):
            return Negated(Register(self.take().text))
        first = self.simple()
        if self.accept("|"):
            second = self.simple()
            assert isinstance(first, Register) and isinstance(second, Register)
            return Pair(first, second)
        return first

    def address(self) -> Address:
        base, offset = self.simple(), 0
        while not self.accept("]"):
            sign = -1 if self.token.text == "-" else 1
            if self.peek("+", "-"):
                self.take()
            offset += sign * self.integer()
        return Address(base, offset)

    def simple(self) -> Register | Number | Symbol:
        token = self.take()
        if token.kind == "number":
            return Number(int(token.text.rstrip("U"), 0))
        if token.kind == "float":
            return Number(int(token.text[2:], 16), 32 if token.text[1] in "fF" else 64)
        if token.kind == "name":
            return Register(token.text) if token.text.startswith("%") else Symbol(token.text)
        raise PtxError("syntax", f"found {token.text!r} as an operand", line=token.line)
