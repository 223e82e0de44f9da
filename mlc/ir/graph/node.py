"""Nodes, the table that interns them, and graphs: the data of the graph language.

A node is immutable and interned: building the same operation on the same operands twice gives the same object, so
common subexpressions are free and "unchanged" is ``is``. A table belongs to one trace and holds every node of it, with
the user's locations beside them; transformations add nodes to the same table.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..dims import Dim, Symbol
from ..types import DType, TensorType, TokenType, TupleType, ValueType, dtype_of

if TYPE_CHECKING:
    from .op import Op

SMALL_CONSTANT_BYTES = 1024  # constants up to this size are identified by their bytes, larger ones by their buffer


@dataclass(frozen=True, slots=True)
class Location:
    """A line of the user's program and the name scope that was open there."""

    file: str
    line: int
    text: str = ""
    scope: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.text else f"{self.file}:{self.line}"


Locations = tuple[Location, ...]  # ordered, without repetition; cost goes to the first


class Literal:
    """The value of a constant: a read-only C-contiguous array and its element type.

    Small literals are equal when their dtype, shape and bytes are (so 0.0, -0.0, NaNs, 1 and True all differ); large
    ones when they share a buffer.
    """

    __slots__ = ("_digest", "array", "dtype", "key")

    def __init__(self, array: npt.ArrayLike, dtype: DType | None = None) -> None:
        dtype = dtype or dtype_of(np.asarray(array).dtype)
        data = np.asarray(array, dtype=dtype.numpy)
        if not data.flags.c_contiguous:
            data = np.ascontiguousarray(data).reshape(data.shape)
        data = data.view()
        data.flags.writeable = False
        self.array = data
        self.dtype = dtype
        identity: object = (
            data.tobytes() if data.nbytes <= SMALL_CONSTANT_BYTES else data.__array_interface__["data"][0]
        )
        self.key = (dtype.name, data.shape, identity)
        self._digest: str | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Literal({self.array!r})"

    @property
    def type(self) -> TensorType:
        return TensorType(self.array.shape, self.dtype)

    @property
    def digest(self) -> str:
        """A name of the value (dtype, shape and bytes) that is the same in every process."""
        if self._digest is None:
            found = hashlib.sha256(f"{self.type};".encode())
            found.update(self.array.reshape(-1).view(np.uint8).data if self.array.size else b"")
            self._digest = found.hexdigest()[:32]
        return self._digest


def is_large(literal: Literal) -> bool:
    """Whether a literal is identified by its buffer and printed by its digest."""
    return literal.array.nbytes > SMALL_CONSTANT_BYTES


class Node:
    """One operation of a graph and its result; made by ``Op.__call__`` or ``Table.make``, never changed.

    Identity is op, operands, type, attributes (with regions), device, sharding, layout and remat id; ``uid`` numbers
    the nodes of a table in order of creation, so that sorting by it is a topological order.
    """

    __slots__ = (
        "__weakref__", "attributes", "attributes_key", "device", "layout", "op", "operands", "remat", "sharding",
        "type", "uid",
    )  # fmt: skip

    op: Op
    operands: tuple[Node, ...]
    type: ValueType
    attributes: Mapping[str, Any]
    attributes_key: object
    device: str | None
    sharding: object | None
    layout: object | None
    remat: int
    uid: int

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"nodes are immutable: cannot set {name}")

    @property
    def tensor(self) -> TensorType:
        """The type of a node that is known to be a tensor."""
        assert isinstance(self.type, TensorType), f"{self.op.name} has type {self.type}"
        return self.type

    @property
    def shape(self) -> tuple[int | Dim, ...]:
        return self.tensor.shape

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    def __repr__(self) -> str:
        return f"%{self.uid}={self.op.name}:{self.type}"


def attribute_key(value: object) -> object:
    """A hashable that is equal exactly for attribute values that mean the same: 0.0, -0.0, 1, True all differ."""
    if isinstance(value, bool | str | int | DType | Dim) or value is None:
        return (type(value).__name__, value)
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    if isinstance(value, tuple):
        return tuple(attribute_key(v) for v in value)
    if isinstance(value, Literal):
        return value.key
    if isinstance(value, Graph):
        return ("graph", value.fingerprint)
    if isinstance(value, Mapping):
        return tuple((k, attribute_key(v)) for k, v in sorted(value.items()))
    if isinstance(value, TensorType | TupleType | TokenType):
        return ("type", value)
    raise TypeError(f"{value!r} cannot be an attribute")


