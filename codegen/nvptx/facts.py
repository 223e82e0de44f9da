"""What is known of a kernel's index variables before it runs: numbers that divide them, and their ranges."""

from __future__ import annotations

from math import gcd

from mlc.ir.kernel import Index, IndexVariable, Instruction, Kernel, Loop, Memory, walk

Range = tuple[int, int]  # least and greatest
_BLOCKS = 2**31 - 1  # of a grid, at most
_ANY = -(2**63), 2**63 - 1


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
        return self.of(memory.offset(indices)) * memory.dtype.itemsize


class Ranges:
    """The least and the greatest number that each index of one kernel may be.

    >>> from mlc.ir.kernel import KernelBuilder
    >>> b = KernelBuilder("k")
    >>> with b.parallel((100, 1), (32, 1), threads=1) as (i, t):
    ...     pass
    >>> Ranges(b.build()).of(i * 32 + t - 1)
    (-1, 3199)
    """

    def __init__(self, kernel: Kernel) -> None:
        self.known: dict[IndexVariable, Range] = {IndexVariable("n", k): (0, _ANY[1]) for k in range(kernel.sizes)}
        for i, extent, grain in zip(kernel.indices, kernel.extents, kernel.grains, strict=True):
            count = _BLOCKS if extent.constant is None else -(-extent.constant // grain)
            self.known[i] = 0, max(count - 1, 0)
        for s in walk(kernel.body):
            if isinstance(s, Loop):
                least, most = self.of(s.lower)[0], self.of(s.upper)[1] - 1
                self.known[s.index] = least, max(least, most)
            elif isinstance(s, Instruction) and isinstance(s.result, IndexVariable):
                self.known[s.result] = self.of_result(s)

    def of(self, index: Index) -> Range:
        least = most = 0
        for monomial, coefficient in index.terms:
            low = high = coefficient
            for v in monomial:
                ends = [x * y for x in (low, high) for y in self.known.get(v, _ANY)]
                low, high = min(ends), max(ends)
            least, most = least + low, most + high
        return least, most

    def of_result(self, n: Instruction) -> Range:
        if n.op == "index_of":
            dtype = n.operands[0].dtype
            half = 1 << (dtype.bits - 1)
            return (-half, half - 1) if dtype.kind == "int" else (0, 2 * half - 1)
        (low, high), (least, most) = map(self.of, n.indices)
        match n.op:
            case "min":
                return min(low, least), min(high, most)
            case "max":
                return max(low, least), max(high, most)
            case "mod":
                return (0, high) if low >= 0 and high < least else (0, max(most - 1, 0))
        ends = [x // y for x in (low, high) for y in (max(least, 1), max(most, 1))]
        return min(ends), max(ends)

    def fit(self, *indices: Index, bits: int = 31) -> bool:
        """Whether all of them are numbers of an i32; of ``bits`` bits and a sign."""
        return all(-(1 << bits) <= n < 1 << bits for index in indices for n in self.of(index))
