"""Index expressions and addresses as LLVM IR: each part before the outermost loop in which it is constant."""

from __future__ import annotations

from collections.abc import Iterator

from mlc.codegen.lines import Lines
from mlc.codegen.names import memory_element
from mlc.ir.kernel import Index, IndexVariable, Memory

Term = tuple[tuple[IndexVariable, ...], int]


class Addresses:
    """Values of indices (i64) and pointers to elements, within the loops that are open in ``out``."""

    def __init__(self, out: Lines) -> None:
        self.out = out
        self.variables: dict[IndexVariable, str] = {}
        self.depths: dict[IndexVariable, int] = {}
        self.bases: dict[int, str] = {}
        self.floor = 0  # nothing is computed before what is open at this depth
        self.spaces: dict[int, str] = {}  # pointer types of what is not in the one space of a CPU

    def define(self, variable: IndexVariable, operand: str, kind: str = "i64") -> None:
        """Names a variable that the innermost open loop defines; only a target with more kinds is given others."""
        self.variables[variable] = operand
        self.depths[variable] = self.out.depth

    def index(self, index: Index, kind: str = "i64") -> str:
        """The operand of type ``kind`` that holds ``index``, as far as that is wide."""
        if index.constant is not None:
            return _number(index.constant, kind)
        total: str | None = None
        seen: tuple[Term, ...] = ()
        for depth, terms in self.by_depth(index):
            seen += terms
            part = self.sum(terms, depth, kind)
            total = part if total is None else self.once(depth, ("sum", kind, seen), f"add {kind} {total}, {part}")
        assert total is not None
        constant = index.constant_term
        if constant == 0:
            return total
        depth = max(d for d, _ in self.by_depth(index))
        return self.once(depth, (kind, index), f"add {kind} {total}, {_number(constant, kind)}")

    def element(self, memory: Memory, indices: tuple[Index, ...]) -> str:
        """A pointer to the element of ``memory`` at ``indices``."""
        offset = memory.offset(indices)
        pointer, name, seen = self.bases[memory.id], memory_element(memory.dtype), ()
        kind = self.pointer_type(memory)
        for depth, terms in self.by_depth(offset):
            seen += terms  # type: ignore[assignment]
            key = ("address", memory.id, seen)
            pointer = self.once(depth, key, f"getelementptr {name}, {kind} {pointer}, i64 {self.sum(terms, depth)}")
        constant = offset.constant_term
        return self.out.let(f"getelementptr {name}, {kind} {pointer}, i64 {constant}") if constant else pointer

    def pointer_type(self, memory: Memory) -> str:
        return self.spaces.get(memory.id, "ptr")

    def by_depth(self, index: Index) -> Iterator[tuple[int, tuple[Term, ...]]]:
        """The terms that vary, grouped by the loop that makes them vary, outermost first."""
        groups: dict[int, tuple[Term, ...]] = {}
        for monomial, coefficient in index.terms:
            if monomial:
                depth = max(self.depths[v] for v in monomial)
                groups[depth] = (*groups.get(depth, ()), (monomial, coefficient))
        return iter(sorted(groups.items()))

    def sum(self, terms: tuple[Term, ...], depth: int, kind: str = "i64") -> str:
        total = self.term(terms[0], kind)
        for k in range(1, len(terms)):
            key = ("terms", kind, terms[: k + 1])
            total = self.once(depth, key, f"add {kind} {total}, {self.term(terms[k], kind)}")
        return total

    def term(self, term: Term, kind: str) -> str:
        monomial, coefficient = term
        product = self.product(tuple(sorted(monomial, key=lambda v: (self.depths[v], v))), kind)
        if coefficient == 1:
            return product
        depth = max(self.depths[v] for v in monomial)
        return self.once(depth, ("term", kind, term), f"mul {kind} {product}, {_number(coefficient, kind)}")

    def product(self, monomial: tuple[IndexVariable, ...], kind: str) -> str:
        """The product of variables sorted by depth, so that outer products are shared."""
        last = self.variable(monomial[-1], kind)
        if len(monomial) == 1:
            return last
        rest = self.product(monomial[:-1], kind)
        return self.once(self.depths[monomial[-1]], ("product", kind, monomial), f"mul {kind} {rest}, {last}")

    def variable(self, variable: IndexVariable, kind: str) -> str:
        return self.variables[variable]

    def once(self, depth: int, key: object, text: str) -> str:
        """``text`` computed at ``depth``, the first time only."""
        depth = max(depth, self.floor)
        cache = self.out.scopes[depth].cache
        if key not in cache:
            cache[key] = self.out.let(text, depth)
        return cache[key]


def _number(n: int, kind: str) -> str:
    """What is left of a number in 32 bits."""
    return str((n + (1 << 31)) % (1 << 32) - (1 << 31) if kind == "i32" else n)
