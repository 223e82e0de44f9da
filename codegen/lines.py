"""The growing text of one function: a list of lines for each open loop, so that invariants land before the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Scope:
    """The lines of one open loop body (depth 0 is the function) and what has been computed there."""

    lines: list[str] = field(default_factory=list)
    cache: dict[object, str] = field(default_factory=dict)
    label: str = "entry"


class Lines:
    """Appends instructions; ``depth`` says after which loop's opening, the innermost unless told."""

    def __init__(self) -> None:
        self.scopes = [Scope()]
        self.declarations: dict[str, str] = {}
        self._count = 0

    @property
    def depth(self) -> int:
        return len(self.scopes) - 1

    def let(self, text: str, depth: int | None = None) -> str:
        """Appends ``%t = text`` and gives the name."""
        name = self.fresh("t")
        self.add(f"{name} = {text}", depth)
        return name

    def add(self, text: str, depth: int | None = None) -> None:
        self.scopes[-1 if depth is None else depth].lines.append("  " + text)

    def call(self, result: str, name: str, operands: Sequence[tuple[str, str]]) -> str:
        """Calls an intrinsic on (type, operand) pairs and declares it once."""
        types = ", ".join(t for t, _ in operands)
        self.declarations[name] = f"declare {result} @{name}({types})"
        return self.let(f"call {result} @{name}({', '.join(f'{t} {v}' for t, v in operands)})")

    def effect(self, name: str, operands: Sequence[tuple[str, str]]) -> None:
        """Calls an intrinsic that gives nothing."""
        self.declarations[name] = f"declare void @{name}({', '.join(t for t, _ in operands)})"
        self.add(f"call void @{name}({', '.join(f'{t} {v}' for t, v in operands)})")

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"%{prefix}.{self._count}"

    def label(self, name: str) -> None:
        """Starts the block ``name`` (with its %) in the innermost scope."""
        self.scopes[-1].lines.append(f"{name[1:]}:")
        self.scopes[-1].label = name

    @property
    def current_label(self) -> str:
        label = self.scopes[-1].label
        return label if label.startswith("%") else f"%{label}"
