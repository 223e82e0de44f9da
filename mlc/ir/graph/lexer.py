"""Graph text to tokens, and the errors that name a line and a column of it."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass

from ...errors import ParseError

TOKEN = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<value>%\w+)
    |(?P<number>-?(?:0x[0-9a-fA-F]+|inf\b|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?))
    |(?P<word>[^\W\d]\w*)
    |(?P<mark>->|\.\.|[@$(){}\[\],:;=*+-])""",
    re.VERBOSE,
)
MAX_DIGITS = 400  # of one number; f64 needs 17 and an exponent, and int() of unbounded text is quadratic


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the text: ``kind`` is string, value, number, word, mark or end; ``start`` its offset."""

    kind: str
    text: str
    start: int

    def __str__(self) -> str:
        return "the end of the text" if self.kind == "end" else f"`{self.text[:40]}`"


class Tokens:
    """The tokens of a text and a position among them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self.tokens: list[Token] = []
        self.at = 0
        position = 0
        while position < len(text):
            match = TOKEN.match(text, position)
            if match is None:
                raise self.error(f"expected a word of the language, found {text[position]!r}", position)
            if match.lastgroup != "space":
                self.tokens.append(Token(match.lastgroup or "", match.group(), position))
                if match.lastgroup == "number" and match.end() - position > MAX_DIGITS:
                    raise self.error(f"a number has at most {MAX_DIGITS} digits", position)
            position = match.end()
        self.tokens.append(Token("end", "", len(text)))

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def peek(self, distance: int) -> Token:
        return self.tokens[min(self.at + distance, len(self.tokens) - 1)]

    def take(self) -> Token:
        token = self.next
        if token.kind != "end":
            self.at += 1
        return token

    def accept(self, text: str) -> bool:
        """Step over a mark or word if it is next."""
        if self.next.text == text and self.next.kind in ("mark", "word"):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> Token:
        if not self.accept(text):
            raise self.expected(f"`{text}`")
        return self.tokens[self.at - 1]

    def kind(self, kind: str, what: str) -> Token:
        if self.next.kind != kind:
            raise self.expected(what)
        return self.take()

    def string(self, what: str) -> str:
        token = self.kind("string", what)
        try:
            return str(json.loads(token.text))
        except ValueError as error:
            raise self.error(f"expected {what}, found a string with a bad escape", token.start) from error

    def name(self, what: str) -> str:
        """A word, or a string where the name is no word."""
        return self.string(what) if self.next.kind == "string" else self.kind("word", what).text

    def integer(self, what: str) -> int:
        token = self.kind("number", what)
        try:
            return int(token.text, 0)
        except ValueError:
            raise self.error(f"expected {what}, found {token}", token.start) from None

    def expected(self, what: str) -> ParseError:
        return self.error(f"expected {what}, found {self.next}", self.next.start)

    def error(self, message: str, start: int) -> ParseError:
        """An error at an offset of the text: its line and column, then the line itself."""
        line = bisect_right(self.starts, start)
        begin = self.starts[line - 1]
        words = self.text[begin:].split("\n", 1)[0].strip()
        return ParseError(message, location=f"line {line}, column {start - begin + 1}: {words[:200]}")
