"""Graph to text: one node a line, numbered in order, constants exact; ``parse_graph`` reads it back.

graph @main(%x: f32[batch,784]) -> (f32[batch]) where batch in 1..64 {
  %0 = tanh %x : f32[batch,784]
  %1 = constant -inf : f32[]
  %2 = reduce %0, init %1, maximum over [1] : f32[batch]
  return %2
}
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ...errors import MlcError
from ..dims import Dim, Size, Symbol
from ..types import DTYPES, DType, TensorType, TokenType, TupleType, ValueType
from .literal import print_elements
from .node import Graph, Literal, Locations, Node, Table, is_large, with_nested
from .reduction import REDUCE, body_of, reducer_of
from .shape import CONSTANT
from .structure import PARAMETER

RESERVED = {*DTYPES, "inf", "nan", "none", "true", "false", "token", "literal", "type", "where"}
"""Words of the language: what is named like one is printed as a string."""
WORD = r"[^\W\d]\w*"


def print_graph(graph: Graph, locations: bool = False) -> str:
    """The text of a graph; with ``locations``, each node's lines of the user's program are printed behind it.

    ``parse_graph`` gives a graph with the same fingerprint and the same text. Constants over 1 KB are printed by
    digest; ``resources_of`` has their values.
    """
    return _Printer(locations).run(graph)


def resources_of(graph: Graph) -> dict[str, npt.NDArray[np.generic]]:
    """The constants that the text of ``graph`` names by digest, nested graphs' too: what ``parse_graph`` takes."""
    found: dict[str, npt.NDArray[np.generic]] = {}
    for g in with_nested(graph):
        for node in g.nodes:
            for value in node.attributes.values():
                if isinstance(value, Literal) and is_large(value):
                    found[value.digest] = value.array
    return found


def print_node(node: Node) -> str:
    """One node as a line, for messages: values are named by uid, and of nested graphs only the first line is shown."""
    text = _Printer(False).node(node, Graph("", (), (), Table()), {o: str(o.uid) for o in node.operands}, "")
    return f"%{node.uid} = {text}".split("\n", 1)[0]


