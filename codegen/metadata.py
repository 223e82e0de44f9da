"""Numbered metadata of a module: alias scopes, lists of them, and the mark of non-temporal stores."""

from __future__ import annotations

from mlc.ir.kernel import Kernel


class Metadata:
    """Grows by ``add``; ``!0`` marks non-temporal stores."""

    def __init__(self) -> None:
        self.lines = ["!0 = !{i32 1}"]

    def add(self, text: str) -> str:
        """``text`` may name itself as ``SELF``."""
        name = f"!{len(self.lines)}"
        self.lines.append(f"{name} = {text.replace('SELF', name)}")
        return name

    def text(self) -> str:
        return "\n".join(self.lines)


def alias_metadata(kernel: Kernel, metadata: Metadata) -> dict[int, str]:
    """For each memory the metadata of its accesses: its own scope if it is noalias, and all such scopes but that."""
    alone = [m for m in kernel.memories if m.noalias]
    if not alone:
        return {m.id: "" for m in kernel.memories}
    domain = metadata.add("distinct !{SELF}")
    scopes = {m.id: metadata.add(f"distinct !{{SELF, {domain}}}") for m in alone}
    result = {}
    for m in kernel.memories:
        text = f", !alias.scope {metadata.add(f'!{{{scopes[m.id]}}}')}" if m.noalias else ""
        others = [s for i, s in scopes.items() if i != m.id]
        if others:
            text += f", !noalias {metadata.add('!{' + ', '.join(others) + '}')}"
        result[m.id] = text
    return result
