"""What a GPU's schedules do not take goes to the CPU, with a notice that says so."""

from __future__ import annotations

from .errors import notice
from .ir.graph import CONSTANT, PARAMETER, Node
from .passes.place import Refusal, refusal_of
from .passes.plan_devices import RefusedError

_FREE = (PARAMETER, CONSTANT)


class Refused:
    """The nodes that no GPU takes, as ``place`` knows them: it grows with every region that a schedule refused."""

    def __init__(self) -> None:
        self.nodes: frozenset[Refusal] = frozenset()

    def add(self, error: RefusedError) -> None:
        """Blame the operations of the refused region; raises the error itself where all were blamed before."""
        blamed = _blamed(error)
        found = frozenset(refusal_of(n) for n in blamed)
        if found <= self.nodes:  # fused in another form than placed: all operations of these names
            found = frozenset((n.op.name,) for n in blamed)
        if found <= self.nodes:
            raise error
        self.nodes |= found
        names = ", ".join(sorted({n.op.name for n in blamed}))
        where = f"{error.location}: " if error.location else ""
        notice(f"{where}{names} runs on the CPU: {error.message}")


def _blamed(error: RefusedError) -> list[Node]:
    """The operations that the error names, else those that do not compute each element by itself, else all."""
    nodes = [n for n in error.region.nodes if n.op not in _FREE]
    named = [n for n in nodes if n.op.name in error.message.replace(":", " ").split()]
    return named or [n for n in nodes if not n.op.elementwise] or nodes