class Table:
    """The interned nodes of one trace, and the user's locations of each."""

    def __init__(self) -> None:
        self._nodes: dict[object, Node] = {}
        self._next = 0
        self.locations: dict[Node, Locations] = {}
        self.current: Locations = ()
        self.device: str | None = None  # of the nodes that are made now, where they are not told another
        self.trace: object | None = None  # the trace that fills this table, for the front end

    def __len__(self) -> int:
        return len(self._nodes)

    def make(
        self,
        op: Op,
        operands: tuple[Node, ...],
        type: ValueType,
        attributes: Mapping[str, Any],
        *,
        device: str | None = None,
        sharding: object | None = None,
        layout: object | None = None,
        remat: int = 0,
        attributes_key: object = None,
    ) -> Node:
        """The one node with this identity; the current locations are added to those it has.

        ``attributes_key`` is that of another node with the same attributes, so that it is not made again.
        """
        if device is None:
            device = self.device
        if attributes_key is None:
            attributes_key = tuple([(k, attribute_key(attributes[k])) for k in sorted(attributes)])
        key = (op.name, tuple([o.uid for o in operands]), type, attributes_key, device, sharding, layout, remat)
        node = self._nodes.get(key)
        if node is None:
            node = Node.__new__(Node)
            put = object.__setattr__
            put(node, "op", op)
            put(node, "operands", operands)
            put(node, "type", type)
            put(node, "attributes", attributes)
            put(node, "attributes_key", attributes_key)
            put(node, "device", device)
            put(node, "sharding", sharding)
            put(node, "layout", layout)
            put(node, "remat", remat)
            put(node, "uid", self._next)
            self._next += 1
            self._nodes[key] = node
            self.locations[node] = self.current
        elif self.current:
            self.add_locations(node, self.current)
        return node

    def parameter(self, type: ValueType, name: str = "") -> Node:
        """A new parameter; no two are the same node."""
        from .structure import PARAMETER

        with self.at(self.current, None):
            return self.make(PARAMETER, (), type, {"id": self._next, "name": name})

    def rebuild(self, node: Node, operands: Sequence[Node], **attributes: object) -> Node:
        """``node`` with other operands (of the same types) and attributes; ``node`` itself where nothing changed."""
        if not attributes:
            same = all(a is b for a, b in zip(node.operands, operands, strict=True))
            return node if same else self.copy(node, operands)
        return self.make(
            node.op, tuple(operands), node.type, {**node.attributes, **attributes},
            device=node.device, sharding=node.sharding, layout=node.layout, remat=node.remat,
        )  # fmt: skip

    def copy(self, node: Node, operands: Sequence[Node]) -> Node:
        """``node``, which may be of another table, with operands of this one (of the same types)."""
        return self.make(
            node.op, tuple(operands), node.type, node.attributes, device=node.device, sharding=node.sharding,
            layout=node.layout, remat=node.remat, attributes_key=node.attributes_key,
        )  # fmt: skip

    def add_locations(self, node: Node, locations: Locations) -> None:
        old = self.locations.get(node, ())
        new = tuple(x for x in locations if x not in old)
        if new:
            self.locations[node] = old + new

    @contextmanager
    def at(self, locations: Locations, *device: str | None) -> Iterator[None]:
        """Nodes made inside are at ``locations``, and on ``device`` where one is given: what a rewrite or a derivative
        passes on."""
        before = self.current, self.device
        self.current = locations
        if device:
            (self.device,) = device
        try:
            yield
        finally:
            self.current, self.device = before

    @contextmanager
    def active(self) -> Iterator[Table]:
        """Operations called inside build their nodes here."""
        stack = _active_tables()
        stack.append(self)
        TRACES.append(self)
        try:
            yield self
        finally:
            stack.pop()
            TRACES.pop()


TRACES: list[Table] = []
"""As many entries as there are active tables in all threads: empty where nobody traces."""

_local = threading.local()


def _active_tables() -> list[Table]:
    if not hasattr(_local, "stack"):
        _local.stack = []
    stack: list[Table] = _local.stack
    return stack


def current_table() -> Table:
    """The innermost active table of this thread. Raises RuntimeError where there is none."""
    stack = _active_tables()
    if not stack:
        raise RuntimeError("no table is active: graph operations are called inside `with table.active():`")
    return stack[-1]


