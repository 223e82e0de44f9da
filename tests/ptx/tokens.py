"""PTX text becomes tokens: names with their dots (``ld.global.b32``), directives, numbers and marks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .errors import PtxError

_TOKEN = re.compile(
    r"""(?:\s+|//[^\n]*|/\*.*?\*/)*+
    (?:(?P<name>[%$_a-zA-Z][\w$]*(?:(?:::|\.)[\w$]+(?:::[\w$]+)*)*)
    |(?P<float>0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16})
    |(?P<decimal>\d+\.\d+)
    |(?P<number>-?(?:0[xX][0-9a-fA-F]+|\d+)U?)
    |(?P<mark>[][{}()<>,;:@!|=+*-])
    |(?P<directive>\.[a-zA-Z_][\w]*(?:\.[\w]+)*)
    |(?P<text>"[^"]*")
    |(?P<end>\Z))""",
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    kind: str
    text: str
    line: int


def tokens(text: str) -> Iterator[Token]:
    """The tokens and one of kind end; PtxError of kind syntax where there is none."""
    at, line = 0, 1
    while True:
        match = _TOKEN.match(text, at)
        if match is None:
            rest = text[at:].lstrip()
            raise PtxError("syntax", f"cannot read {rest[:20]!r}", line=text.count("\n", 0, len(text) - len(rest)) + 1)
        kind = str(match.lastgroup)
        start, end = match.span(kind)
        line += text.count("\n", at, start)
        yield Token(kind, text[start:end], line)
        if kind == "end":
            return
        line += text.count("\n", start, end)
        at = end
