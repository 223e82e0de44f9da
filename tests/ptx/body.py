"""The body of a kernel or function: ``{ declarations, labels, instructions }``."""

from __future__ import annotations

from dataclasses import replace

from .cursor import Cursor
from .errors import PtxError
from .syntax import Address, Instruction, Kernel, Names, Negated, Number, Operand, Pair, Register, Symbol, Vector
from .tokens import Token
from .variables import variable


def body(cursor: Cursor, kernel: Kernel) -> None:
    """Fill ``kernel`` with what stands after its ``{``."""
    _Body(cursor, kernel).read()


class _Body:
    def __init__(self, cursor: Cursor, kernel: Kernel) -> None:
        self.cursor, self.kernel = cursor, kernel
        self.scopes: list[dict[str, str]] = [{}]  # variables of nested braces, under names that are theirs alone

    def read(self) -> None:
        cursor = self.cursor
        while self.scopes:
            token = cursor.take()
            if token.text == "{":
                self.scopes.append({})
            elif token.text == "}":
                self.scopes.pop()
            elif token.kind == "directive":
                self.directive(token)
            elif token.kind == "name" and cursor.accept(":"):
                self.label(token.text)
            elif token.kind == "name" or token.text == "@":
                self.kernel.code.append(self.instruction(token))
            else:
                raise PtxError("syntax", f"found {token.text!r} in a kernel", line=token.line)

    def label(self, name: str) -> None:
        if self.cursor.accept(".branchtargets"):
            self.kernel.tables[name] = self.cursor.names()
            self.cursor.expect(";")
        else:
            self.kernel.labels[name] = len(self.kernel.code)

    def directive(self, token: Token) -> None:
        space = token.text[1:].split(".")[0]
        if space == "reg":
            self.registers()
        elif space in ("shared", "local", "param"):
            found = variable(self.cursor, "local" if space == "param" else space)
            name = f"{found.name}#{len(self.kernel.variables)}" if len(self.scopes) > 1 else found.name
            self.scopes[-1][found.name] = name
            self.kernel.variables.append(replace(found, name=name))
        elif space in ("loc", "pragma", "file"):
            self.cursor.skip_line(token.line)
        else:
            raise PtxError("syntax", f"{token.text} in a kernel", line=token.line)

    def registers(self) -> None:
        cursor = self.cursor
        kind = cursor.take().text[1:]
        while not cursor.accept(";"):
            name = cursor.name()
            if cursor.accept("<"):
                self.kernel.registers.update((f"{name}{i}", kind) for i in range(cursor.integer()))
                cursor.expect(">")
            else:
                self.kernel.registers[name] = kind
            cursor.accept(",")

    # ---------------------------------------------------------------- instructions

    def instruction(self, token: Token) -> Instruction:
        guard: Register | Negated | None = None
        if token.text == "@":
            negated = self.cursor.accept("!")
            register = Register(self.cursor.take().text)
            guard = Negated(register) if negated else register
            token = self.cursor.take()
        operands: list[Operand] = []
        while not self.cursor.accept(";"):
            if operands:
                self.cursor.expect(",")
            operands.append(self.operand())
        return Instruction(tuple(token.text.split(".")), tuple(operands), token.line, guard)

    def operand(self) -> Operand:
        cursor, mark = self.cursor, self.cursor.token.text
        if mark in ("[", "{", "(", "!"):
            cursor.take()
        if mark == "[":
            return self.address()
        if mark == "{":
            return self.vector()
        if mark == "(":
            names = () if cursor.peek(")") else tuple(self.known(n) for n in cursor.names())
            cursor.expect(")")
            return Names(names)
        if mark == "!":
            return Negated(Register(cursor.take().text))
        first = self.simple()
        if cursor.accept("|"):
            return Pair(self.register(first), self.register(self.simple()))
        return first

    def vector(self) -> Vector:
        elements: list[Register | Number] = []
        while not self.cursor.accept("}"):
            one = self.simple()
            elements.append(one if isinstance(one, Number) else self.register(one))
            self.cursor.accept(",")
        return Vector(tuple(elements))

    def address(self) -> Address:
        cursor, base, offset = self.cursor, self.simple(), 0
        while cursor.accept(","):  # of tensor maps: {x, y} and more, for machines that are not run here
            self.operand()
        while not cursor.accept("]"):
            sign = -1 if cursor.peek("-") else 1
            if cursor.peek("+", "-"):
                cursor.take()
            offset += sign * cursor.integer()
        return Address(base, offset)

    def register(self, found: Register | Number | Symbol) -> Register:
        if not isinstance(found, Register):
            raise self.cursor.wrong("a register before it")
        return found

    def simple(self) -> Register | Number | Symbol:
        token = self.cursor.take()
        if token.kind == "name":
            is_register = token.text[0] == "%" or token.text == "_" or token.text in self.kernel.registers
            return Register(token.text) if is_register else Symbol(self.known(token.text))
        if token.kind == "number":
            return Number(int(token.text.rstrip("U"), 0))
        if token.kind == "float":
            return Number(int(token.text[2:], 16), 32 if token.text[1] in "fF" else 64)
        raise PtxError("syntax", f"found {token.text!r} as an operand", line=token.line)

    def known(self, name: str) -> str:
        return next((scope[name] for scope in reversed(self.scopes) if name in scope), name)
