"""PTX text becomes tokens: names with their dots (``ld.global.b32``), directives, numbers and marks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import PtxError

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<text>"[^"]*")
    |(?P<float>0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16})
    |(?P<decimal>\d+\.\d+)
    |(?P<number>-?(?:0[xX][0-9a-fA-F]+|\d+)U?)
    |(?P<name>[%$_a-zA-Z][\w$]*(?:(?:::|\.)[\w$]+(?:::[\w$]+)*)*)
    |(?P<directive>\.[a-zA-Z_][\w]*(?:\.[\w]+)*)
    |(?P<mark>[][{}()<>,;:@!|=+*-])""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    line: int


def tokens(text: str) -> Iterator[Token]:
    """The tokens and one of kind end; PtxError of kind syntax where there is none."""
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise PtxError("syntax", f"cannot read {text[at : at + 20]!r}", line=line)
        kind, found = str(match.lastgroup), match.group()
        if kind != "space":
            yield Token(kind, found, line)
        line += found.count("\n")
        at = match.end()
    yield Token("end", "", line)
