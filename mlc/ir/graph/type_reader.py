"""Tokens to types and sizes, which graphs and plans write alike."""

from __future__ import annotations

from ...errors import VerifyError
from ..dims import Dim, Size, Symbol
from ..types import DTYPES, TOKEN, DType, TensorType, TupleType, ValueType
from .lexer import Tokens
from .text import RESERVED
from .verify import check_type

MAX_NESTING = 64  # of graphs in graphs and of lists in attributes
MAX_FACTORS = 64  # of one symbolic size


class TypeReader:
    """Reads types whose sizes are numbers and ``symbols``; ParseError for anything else."""

    def __init__(self, tokens: Tokens, symbols: dict[str, Dim] | None = None) -> None:
        self.tokens = tokens
        self.symbols = symbols or {}
        self.nesting = 0

    def types(self) -> list[ValueType]:
        t, found = self.tokens, list[ValueType]()
        t.expect("(")
        while not t.accept(")"):
            if found:
                t.expect(",")
            found.append(self.type())
        return found

    def type(self) -> ValueType:
        t = self.tokens
        start = t.next.start
        if t.accept("token"):
            return TOKEN
        if t.next.text == "(" and t.next.kind == "mark":
            self.enter(start)
            elements = self.types()
            self.nesting -= 1
            if any(isinstance(e, TupleType) for e in elements):
                raise t.error("a tuple has no tuples in it", start)
            return TupleType(tuple(e for e in elements if not isinstance(e, TupleType)))
        dtype = self.dtype()
        sizes: list[Size] = []
        t.expect("[")
        while not t.accept("]"):
            if sizes:
                t.expect(",")
            sizes.append(self.size())
        found = TensorType(tuple(sizes), dtype)
        try:
            check_type(found)
        except VerifyError as error:
            raise t.error(error.message, start) from error
        return found

    def dtype(self) -> DType:
        token = self.tokens.kind("word", "a type")
        if token.text not in DTYPES:
            raise self.tokens.error(f"expected an element type ({', '.join(DTYPES)}), found {token}", token.start)
        return DTYPES[token.text]

    def size(self) -> Size:
        """A sum of products of integers and symbols."""
        t = self.tokens
        total, sign, factors = self.product(), 1, 1
        while True:
            if t.accept("+"):
                sign = 1
            elif t.accept("-"):
                sign = -1
            elif not (t.next.kind == "number" and t.next.text.startswith("-")):
                return total
            else:
                sign = 1
            factors += 1
            if factors > MAX_FACTORS:
                raise t.expected(f"a size of at most {MAX_FACTORS} terms")
            total = total + self.product() * sign

    def product(self) -> Size:
        t = self.tokens
        coefficient, symbols = 1, list[Symbol]()
        for count in range(MAX_FACTORS):
            if count and not t.accept("*"):
                break
            if t.next.kind == "number":
                coefficient *= self.bounded()
            else:
                start = t.next.start
                name = self.size_name()
                if name not in self.symbols:
                    raise t.error(f"expected a size that the header declares, found {name[:40]}", start)
                symbols += self.symbols[name].symbols
        return Dim({tuple(sorted(symbols)): coefficient}) if symbols and coefficient else coefficient

    def size_name(self) -> str:
        t = self.tokens
        if t.accept("$"):
            return t.string("the name of a size")
        if t.next.text in RESERVED:
            raise t.expected("a size")
        return t.kind("word", "a size").text

    def bounded(self) -> int:
        start = self.tokens.next.start
        value = self.tokens.integer("a size")
        if not -(1 << 63) <= value < 1 << 64:
            raise self.tokens.error("an integer has at most 64 bits", start)
        return value

    def enter(self, start: int) -> None:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self.tokens.error(f"graphs and lists are nested at most {MAX_NESTING} deep", start)