def outermost_table() -> Table:
    """The outermost active table of this thread. Raises RuntimeError where there is none."""
    current_table()
    return _active_tables()[0]


def has_active_table() -> bool:
    return bool(_active_tables())


class Graph:
    """A closed function: positional parameters, results, and every node between them."""

    __slots__ = ("_fingerprint", "_nodes", "name", "parameters", "results", "table")

    def __init__(self, name: str, parameters: Sequence[Node], results: Sequence[Node], table: Table) -> None:
        self.name = name
        self.parameters = tuple(parameters)
        self.results = tuple(results)
        self.table = table
        self._nodes: tuple[Node, ...] | None = None
        self._fingerprint: str | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node that a result depends on, parameters included, operands before users."""
        if self._nodes is None:
            self._nodes = reachable(self.results, also=self.parameters)
        return self._nodes

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbolic sizes in the parameters' types, by name."""
        found = {
            s
            for p in self.parameters
            if isinstance(p.type, TensorType)
            for n in p.type.shape
            if isinstance(n, Dim)
            for s in n.symbols
        }
        return tuple(sorted(found))

    @property
    def fingerprint(self) -> str:
        """A digest equal for graphs that compute the same by the same operations, in any table, at any locations."""
        if self._fingerprint is None:
            self._fingerprint = _digest(self)
        return self._fingerprint

    def locations(self, node: Node) -> Locations:
        return self.table.locations.get(node, ())

    def with_results(self, results: Sequence[Node]) -> Graph:
        """The same parameters with other results; the graph itself where they are the same nodes."""
        if len(results) == len(self.results) and all(a is b for a, b in zip(results, self.results, strict=True)):
            return self
        return Graph(self.name, self.parameters, results, self.table)

    def __str__(self) -> str:
        from .text import print_graph

        return print_graph(self)


def reachable(results: Iterable[Node], also: Iterable[Node] = ()) -> tuple[Node, ...]:
    """The nodes that ``results`` depend on, in topological order (iterative: depth is not limited by the stack)."""
    seen: set[Node] = set(also)
    work = [r for r in results if r not in seen]
    seen.update(work)
    while work:
        for operand in work.pop().operands:
            if operand not in seen:
                seen.add(operand)
                work.append(operand)
    return tuple(sorted(seen, key=lambda n: n.uid))


def graphs_in(node: Node) -> list[Graph]:
    """The graphs among a node's attributes, in order: its regions, and those in lists and options."""
    found, work = [], [node.attributes[k] for k in reversed(list(node.attributes))]
    while work:
        value = work.pop()
        if isinstance(value, Graph):
            found.append(value)
        elif isinstance(value, tuple):
            work.extend(v for v in reversed(value) if isinstance(v, Graph | tuple | Mapping))
        elif isinstance(value, Mapping):
            work.extend(value[k] for k in sorted(value, reverse=True))
    return found


def with_nested(graph: Graph) -> Iterator[Graph]:
    """The graph, and every graph inside of its nodes and theirs, once each."""
    work, seen = [graph], {graph}
    while work:
        current = work.pop()
        yield current
        for node in current.nodes:
            inner = [g for g in graphs_in(node) if g not in seen]
            seen.update(inner)
            work += inner


def users(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """For each node that is an operand, the nodes that use it, in order, once each."""
    found: dict[Node, list[Node]] = {}
    for node in nodes:
        for operand in dict.fromkeys(node.operands):
            found.setdefault(operand, []).append(node)
    return found


def _digest(graph: Graph) -> str:
    digest = hashlib.sha256()
    number = {p: i for i, p in enumerate(graph.parameters)}
    digest.update(repr(graph.symbols).encode())
    for p in graph.parameters:
        digest.update(f"{p.type};".encode())
    for node in graph.nodes:
        if node in number:
            continue
        number[node] = len(number)
        attributes: object = node.attributes_key
        if any(isinstance(v, Literal) for v in node.attributes.values()):
            attributes = tuple(
                (k, v.digest if isinstance(v, Literal) else attribute_key(v))
                for k, v in sorted(node.attributes.items())
            )
        identity = (node.op.name, [number[o] for o in node.operands], str(node.type), attributes, node.device,
                    node.sharding, node.layout, node.remat)  # fmt: skip
        digest.update(repr(identity).encode())
    digest.update(repr([number[r] for r in graph.results]).encode())
    return digest.hexdigest()
