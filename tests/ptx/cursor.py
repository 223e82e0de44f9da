"""A place among tokens: what every part of the parser asks of it."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import PtxError
from .tokens import Token


class Cursor:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        if self.token.kind == "end":
            raise PtxError("syntax", "the text ends here", line=self.token.line)
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
