"""Which loops run once or not at all: those are branches, without a way back."""

from __future__ import annotations

from collections.abc import Iterator

from mlc.ir.kernel import Index, IndexVariable, Instruction, Kernel, Loop, walk


class Trips:
    """What is known of the ends of one kernel's loops.

    >>> from mlc.ir.kernel import KernelBuilder
    >>> b = KernelBuilder("k", sizes=1)
    >>> with b.parallel((100, 1)) as (i,):
    ...     with b.loop(i, b.min(i + 1, b.sizes[0])):
    ...         pass
    >>> kernel = b.build()
    >>> Trips(kernel).at_most_once(kernel.body[-1])
    True
    """

    def __init__(self, kernel: Kernel) -> None:
        self.ends = {
            s.result: s for s in walk(kernel.body)
            if isinstance(s, Instruction) and s.op in ("min", "max") and isinstance(s.result, IndexVariable)
        }  # fmt: skip

    def at_most_once(self, loop: Loop) -> bool:
        """Whether no size and no index makes it run twice, as far as its ends show."""
        for upper in self._bounds(loop.upper, "min"):
            for lower in self._bounds(loop.lower, "max"):
                trips = (upper - lower).constant
                if trips is not None and trips <= loop.step:
                    return True
        return False

    def _bounds(self, index: Index, op: str) -> Iterator[Index]:
        """What an index is at most (op min), or at least (op max)."""
        yield index
        for monomial, coefficient in index.terms:
            end = self.ends.get(monomial[0]) if len(monomial) == 1 and coefficient == 1 else None
            if end is not None and end.op == op:
                for other in end.indices:
                    yield from self._bounds(index - Index.of(monomial[0]) + other, op)
