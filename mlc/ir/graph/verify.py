"""Checks that a graph keeps the constraints of its language: what every pass may rely on and must leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...errors import MlcError, VerifyError
from ..dims import Dim, Symbol, bounds
from ..types import DType, TensorType, TupleType, ValueType
from .node import Graph, Literal, Node, attribute_key, graphs_in
from .op import OPS, Op
from .structure import PARAMETER
from .text import print_node

MAX_RANK = 32
MAX_TERMS = 10_000  # of the polynomial that counts a tensor's elements
MAX_BYTES = 1 << 63


def verify_graph(graph: Graph, symbols: Iterable[Symbol] = (), *, proven: set[Node] | None = None) -> None:
    """Raise VerifyError for the first constraint that ``graph`` breaks, with the line of the node that breaks it.

    - Parameters are distinct parameter nodes; every one that a result depends on is among them (graphs are closed).
    - Results are tensors or tokens.
    - Every node is of the graph's table, of a row of the op table, and comes after its operands.
    - Attributes are exactly the row's, each of its kind.
    - Every type is what the row infers from the operands and attributes; ranks and bytes are within bounds.
    - A size has one pair of bounds everywhere, and is a dimension of a parameter (or one of ``symbols``).
    - Nested graphs keep all of this, with the sizes of the outermost.

    ``proven`` are nodes that were found right by themselves in a graph with the same symbols, and are not looked at
    again but for their place in this one; what is found right now is added.
    """
    proven = set() if proven is None else proven
    known = {s.name: s for s in (*graph.symbols, *symbols)}
    work, seen = [graph], {id(graph)}
    while work:
        current = work.pop()
        _verify_ends(current)
        for node in current.nodes:
            _verify_place(current, node)
            if node not in proven:
                _verify_node(current, node, known)
                proven.add(node)
            for inner in graphs_in(node):
                if id(inner) not in seen:
                    seen.add(id(inner))
                    work.append(inner)


def check_attributes(op: Op, attributes: Mapping[str, Any]) -> None:
    """Raise VerifyError where attributes are missing, unknown or of another kind than their name says."""
    if set(attributes) != set(op.attributes):
        missing = [k for k in op.attributes if k not in attributes]
        unknown = sorted(set(attributes) - set(op.attributes))
        raise VerifyError(
            f"{op.name}: attributes are {', '.join(op.attributes) or 'none'}"
            + (f"; missing {', '.join(missing)}" if missing else "")
            + (f"; unknown {', '.join(unknown)}" if unknown else "")
        )
    for key, value in attributes.items():
        kind = "size" if op.name == "size" and key == "value" else key
        words, fits = _KINDS.get(kind, ("an attribute value", _is_attribute))
        if not fits(value):
            raise VerifyError(f"{op.name}: attribute {key} is {words}, not {str(value)[:80]}")


def check_type(type: ValueType) -> None:
    """Raise VerifyError for a type beyond the bounds of rank, bytes and size expressions, or with negative sizes."""
    if isinstance(type, TupleType):
        for element in type.elements:
            check_type(element)
    if not isinstance(type, TensorType):
        return
    if type.rank > MAX_RANK:
        raise VerifyError(f"rank {type.rank} is over {MAX_RANK}")
    terms, least = 1, type.dtype.itemsize
    for n in type.shape:
        terms *= len(n.terms) if isinstance(n, Dim) else 1
        low = bounds(n)[0]
        if low < 0:
            raise VerifyError(f"{type} has a size that can be negative: {n}")
        least *= low
    if terms > MAX_TERMS:
        raise VerifyError(f"the sizes of {type.dtype}[...] multiply to over {MAX_TERMS} terms")
    if least >= MAX_BYTES:
        raise VerifyError(f"{type} is over 2**63 bytes")


def _verify_ends(graph: Graph) -> None:
    if len(set(graph.parameters)) != len(graph.parameters):
        raise VerifyError(f"{graph.name}: parameters are distinct")
    for node in graph.parameters:
        if node.op is not PARAMETER:
            raise _error(graph, node, "parameters are parameter nodes")
    for node in graph.results:
        if isinstance(node.type, TupleType):
            raise _error(graph, node, "results are tensors or tokens, not tuples")


def _verify_place(graph: Graph, node: Node) -> None:
    if node not in graph.table.locations:
        raise _error(graph, node, "every node is of the graph's table")
    if node.op is PARAMETER and node not in graph.parameters:
        raise _error(graph, node, "graphs are closed: every parameter is one of the graph's")


def _verify_node(graph: Graph, node: Node, known: Mapping[str, Symbol]) -> None:
    if OPS.get(node.op.name) is not node.op:
        raise _error(graph, node, "every operation is a row of the op table")
    for operand in node.operands:
        if operand.uid >= node.uid:
            raise _error(graph, node, "operands come before their users")
    if not (node.device is None or isinstance(node.device, str)) or not isinstance(node.remat, int) or node.remat < 0:
        raise _error(graph, node, "a device is a string and a remat id is a number")
    try:
        check_attributes(node.op, node.attributes)
        check_type(node.type)
        found = node.type if node.op is PARAMETER else node.op.result_type(node.operands, dict(node.attributes))
    except MlcError as error:
        raise _error(graph, node, error.message) from error
    if found != node.type:
        raise _error(graph, node, f"its row gives the type {found}")
    for symbol in _symbols(node):
        if known.get(symbol.name) != symbol:
            said = f"{symbol.name} in {symbol.lower}..{symbol.upper}"
            raise _error(graph, node, f"sizes are dimensions of parameters: {said} is not")


def _symbols(node: Node) -> Iterable[Symbol]:
    """The symbols in a node's type and attributes."""
    work: list[object] = [node.type, *node.attributes.values()]
    while work:
        value = work.pop()
        if isinstance(value, Dim):
            yield from value.symbols
        elif isinstance(value, tuple):
            work.extend(v for v in value if not isinstance(v, int | str))
        elif isinstance(value, TensorType):
            work.extend(n for n in value.shape if not isinstance(n, int))
        elif isinstance(value, TupleType):
            work.extend(value.elements)
        elif isinstance(value, Mapping):
            work.extend(value.values())


