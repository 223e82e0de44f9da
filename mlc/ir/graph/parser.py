"""Text to graph: reads what ``print_graph`` writes, and refuses everything else by line and column."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MlcError, ParseError
from ..dims import Dim, dim
from ..types import DTYPES, TensorType, ValueType
from .lexer import Tokens
from .literal import read_elements
from .node import Graph, Literal, Location, Locations, Node, Table
from .op import OPS, Op
from .reduction import REDUCE, REDUCERS, body_of
from .shape import CONSTANT
from .structure import PARAMETER
from .type_reader import TypeReader
from .verify import check_attributes, check_type

Resources = Mapping[str, npt.NDArray[np.generic]]


def parse_graph(text: str, resources: Resources | None = None) -> Graph:
    """The graph that ``print_graph`` printed; ``resources`` holds the constants over 1 KB by digest (``resources_of``).

    Any text is safe to give: what is no graph raises ParseError, whose location is the line and column and whose
    message says what was expected there. Types are inferred again and must be those printed.

    Example:
        >>> graph = parse_graph("graph @f(%x: f32[2]) -> (f32[2]) { %0 = tanh %x : f32[2] return %0 }")
        >>> graph.results[0].op.name
        'tanh'
    """
    return _Parser(Tokens(text), resources or {}).run()


class _Parser(TypeReader):
    def __init__(self, tokens: Tokens, resources: Resources) -> None:
        super().__init__(tokens)
        self.resources = resources
        self.symbols = self.find_symbols()
        self.graphs: dict[str, Graph | None] = {}  # None: its body is being read

    def run(self) -> Graph:
        self.tokens.expect("graph")
        graph = self.graph(top=True)
        if self.tokens.next.kind != "end":
            raise self.tokens.expected("the end of the text")
        return graph

    # ---------------------------------------------------------------- header

    def find_symbols(self) -> dict[str, Dim]:
        """The bounds behind the header's `where`, read first because the types before it use them."""
        t, found = self.tokens, dict[str, Dim]()
        while t.next.kind != "end" and t.next.text not in ("{", "where"):
            t.take()
        if t.accept("where"):
            while True:
                start = t.next.start
                name = self.size_name()
                t.expect("in")
                lower = t.integer("a lower bound")
                t.expect("..")
                upper = t.integer("an upper bound")
                if name in found:
                    raise t.error(f"the size {name} is declared twice", start)
                try:
                    size = dim(name, lower, upper)
                except ValueError as error:
                    raise t.error(str(error), start) from None
                assert isinstance(size, Dim)
                found[name] = size
                if not t.accept(","):
                    break
        t.at = 0
        return found

    def graph(self, top: bool = False) -> Graph:
        t = self.tokens
        start = t.expect("@").start
        name = t.name("the name of a graph")
        if not top and not (t.next.kind == "mark" and t.next.text == "("):
            known = self.graphs.get(name)
            if known is None:
                raise t.error(f"expected a graph that ends above, found @{name}", start)
            return known
        if name in self.graphs:
            raise t.error(f"the graph @{name} is defined twice", start)
        self.graphs[name] = None
        self.enter(start)
        table = Table()
        with table.active():
            values = self.parameters(table)
            parameters = list(values.values())
            t.expect("->")
            result_start = t.next.start
            types = self.types()
            if top:
                self.skip_symbols()
            results = self.body(table, values)
        if [r.type for r in results] != types:
            raise t.error(f"the header gives the results {_join(types)}; returned are "
                          f"{_join([r.type for r in results])}", result_start)  # fmt: skip
        self.nesting -= 1
        graph = self.graphs[name] = Graph(name, parameters, results, table)
        return graph

    def parameters(self, table: Table) -> dict[str, Node]:
        t, found = self.tokens, dict[str, Node]()
        t.expect("(")
        while not t.accept(")"):
            if found:
                t.expect(",")
            value = t.kind("value", "a parameter (%name)")
            if value.text in found:
                raise t.error(f"{value.text} is defined twice", value.start)
            word = value.text[1:]
            name = t.string("a name") if t.next.kind == "string" else "" if word[0].isdigit() else word
            t.expect(":")
            found[value.text] = table.parameter(self.type(), name)
        return found

    def skip_symbols(self) -> None:
        t = self.tokens
        if t.next.text == "where":
            while t.next.text != "{" and t.next.kind != "end":
                t.take()

    # ---------------------------------------------------------------- body

    def body(self, table: Table, values: dict[str, Node]) -> list[Node]:
        t = self.tokens
        t.expect("{")
        while not t.accept("return"):
            if t.next.kind != "value":
                raise t.expected("a node (%name = ...) or `return`")
            name = t.take()
            if name.text in values:
                raise t.error(f"{name.text} is defined twice", name.start)
            t.expect("=")
            values[name.text] = self.node(table, values)
        results: list[Node] = []
        while not t.accept("}"):
            if results:
                t.expect(",")
            results.append(self.operand(values))
        return results

    def operand(self, values: dict[str, Node]) -> Node:
        token = self.tokens.kind("value", "an operand (%name)")
        if token.text not in values:
            raise self.tokens.error(f"expected a value defined above, found {token}", token.start)
        return values[token.text]

    def node(self, table: Table, values: dict[str, Node]) -> Node:
        t = self.tokens
        start = t.next.start
        word = t.kind("word", "an operation").text
        op = OPS.get(word)
        if op is None or op is PARAMETER:
            raise t.error(f"expected an operation, found `{word[:40]}`", start)
        operands: list[Node] = []
        attributes: dict[str, Any] = {}
        elements: tuple[str, list[str]] | None = None
        if op is CONSTANT:
            elements = self.elements()
        elif t.next.text != ":":
            self.item(op, operands, attributes, values)
            while t.accept(","):
                self.item(op, operands, attributes, values)
        t.expect(":")
        result_type = self.type()
        placement = self.placement()
        with table.at(self.locations()):
            try:
                if elements is not None:
                    attributes["value"] = self.literal(elements, result_type)
                for key in ("shape", "dtype"):
                    if key in op.attributes and key not in attributes and isinstance(result_type, TensorType):
                        attributes[key] = getattr(result_type, key)
                check_attributes(op, attributes)
                found = op.result_type(operands, attributes)
                if found != result_type:
                    raise ParseError(f"{op.name}: the type is {found}, written is {result_type}")
                check_type(found)
            except (MlcError, ValueError) as error:
                raise t.error(error.message if isinstance(error, MlcError) else str(error), start) from error
            return table.make(op, tuple(operands), result_type, attributes, **placement)

    def item(self, op: Op, operands: list[Node], attributes: dict[str, Any], values: dict[str, Node]) -> None:
        """One of an operation's list: an operand, `init %c`, `add over [1]` or `name = value`."""
        t = self.tokens
        if t.next.kind == "value" or (op is REDUCE and t.accept("init")):
            operands.append(self.operand(values))
            return
        start = t.next.start
        key = t.kind("word", "an operand or an attribute").text
        if op is REDUCE and t.accept("over"):
            reducer = next((r for r in REDUCERS if r.name == key), None)
            if reducer is None or not operands or not isinstance(operands[0].type, TensorType):
                raise t.error(f"expected one of {', '.join(r.name for r in REDUCERS)} behind the operands", start)
            try:
                added = {"body": body_of(reducer, operands[0].dtype), "dimensions": self.value()}
            except ParseError:
                raise
            except MlcError as error:
                raise t.error(error.message, start) from error
        else:
            t.expect("=")
            added = {key: self.value()}
        for name, value in added.items():
            if name not in op.attributes or name in attributes:
                raise t.error(f"expected each of the attributes {', '.join(op.attributes)} once, found {name}", start)
            attributes[name] = value

    def placement(self) -> dict[str, Any]:
        t, found = self.tokens, dict[str, Any]()
        for word in ("device", "sharding", "layout"):
            if t.accept(word):
                found[word] = t.string(f"a {word} (string)")
        if t.accept("remat"):
            found["remat"] = t.integer("a number")
        return found

    def locations(self) -> Locations:
        t, found = self.tokens, list[Location]()
        if t.accept("loc"):
            t.expect("(")
            while not found or t.accept(";"):
                file = t.string("a file")
                t.expect(":")
                line = t.integer("a line number")
                scope = t.string("a scope") if t.accept(",") else ""
                found.append(Location(file, line, t.string("a line of source") if t.accept(",") else "", scope))
            t.expect(")")
        return tuple(found)

    # ---------------------------------------------------------------- types and values

    def elements(self) -> tuple[str, list[str]]:
        """A constant's elements as words, which its type says how to read."""
        t = self.tokens
        if t.accept("["):
            words: list[str] = []
            while not t.accept("]"):
                if words:
                    t.expect(",")
                words.append(self.element())
            return "list", words
        for form in ("splat", "hex", "resource"):
            if t.accept(form):
                return form, [self.element() if form == "splat" else t.string(f"a string behind {form}")]
        return "number", [self.element()]

    def element(self) -> str:
        t = self.tokens
        if t.next.kind != "number" and t.next.text not in ("inf", "true", "false"):
            raise t.expected("a number, true or false")
        return t.take().text

    def literal(self, elements: tuple[str, list[str]], type: ValueType) -> Literal:
        if not isinstance(type, TensorType):
            raise ValueError(f"a constant is a tensor, not {type}")
        return read_elements(*elements, type, self.resources)

    def value(self) -> Any:
        """An attribute's value."""
        t = self.tokens
        self.enter(t.next.start)
        try:
            if t.accept("["):
                return tuple(self.separated("]"))
            if t.accept("{"):
                return self.mapping()
            if t.next.kind == "mark" and t.next.text == "@":
                return self.graph()
            if t.next.kind == "string":
                return t.string("a string")
            if t.next.kind == "mark" and t.next.text == "$":
                return self.size()
            if t.next.kind == "number":
                return self.number()
            if t.next.kind == "word":
                return self.word()
            raise t.expected("the value of an attribute")
        finally:
            self.nesting -= 1

    def separated(self, end: str) -> list[Any]:
        t, found = self.tokens, list[Any]()
        while not t.accept(end):
            if found:
                t.expect(",")
            found.append(self.value())
        return found

    def mapping(self) -> dict[str, Any]:
        t, found = self.tokens, dict[str, Any]()
        while not t.accept("}"):
            if found:
                t.expect(",")
            key = t.name("a key")
            t.expect("=")
            found[key] = self.value()
        return found

    def number(self) -> Any:
        text = self.tokens.next.text
        is_float = "x" not in text and any(c in text for c in ".en")
        return float(self.tokens.take().text) if is_float else self.size()

    def word(self) -> Any:
        t = self.tokens
        words = {"none": None, "true": True, "false": False, "inf": float("inf")}
        if t.next.text in words:
            return words[t.take().text]
        if t.next.text in DTYPES:
            return self.dtype()
        if t.accept("type"):
            t.expect("(")
            type = self.type()
            t.expect(")")
            return type
        if t.accept("nan"):
            return self.nan()
        if t.accept("literal"):
            t.expect("(")
            start, type = t.next.start, self.type()
            elements = self.elements()
            t.expect(")")
            try:
                return self.literal(elements, type)
            except ValueError as error:
                raise t.error(str(error), start) from error
        return self.size()

    def nan(self) -> float:
        """A NaN by its bits in hexadecimal."""
        t = self.tokens
        t.expect("(")
        start = t.next.start
        try:
            number: float = struct.unpack(">d", bytes.fromhex(t.string("the bits of a NaN")))[0]
        except (struct.error, ValueError) as error:
            raise t.error("expected the 16 hexadecimal digits of a NaN", start) from error
        t.expect(")")
        return number


def _join(types: list[ValueType]) -> str:
    return f"({', '.join(map(str, types))})"
