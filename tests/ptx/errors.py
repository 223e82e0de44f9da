"""What the machine finds wrong, by kind: what, where in the text, and in which thread."""

from __future__ import annotations

KINDS = ("syntax", "race", "out_of_bounds", "misaligned", "uninitialised", "divergent_barrier", "unknown_instruction",
         "deadlock", "launch")  # fmt: skip


class PtxError(Exception):
    """``kind`` is one of KINDS; ``line`` counts the lines of the PTX text from 1; ``thread`` says block and thread."""

    def __init__(self, kind: str, message: str, *, line: int = 0, thread: str = "") -> None:
        assert kind in KINDS, kind
        place = f" in line {line}" if line else ""
        super().__init__(f"{kind}: {message}{place}{f', {thread}' if thread else ''}")
        self.kind, self.line, self.thread = kind, line, thread
