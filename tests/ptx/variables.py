"""Declarations of variables and parameters: ``.align 16 .b8 name[1024] = {...};``."""

from __future__ import annotations

from .cursor import Cursor
from .syntax import WIDTHS, Variable

POINTERS = ("ptr", "global", "shared", "const", "local", "param")


def variable(cursor: Cursor, space: str, ends: str = ";") -> Variable:
    """What follows the word of the space, up to and with ``ends``."""
    align, width, is_pointer = 0, 0, False
    while cursor.token.kind == "directive":
        for part in cursor.take().text[1:].split("."):
            if part == "align":
                align = cursor.integer()
            elif part in WIDTHS:
                width = WIDTHS[part]
            elif part in POINTERS:
                is_pointer = is_pointer or part == "ptr"
            else:
                raise cursor.wrong(f"a type, not .{part},")
    name, count = cursor.name(), 1
    while cursor.accept("["):
        count *= 0 if cursor.peek("]") else cursor.integer()
        cursor.expect("]")
    initial = _initial(cursor, width, count) if cursor.accept("=") else None
    if ends:
        cursor.expect(ends)
    return Variable(name, space, width if is_pointer or not align else align, width * count, initial)


def _initial(cursor: Cursor, width: int, count: int) -> bytes:
    numbers = []
    while not cursor.peek(";"):
        if not (cursor.accept("{") or cursor.accept("}") or cursor.accept(",")):
            if cursor.token.kind not in ("float", "number"):
                raise cursor.wrong("a number")
            token = cursor.take()
            numbers.append(int(token.text[2:], 16) if token.kind == "float" else int(token.text.rstrip("U"), 0))
    found = b"".join((n % (1 << 8 * width)).to_bytes(width, "little") for n in numbers)
    return found.ljust(width * count, b"\0")


def parameters(cursor: Cursor) -> list[Variable]:
    """``(.param .u64 a, .param .b8 b[64])``."""
    found = []
    cursor.expect("(")
    while not cursor.accept(")"):
        cursor.expect(".param")
        found.append(variable(cursor, "param", ends=""))
        cursor.accept(",")
    return found
