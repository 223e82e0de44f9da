"""Symbolic dimensions: bounded integers that are known only when a compiled function is called.

A ``Dim`` is a polynomial with integer coefficients over named symbols, kept in one normal form, so that two sizes are
equal exactly when their expressions are. Sizes that are constant are plain ints, never Dims.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import total_ordering
from numbers import Integral
from typing import cast

from mlc.errors import UnsupportedError


@total_ordering
@dataclass(frozen=True, slots=True)
class Symbol:
    """A named run-time size with inclusive bounds."""

    name: str
    lower: int
    upper: int

    def __lt__(self, other: Symbol) -> bool:
        return (self.name, self.lower, self.upper) < (other.name, other.lower, other.upper)


Monomial = tuple[Symbol, ...]  # sorted, with repetition: batch*batch is (batch, batch)


class Dim:
    """A size that depends on symbols: a sum of integer multiples of products of symbols.

    Arithmetic with ints and Dims gives a Dim, or an int where the symbols cancel. The bounds decide comparisons.
    Raises UnsupportedError for comparisons that the bounds leave open, and for arithmetic that is no size.

    Example:
        >>> n = dim("batch", 1, 64)
        >>> n * 2 + n, n - n, (n * 3).bounds
        (3*batch, 0, (3, 192))
    """

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(sorted((m, c) for m, c in terms.items() if c))
        self._hash = hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __lt__(self, other: Size) -> bool:
        return _decided(self, "<", other, self - other)

    def __ge__(self, other: Size) -> bool:
        return not _decided(self, ">=", other, self - other)

    def __gt__(self, other: Size) -> bool:
        return _decided(self, ">", other, other - self)

    def __le__(self, other: Size) -> bool:
        return not _decided(self, "<=", other, other - self)

    def __add__(self, other: Size) -> Size:
        if not _is_size(other):
            return _refused(self, "+", other)
        terms = dict(self.terms)
        for monomial, coefficient in _terms(other):
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return _normal(terms)

    __radd__ = __add__

    def __mul__(self, other: Size) -> Size:
        if not _is_size(other):
            return _refused(self, "*", other)
        terms: dict[Monomial, int] = {}
        for left, c in self.terms:
            for right, d in _terms(other):
                monomial = tuple(sorted(left + right))
                terms[monomial] = terms.get(monomial, 0) + c * d
        return _normal(terms)

    __rmul__ = __mul__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + -other if _is_size(other) else _refused(self, "-", other)

    def __rsub__(self, other: Size) -> Size:
        return -self + other if _is_size(other) else _refused(self, "-", other)

    def __floordiv__(self, other: Size) -> Size:
        quotient = self.divided_by(other) if _is_size(other) and other != 0 else None
        return _refused(self, "//", other) if quotient is None else quotient

    def __truediv__(self, other: object) -> Size:
        return _refused(self, "/", other)

    __rtruediv__ = __truediv__

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(sorted({s for monomial, _ in self.terms for s in monomial}))

    @property
    def bounds(self) -> tuple[int, int]:
        """Inclusive bounds of the value; symbols are non-negative, so each monomial is monotonic."""
        low = high = 0
        for monomial, coefficient in self.terms:
            least = most = 1
            for s in monomial:
                least, most = least * s.lower, most * s.upper
            low += coefficient * (least if coefficient > 0 else most)
            high += coefficient * (most if coefficient > 0 else least)
        return low, high

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The value with every symbol replaced by ``values[symbol.name]``."""
        total = 0
        for monomial, coefficient in self.terms:
            for s in monomial:
                coefficient *= values[s.name]
            total += coefficient
        return total

    def divided_by(self, divisor: Size) -> Size | None:
        """The exact quotient, or None where the division leaves a remainder for some value of the symbols."""
        if isinstance(divisor, int):
            if divisor == 0 or any(c % divisor for _, c in self.terms):
                return None
            return _normal({m: c // divisor for m, c in self.terms})
        if len(divisor.terms) != 1:
            return 1 if self == divisor else None
        (by, k), terms = divisor.terms[0], {}
        for monomial, c in self.terms:
            rest = list(monomial)
            for s in by:
                if s not in rest:
                    return None
                rest.remove(s)
            if c % k:
                return None
            terms[tuple(rest)] = c // k
        return _normal(terms)

    def __repr__(self) -> str:
        return "+".join(_print_term(m, c) for m, c in self.terms).replace("+-", "-")


Size = int | Dim


def part_of(extent: Size, parts: int) -> Size | None:
    """Each of so many equal parts; None where there are no such for some value of the symbols.

    >>> n = dim("n", 1, 8)
    >>> part_of(6, 2), part_of(6, 4), part_of(n * 6, 2), part_of(n * 2 + 1, 2)
    (3, None, 3*n, None)
    """
    if isinstance(extent, Dim):
        return extent.divided_by(parts)
    return None if extent % parts else extent // parts


def _is_size(value: object) -> bool:
    return isinstance(value, int | Dim | Integral)


def _refused(size: Dim, operator: str, other: object) -> Size:
    """The answer to arithmetic that gives no size: an error for numbers, the other operand's own answer for arrays."""
    if isinstance(other, int | float | Dim):
        raise UnsupportedError(
            f"{operator}: the size {size} is symbolic; with {other} that gives no whole number for every size",
            hint="mlc.numpy.asarray(size) is its value at run time, to compute with",
        )
    return cast(Size, NotImplemented)


def _decided(size: Dim, operator: str, other: object, difference: Size) -> bool:
    """Whether the difference is below 0, by its bounds."""
    low, high = bounds(difference)
    if low < 0 <= high:
        raise UnsupportedError(
            f"{operator}: the size {size} is in {size.bounds[0]} to {size.bounds[1]}; "
            f"whether it is {operator} {other} is known at the call only",
            hint="mlc.numpy.where(mlc.numpy.asarray(size) > n, x, y) chooses at run time; or compile for a fixed size",
        )
    return high < 0


def _print_term(monomial: Monomial, coefficient: int) -> str:
    factors = [s.name for s in monomial]
    if coefficient != 1 or not factors:
        factors.insert(0, str(coefficient))
    return "*".join(factors)


def _terms(value: Size) -> tuple[tuple[Monomial, int], ...]:
    return value.terms if isinstance(value, Dim) else (((), value),)


def _normal(terms: Mapping[Monomial, int]) -> Size:
    kept = {m: c for m, c in terms.items() if c}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Dim(kept)


def dim(name: str, lower: int = 1, upper: int = 1 << 31) -> Dim:
    """A symbolic dimension named ``name`` with inclusive bounds; compile once, call with every size in between.

    Raises ValueError for a name that is no identifier or bounds that hold no size.

    Example:
        >>> import mlc
        >>> spec = mlc.ShapeDtype((mlc.dim("batch", 1, 64), 784), "f32")
    """
    if not name.isidentifier():
        raise ValueError(f"dim: {name!r} is not an identifier")
    if not 0 <= lower <= upper:
        raise ValueError(f"dim {name}: bounds {lower}..{upper} hold no size")
    return Dim({(Symbol(name, lower, upper),): 1})


def size_product(sizes: Iterable[Size]) -> Size:
    total: Size = 1
    for n in sizes:
        total = total * n
    return total


def bounds(size: Size) -> tuple[int, int]:
    """Inclusive bounds of a size; an int is its own bound."""
    return size.bounds if isinstance(size, Dim) else (size, size)


def evaluate_size(size: Size, values: Mapping[str, int]) -> int:
    return size.evaluate(values) if isinstance(size, Dim) else size
