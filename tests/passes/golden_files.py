"""Files of sections under ``## name``: what a stage is given, and what it makes of it, blessed by MLC_BLESS=1."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Golden:
    """The sections of a file. Those that are not there are empty."""

    path: Path
    sections: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Golden:
        words = re.split(r"^## (.*)\n", path.read_text(), flags=re.MULTILINE)
        return cls(path, dict(zip(words[1::2], words[2::2], strict=True)))

    def __getitem__(self, name: str) -> str:
        return self.sections.get(name, "")

    def check(self, name: str, made: str) -> None:
        """``made`` is the section's text; with MLC_BLESS=1 the file is written with it."""
        made = made.rstrip("\n") + "\n"
        if os.environ.get("MLC_BLESS") and made != self[name]:
            self.sections[name] = made
            self.path.write_text("".join(f"## {n}\n{text}" for n, text in self.sections.items()))
        assert made == self[name]
