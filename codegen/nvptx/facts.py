"""What is known of a kernel's index variables before it runs: numbers that divide them."""

from __future__ import annotations

from math import gcd

from mlc.ir.kernel import Index, IndexVariable, Instruction, Kernel, Loop, Memory, walk


class Divisors:
    """A number that divides each index of one kernel, 0 for what is always 0.

    >>> from mlc.ir.kernel import KernelBuilder
    >>> b = KernelBuilder("k", sizes=1)
    >>> with b.parallel((b.sizes[0], 4)) as (i,):
    ...     pass
    >>> Divisors(b.build()).of(i * 4 + 8)
    4
    """

    def __init__(self, kernel: Kernel) -> None:
        self.known: dict[IndexVariable, int] = {}
        for s in walk(kernel.body):
            if isinstance(s, Loop):
                self.known[s.index] = gcd(self.of(s.lower), s.step)
            elif isinstance(s, Instruction) and s.op in ("min", "max", "mod"):
                assert isinstance(s.result, IndexVariable)
                self.known[s.result] = gcd(*map(self.of, s.indices))

    def of(self, index: Index) -> int:
        total = 0
        for monomial, coefficient in index.terms:
            for v in monomial:
                coefficient *= self.known.get(v, 1)
            total = gcd(total, coefficient)
        return total

    def of_address(self, memory: Memory, indices: tuple[Index, ...]) -> int:
        """A number that divides the offset in bytes of an element of ``memory``."""
        offset = Index.of(0)
        for index, stride in zip(indices, memory.strides, strict=True):
            offset = offset + index * stride
        return self.of(offset) * memory.dtype.itemsize
