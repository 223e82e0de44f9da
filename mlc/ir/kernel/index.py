"""Index expressions: polynomials over loop indices and run-time sizes that address memory and bound loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


class IndexVariable(NamedTuple):
    """An integer known at run time: a size (``kind`` n), a loop index (i) or a computed index (q)."""

    kind: str
    id: int

    def __repr__(self) -> str:
        return f"%{self.kind}{self.id}"


Monomial = tuple[IndexVariable, ...]  # sorted, with repetition


class Index:
    """A sum of integer multiples of products of variables, in one normal form: equal exactly when the texts are.

    Example:
        >>> i = Index.of(IndexVariable("i", 0))
        >>> i * 16 + 3 - i
        %i0*15 + 3
    """

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Iterable[tuple[Monomial, int]]) -> None:
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(sorted((t for t in terms if t[1]), key=_order))
        self._hash = hash(self.terms)

    @classmethod
    def _ordered(cls, terms: tuple[tuple[Monomial, int], ...]) -> Index:
        """An index of terms that are in normal form already."""
        self = cls.__new__(cls)
        self.terms = terms
        self._hash = hash(terms)
        return self

    @staticmethod
    def of(value: IndexLike | IndexVariable) -> Index:
        if isinstance(value, Index):
            return value
        if isinstance(value, IndexVariable):
            return Index._ordered((((value,), 1),))
        return Index._ordered((((), int(value)),) if value else ())

    @property
    def constant(self) -> int | None:
        """The value if it depends on nothing, else None."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def constant_term(self) -> int:
        """What is added to the terms that vary."""
        return self.terms[-1][1] if self.terms and not self.terms[-1][0] else 0

    @property
    def variables(self) -> frozenset[IndexVariable]:
        return frozenset(v for monomial, _ in self.terms for v in monomial)

    def substitute(self, values: Mapping[IndexVariable, Index]) -> Index:
        """This index with variables replaced; ``self`` when none of them occurs."""
        if not any(v in values for m, _ in self.terms for v in m):
            return self
        total = ZERO
        for monomial, coefficient in self.terms:
            product = Index._ordered(((tuple([v for v in monomial if v not in values]), coefficient),))
            for v in monomial:
                if v in values:
                    product = product * values[v]
            total = total + product
        return total

    def evaluate(self, values: Mapping[IndexVariable, int]) -> int:
        total = 0
        for monomial, coefficient in self.terms:
            for v in monomial:
                coefficient *= values[v]
            total += coefficient
        return total

    def text(self, name: Callable[[IndexVariable], str]) -> str:
        """The expression as printed, variables named by ``name``; the constant comes last."""
        parts: list[str] = []
        for monomial, coefficient in self.terms:
            factors = [name(v) for v in monomial]
            if abs(coefficient) != 1 or not factors:
                factors.append(str(abs(coefficient)))
            sign = ("- " if parts else "-") if coefficient < 0 else ("+ " if parts else "")
            parts.append(sign + "*".join(factors))
        return " ".join(parts) or "0"

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Index) and self.terms == other.terms

    def __repr__(self) -> str:
        return self.text(repr)

    def __add__(self, other: IndexLike) -> Index:
        if isinstance(other, int):
            return self._plus(other)
        other = Index.of(other)
        if not self.terms or not other.terms:
            return self if self.terms else other
        total = dict(self.terms)
        for monomial, coefficient in other.terms:
            total[monomial] = total.get(monomial, 0) + coefficient
        return Index(total.items())

    __radd__ = __add__

    def _plus(self, n: int) -> Index:
        """The sum with a constant, which stands last."""
        if n == 0:
            return self
        terms = self.terms
        if terms and not terms[-1][0]:
            n, terms = n + terms[-1][1], terms[:-1]
        return Index._ordered((*terms, ((), n)) if n else terms)

    def __mul__(self, other: IndexLike) -> Index:
        if isinstance(other, int):
            return Index._ordered(tuple([(m, c * other) for m, c in self.terms])) if other else ZERO
        other = Index.of(other)
        if (n := other.constant) is not None:
            return self * n
        if (n := self.constant) is not None:
            return other * n
        total: dict[Monomial, int] = {}
        for left, c in self.terms:
            for right, d in other.terms:
                monomial = tuple(sorted(left + right))
                total[monomial] = total.get(monomial, 0) + c * d
        return Index(total.items())

    __rmul__ = __mul__

    def __neg__(self) -> Index:
        return self * -1

    def __sub__(self, other: IndexLike) -> Index:
        return self + -Index.of(other)

    def __rsub__(self, other: IndexLike) -> Index:
        return -self + other


IndexLike = Index | int


def _order(term: tuple[Monomial, int]) -> tuple[int, Monomial]:
    return (0 if term[0] else 1), term[0]


ZERO = Index(())