class _Printer:
    def __init__(self, locations: bool) -> None:
        self.locations = locations
        self.symbols: set[Symbol] = set()
        self.graphs: dict[object, str] = {}  # names of the graphs printed so far, which later uses refer to
        self.used: set[str] = set()

    def run(self, graph: Graph) -> str:
        signature, body = self.signature(graph), self.body(graph, "")
        bounds = ", ".join(f"{_size_word(s)} in {s.lower}..{s.upper}" for s in sorted(self.symbols))
        return f"graph {signature}{' where ' + bounds if bounds else ''} {body}\n"

    def signature(self, graph: Graph) -> str:
        parameters = ", ".join(self.parameter(p, i, graph) for i, p in enumerate(graph.parameters))
        results = ", ".join(self.type(r.type) for r in graph.results)
        return f"@{self.graph_name(graph)}({parameters}) -> ({results})"

    def graph_name(self, graph: Graph) -> str:
        name, count = graph.name, 0
        while name in self.used:
            count += 1
            name = f"{graph.name}_{count}"
        self.used.add(name)
        self.graphs[self.graph_key(graph)] = name
        return _word(name)

    def graph_key(self, graph: Graph) -> object:
        return id(graph) if self.locations else graph.fingerprint

    def parameter(self, node: Node, position: int, graph: Graph) -> str:
        name = parameter_names(graph)[position]
        called = "" if name == node["name"] or not node["name"] else f" {json.dumps(node['name'])}"
        return f"%{name}{called}: {self.type(node.type)}"

    def body(self, graph: Graph, indent: str) -> str:
        names = dict(zip(graph.parameters, parameter_names(graph), strict=True))
        inner = indent + "  "
        lines = ["{"]
        count = sum(name.isdigit() for name in names.values())
        for node in graph.nodes:
            if node in names:
                continue
            names[node] = str(count)
            count += 1
            lines.append(f"{inner}%{names[node]} = {self.node(node, graph, names, inner)}")
        results = ", ".join(f"%{names[r]}" for r in graph.results)
        lines.append(f"{inner}return {results}".rstrip())
        lines.append(f"{indent}}}")
        return "\n".join(lines)

    def node(self, node: Node, graph: Graph, names: Mapping[Node, str], indent: str) -> str:
        operands = [f"%{names[o]}" for o in node.operands]
        if node.op is CONSTANT and isinstance(node.attributes.get("value"), Literal):
            items = [print_elements(node["value"])]
        elif node.op is REDUCE and len(operands) == 2 and set(node.attributes) == set(REDUCE.attributes):
            items = [operands[0], f"init {operands[1]}", *self.reduction(node, indent)]
        else:
            items = operands + [
                f"{key} = {self.value(node[key], indent)}"
                for key in (*node.op.attributes, *sorted(set(node.attributes) - set(node.op.attributes)))
                if key in node.attributes and not is_implied(node, key)
            ]
        text = f"{node.op.name} {', '.join(items)}".rstrip()
        return f"{text} : {self.type(node.type)}{self.placement(node)}{self.where(graph.locations(node))}"

    def reduction(self, node: Node, indent: str) -> list[str]:
        axes, body = self.value(node["dimensions"], indent), node["body"]
        if isinstance(body, Graph) and is_plain_reducer(body):
            return [f"{body.results[0].op.name} over {axes}"]
        return [f"dimensions = {axes}", f"body = {self.value(body, indent)}"]

    def placement(self, node: Node) -> str:
        text = f" device {json.dumps(node.device)}" if node.device is not None else ""
        for word, value in (("sharding", node.sharding), ("layout", node.layout)):
            if value is not None:
                text += f" {word} {json.dumps(value if isinstance(value, str) else repr(value))}"
        return f"{text} remat {node.remat}" if node.remat else text

    def where(self, locations: Locations) -> str:
        if not self.locations or not locations:
            return ""
        parts = []
        for x in locations:
            extra = [x.scope, x.text] if x.text else [x.scope] if x.scope else []
            parts.append(", ".join([f"{json.dumps(x.file)}:{x.line}", *map(json.dumps, extra)]))
        return f" loc({'; '.join(parts)})"

    def value(self, value: object, indent: str) -> str:
        """An attribute's value, to be read back the same: 1, 1.0 and true differ, -0.0 and NaNs keep their bits."""
        if value is None:
            return "none"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, DType):
            return value.name
        if isinstance(value, int | Dim):
            return self.size(value)
        if isinstance(value, float):
            return f'nan("{struct.pack(">d", value).hex()}")' if value != value else float.__repr__(value)
        if isinstance(value, str):
            return json.dumps(value)
        if isinstance(value, tuple):
            return f"[{', '.join(self.value(v, indent) for v in value)}]"
        if isinstance(value, Mapping):
            return f"{{{', '.join(f'{_word(k)} = {self.value(v, indent)}' for k, v in sorted(value.items()))}}}"
        if isinstance(value, Literal):
            return f"literal({self.type(value.type)} {print_elements(value)})"
        if isinstance(value, TensorType | TupleType | TokenType):
            return f"type({self.type(value)})"
        if isinstance(value, Graph):
            known = self.graphs.get(self.graph_key(value))
            if known is not None:
                return f"@{_word(known)}"
            return f"{self.signature(value)} {self.body(value, indent)}"
        return f"<{value!r}>"  # no attribute: shown, and refused by the parser

    def type(self, type: ValueType) -> str:
        if isinstance(type, TensorType):
            return f"{type.dtype.name}[{','.join(map(self.size, type.shape))}]"
        return f"({', '.join(map(self.type, type.elements))})" if isinstance(type, TupleType) else "token"

    def size(self, size: Size) -> str:
        if not isinstance(size, Dim):
            return str(size)
        self.symbols.update(size.symbols)
        terms = []
        for monomial, coefficient in size.terms:
            factors = [_size_word(s) for s in monomial]
            terms.append("*".join(factors if coefficient == 1 and factors else [str(coefficient), *factors]))
        return "+".join(terms).replace("+-", "-")


def parameter_names(graph: Graph) -> list[str]:
    """What the parameters are called in the text: by their names where those are words, else by number."""
    names: list[str] = []
    count = 0
    for p in graph.parameters:
        name = p["name"] if p.op is PARAMETER else ""
        if name in names or not re.fullmatch(WORD, name):
            name, count = str(count), count + 1
        names.append(name)
    return names


def is_implied(node: Node, attribute: str) -> bool:
    """Whether the printed type says what the attribute is: the result's shape or element type."""
    if not isinstance(node.type, TensorType):
        return False
    return (attribute == "shape" and node["shape"] == node.type.shape) or (
        attribute == "dtype" and node["dtype"] == node.type.dtype
    )


def is_plain_reducer(body: Graph) -> bool:
    """Whether ``body`` is what ``body_of`` gives for its operation, so that its name says it all."""
    try:
        op = reducer_of(body)
    except MlcError:
        return False
    dtype = body.parameters[0].type
    return isinstance(dtype, TensorType) and body.fingerprint == body_of(op, dtype.dtype).fingerprint


def _size_word(symbol: Symbol) -> str:
    word = _word(symbol.name)
    return f"${word}" if word.startswith('"') else word


def _word(name: str) -> str:
    return name if re.fullmatch(WORD, name) and name not in RESERVED else json.dumps(name)
