"""Iteration domains: coordinates of tensors as expressions over the axes that loops walk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlc.ir.dims import Dim, Size, bounds, size_product
from mlc.ir.kernel import Index, IndexVariable
from mlc.ir.types import Shape

from .sizes import Sizes

if TYPE_CHECKING:
    from .access import Access

Coordinates = tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    """What a derived variable stands for: ``index`` divided by ``divisor`` (``op`` floordiv) or its remainder (mod)."""

    op: str
    index: Index
    divisor: Index


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a derived variable stands for: an element of integers (``access``), moved into 0 .. ``limit``."""

    access: Access
    limit: Index


@dataclass
class Domain:
    """The points of a tensor of ``shape``: axis a of it is walked by the factors ``splits[a]``, outermost first.

    ``coordinates`` are the tensor's, over the variables of the factors. Factors of one element have no variable.
    Divisions that no factor makes exact become derived variables, and ``wishes`` names the splits that would help.

    Example:
        >>> from mlc.ir.graph import Graph, Table
        >>> sizes = Sizes(Graph("none", (), (), Table()))
        >>> domain = Domain((6, 4), sizes, ((2, 3), (4,)))
        >>> domain.coordinates
        (%d0*3 + %d1, %d2)
        >>> domain.divide(domain.coordinates[0], 3, 2)
        (%d0, %d1)
    """

    shape: Shape
    sizes: Sizes
    splits: tuple[tuple[Size, ...], ...]
    extents: tuple[Size, ...] = ()
    axis_of: tuple[int, ...] = ()  # the tensor's axis of each variable
    coordinates: Coordinates = ()
    derived: dict[IndexVariable, Quotient | Lookup] = field(default_factory=dict)
    wishes: dict[int, tuple[Size, ...]] = field(default_factory=dict)
    _limits: dict[IndexVariable, Index] = field(default_factory=dict)  # largest value of each variable

    def __post_init__(self) -> None:
        extents: list[Size] = []
        owners: list[int] = []
        coordinates: list[Index] = []
        for axis, factors in enumerate(self.splits):
            total = Index.of(0)
            for n in factors:
                total = total * self.sizes.index(n)
                if n != 1:
                    variable = IndexVariable("d", len(extents))
                    self._limits[variable] = self.sizes.index(n) - 1
                    extents.append(n)
                    owners.append(axis)
                    total = total + Index.of(variable)
            coordinates.append(total)
        self.extents, self.axis_of, self.coordinates = tuple(extents), tuple(owners), tuple(coordinates)

    @staticmethod
    def of(shape: Shape, sizes: Sizes) -> Domain:
        """Each axis walked whole."""
        return Domain(shape, sizes, tuple((n,) for n in shape))

    @property
    def variables(self) -> tuple[IndexVariable, ...]:
        return tuple(IndexVariable("d", k) for k in range(len(self.extents)))

    def linear(self, shape: Shape, coordinates: Coordinates) -> Index:
        """The row-major position of an element of a tensor of ``shape``."""
        return self.sizes.linear(shape, coordinates)

    def delinearize(self, index: Index, shape: Sequence[Size]) -> Coordinates:
        """The coordinates in ``shape`` of the element at row-major position ``index``."""
        found: list[Index] = []
        for k in range(len(shape) - 1, 0, -1):
            index, remainder = self.divide(index, shape[k], size_product(shape[:k]))
            found.append(remainder)
        return (index, *reversed(found)) if shape else ()

    def divide(self, index: Index, divisor: Size, extent: Size) -> tuple[Index, Index]:
        """Quotient (of ``extent`` values where ``index`` is in bounds) and remainder, exact where they can be."""
        k = self.sizes.index(divisor)
        whole, rest = _split_multiples(index, k)
        if self.is_within(rest, k):
            return whole, rest
        self._wish(rest, divisor)
        if not (self.is_positive(rest + 1) and self.is_positive(whole + 1)):
            whole, rest = Index.of(0), index
        return (
            whole + self._derive(Quotient("floordiv", rest, k), self.sizes.index(extent)),
            self._derive(Quotient("mod", rest, k), k),
        )

    def look_up(self, access: Access, limit: Index) -> Index:
        """The element of integers at ``access`` as an index, clamped to 0 .. ``limit``."""
        return self._derive(Lookup(access, limit), limit + 1)

    def is_within(self, index: Index, extent: Index) -> bool:
        """Whether 0 <= index < extent at every point, for all sizes."""
        return self.is_positive(index + 1) and self.is_positive(extent - index)

    def is_positive(self, index: Index) -> bool:
        """Whether index > 0 at every point, for all sizes."""
        least = Index.of(0)
        for monomial, coefficient in index.terms:
            product = Index.of(coefficient)
            for v in monomial:
                if v.kind == "n":
                    product = product * Index.of(v)
                else:
                    product = product * (self._limits[v] if coefficient < 0 else 0)
            least = least + product
        return self.sizes.lower_bound(least) > 0

    def dependencies(self, index: Index) -> frozenset[IndexVariable]:
        """The domain's variables that ``index`` depends on, also through derived variables."""
        found: set[IndexVariable] = set()
        for v in index.variables:
            if v in self.derived:
                what = self.derived[v]
                for part in (what.index,) if isinstance(what, Quotient) else what.access.indices:
                    found |= self.dependencies(part)
            elif v.kind == "d":
                found.add(v)
        return frozenset(found)

    def _derive(self, quotient: Quotient | Lookup, extent: Index) -> Index:
        for variable, known in self.derived.items():
            if known == quotient:
                return Index.of(variable)
        variable = IndexVariable("e", len(self.derived))
        self.derived[variable] = quotient
        self._limits[variable] = extent - 1
        return Index.of(variable)

    def _wish(self, rest: Index, divisor: Size) -> None:
        """Note the split of one factor that makes a division of ``rest`` by ``divisor`` exact."""
        for v in sorted(rest.variables):
            step = coefficient_of(rest, v)
            if v.kind != "d" or step is None or any(n.kind != "n" for n in step.variables):
                continue
            step = -step if any(c < 0 for _, c in step.terms) else step
            inner = divided(divisor, self.sizes.size(step))
            outer = divided(self.extents[v.id], inner)
            if inner is None or outer is None or min(bounds(inner)[0], bounds(outer)[0]) < 0 or 1 in (inner, outer):
                continue
            self.wishes.setdefault(v.id, (outer, inner))


