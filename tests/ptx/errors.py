"""What the machine finds wrong, by kind: what, where in the text, and in which thread."""

from __future__ import annotations

KINDS = ("syntax", "race", "out_of_bounds", "misaligned", "uninitialised", "divergent_barrier", "unknown_instruction",
         "deadlock", "launch")  # fmt: skip


class PtxError(Exception):
    """``kind`` is one of KINDS; ``line`` counts the lines of the PTX text from 1; ``thread`` says block and thread."""

    def __init__(
        self, kind: str, message: str, *, kernel: str = "", instruction: str = "", line: int = 0, thread: str = ""
    ) -> None:
        assert kind in KINDS, kind
        where = [f"line {line}" if line else "", f"{kernel}: {instruction}" if instruction else kernel, thread]
        place = ", ".join(w for w in where if w)
        super().__init__(f"{kind}: {message}{f' ({place})' if place else ''}")
        self.kind, self.message, self.kernel, self.instruction = kind, message, kernel, instruction
        self.line, self.thread = line, thread

    def at(self, kernel: str, instruction: str, line: int) -> PtxError:
        """The same, with the place where it was found; what is known already stays."""
        if self.line:
            return self
        return PtxError(
            self.kind, self.message, kernel=kernel, instruction=instruction, line=line, thread=self.thread
        )  # fmt: skip
