"""A place among tokens: what every part of the parser asks of it."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import PtxError
from .tokens import Token


class Cursor:
    """``token`` is the one at hand; the last of ``tokens`` is of kind end."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.token = tokens[0]

    def take(self) -> Token:
        taken = self.token
        if taken.kind == "end":
            raise PtxError("syntax", "the text ends here", line=taken.line)
        self.at += 1
        self.token = self.tokens[self.at]
        return taken

    def peek(self, *texts: str) -> bool:
        return self.token.text in texts

    def accept(self, text: str) -> bool:
        if self.token.text != text:
            return False
        self.take()
        return True

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.wrong(f"{text!r}")

    def wrong(self, wanted: str) -> PtxError:
        return PtxError("syntax", f"found {self.token.text!r}, expected {wanted}", line=self.token.line)

    def name(self) -> str:
        if self.token.kind != "name":
            raise self.wrong("a name")
        return self.take().text

    def integer(self) -> int:
        if self.token.kind != "number":
            raise self.wrong("a number")
        return int(self.take().text.rstrip("U"), 0)

    def integers(self) -> tuple[int, ...]:
        found = []
        while self.token.kind == "number":
            found.append(self.integer())
            self.accept(",")
        return tuple(found)

    def names(self) -> tuple[str, ...]:
        """``a, b, c`` up to what is no comma."""
        found = [self.name()]
        while self.accept(","):
            found.append(self.name())
        return tuple(found)

    def skip_line(self, line: int) -> None:
        while self.token.line == line and self.token.kind != "end":
            self.take()