def split(domain: Domain) -> Domain | None:
    """The domain with the first wished split made, or None where nothing is wished."""
    if not domain.wishes:
        return None
    number, factors = min(domain.wishes.items(), key=lambda item: item[0])
    splits, seen = [], 0
    for axis in domain.splits:
        new: list[Size] = []
        for n in axis:
            new += factors if n != 1 and seen == number else (n,)
            seen += n != 1
        splits.append(tuple(new))
    return Domain(domain.shape, domain.sizes, tuple(splits))


def coefficient_of(index: Index, variable: IndexVariable) -> Index | None:
    """What ``variable`` is multiplied by, or None where it occurs to a power."""
    found = []
    for monomial, c in index.terms:
        if monomial.count(variable) > 1:
            return None
        if variable in monomial:
            found.append((tuple(v for v in monomial if v != variable), c))
    return Index(found)


def divided(size: Size, divisor: Size | None) -> Size | None:
    """The exact quotient of two sizes, or None."""
    if divisor is None or divisor == 0:
        return None
    if isinstance(size, Dim):
        return size.divided_by(divisor)
    if isinstance(divisor, Dim) or size % divisor:
        return None
    return size // divisor


def group_axes(left: Sequence[Size], right: Sequence[Size]) -> Iterable[tuple[range, range]]:
    """The finest ranges of axes of two shapes of equal size that hold equally many elements each."""
    i = j = 0
    while i < len(left) or j < len(right):
        a, b = i, j
        m: Size = 1
        n: Size = 1
        while a == i or m != n:
            if b == len(right) or (a < len(left) and _comes_first(m, n)):
                m, a = m * left[a], a + 1
            else:
                n, b = n * right[b], b + 1
        yield range(i, a), range(j, b)
        i, j = a, b


def _comes_first(m: Size, n: Size) -> bool:
    """Whether the product m of the axes taken on the left is to grow before n."""
    if isinstance(m, int) and isinstance(n, int):
        return m <= n
    if m == n or divided(n, m) is not None:
        return True
    return divided(m, n) is None and bounds(m)[1] <= bounds(n)[1]


def _split_multiples(index: Index, k: Index) -> tuple[Index, Index]:
    """``index`` as k * whole + rest, every term that k divides in ``whole``."""
    if len(k.terms) != 1:
        return (Index.of(1), Index.of(0)) if index == k else (Index.of(0), index)
    by, factor = k.terms[0]
    whole: list[tuple[tuple[IndexVariable, ...], int]] = []
    rest: list[tuple[tuple[IndexVariable, ...], int]] = []
    for monomial, c in index.terms:
        left = list(monomial)
        divides = c % factor == 0
        for v in by:
            if v in left:
                left.remove(v)
            else:
                divides = False
        if divides:
            whole.append((tuple(left), c // factor))
        elif not by and not monomial:
            whole.append(((), c // factor))
            rest.append(((), c % factor))
        else:
            rest.append((monomial, c))
    return Index(whole), Index(rest)