def _error(graph: Graph, node: Node, constraint: str) -> VerifyError:
    locations = graph.locations(node)
    return VerifyError(
        f"{graph.name}: {constraint}\n  {print_node(node)}", location=str(locations[0]) if locations else None
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: object) -> bool:
    return _is_int(value) or isinstance(value, Dim)


def _tuple_of(element: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple) and all(map(element, value))


def _is_attribute(value: object) -> bool:
    try:
        attribute_key(value)
    except (TypeError, RecursionError):
        return False
    return True


def _kind(words: str, fits: Callable[[object], bool], *names: str) -> dict[str, tuple[str, Callable[[object], bool]]]:
    return dict.fromkeys(names, (words, fits))


_KINDS = {
    **_kind("a list of sizes", _tuple_of(_is_size), "shape", "limit", "slice_sizes", "high"),
    **_kind("a list of integers", _tuple_of(_is_int), "dimensions", "permutation", "start", "strides", "low",
            "interior", "lhs_contracting", "rhs_contracting", "lhs_batch", "rhs_batch", "window_strides",
            "window_dimensions", "window_dilations", "base_dilations", "lhs_dilation", "rhs_dilation",
            "offset_dims", "collapsed_slice_dims", "operand_batching_dims", "start_indices_batching_dims",
            "start_index_map", "update_window_dims", "inserted_window_dims", "input_batching_dims",
            "scatter_indices_batching_dims", "scatter_dims_to_operand_dims", "in_shardings", "out_shardings"),
    **_kind("a list of lists of integers", _tuple_of(_tuple_of(_is_int)), "padding", "replica_groups"),
    **_kind("a list of true and false", _tuple_of(lambda v: isinstance(v, bool)), "window_reversal"),
    **_kind("an integer", _is_int, "dimension", "index", "id", "feature_group_count", "batch_group_count",
            "index_vector_dim"),
    **_kind("true or false", lambda v: isinstance(v, bool), "indices_are_sorted", "unique_indices"),
    **_kind("an element type", lambda v: isinstance(v, DType), "dtype"),
    **_kind("a string", lambda v: isinstance(v, str), "direction", "algorithm", "name", "kind", "reduction",
            "dimension_numbers"),
    **_kind("a graph", lambda v: isinstance(v, Graph), "select", "scatter", "body", "callee", "cond", "decomposition"),
    **_kind("a list of graphs", _tuple_of(lambda v: isinstance(v, Graph)), "branches"),
    **_kind("a size", _is_size, "size"),
    **_kind("a constant", lambda v: isinstance(v, Literal), "value"),
}  # fmt: skip
"""What the attribute of each name is, in words and as a predicate; other names hold any attribute value."""
