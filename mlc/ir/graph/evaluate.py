"""Graphs on NumPy arrays: the meaning of the language, which compiled code is compared with."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ArgumentError, VerifyError
from ..collective import run_collective
from ..dims import Dim, Size, evaluate_size
from ..types import TensorType, TupleType, ValueType, dtype_of
from .collective import COLLECTIVE_START, COLLECTIVES, REPLICATED, SHARDED_CALL
from .control import CASE, WHILE, branch_of
from .node import Graph, Node
from .shape import SIZE
from .structure import REGIONS

Array = npt.NDArray[Any]
Value = Any  # an array, a tuple of arrays for a TupleType, None for a token


def evaluate_graph(
    graph: Graph, arrays: Sequence[npt.ArrayLike], sizes: Mapping[str, int] | None = None
) -> list[Array]:
    """The results of ``graph`` for one array a parameter, each computed as its op row says.

    Symbolic dimensions take their values from the arrays; ``sizes`` gives those that no parameter has alone as a
    dimension. Raises ArgumentError where arrays do not fit the parameters. Iterative: neither the depth of the graph
    nor the nesting of calls is limited by the stack; a value is dropped after its last use.

    Example:
        >>> from mlc.ir.graph import ADD, Graph, Table
        >>> from mlc.ir.types import F32, TensorType
        >>> table = Table()
        >>> with table.active():
        ...     x = table.parameter(TensorType((2,), F32), "x")
        ...     graph = Graph("double", (x,), (ADD(x, x),), table)
        >>> evaluate_graph(graph, [np.array([1, 2], np.float32)])
        [array([2., 4.], dtype=float32)]
    """
    run = _evaluation(graph, arrays, sizes or {})
    asked = next(run)
    while not isinstance(asked, list):
        node, operands, _ = asked
        asked = run.send(node.op.evaluate(node, (), *operands))
    return asked


def evaluate_ranks(
    graph: Graph,
    arrays: Sequence[Sequence[npt.ArrayLike]],
    sizes: Mapping[str, int] | None = None,
    *,
    order: str = "linear",
) -> list[list[Array]]:
    """The results of every rank for the arguments of every rank, run in lockstep from collective to collective.

    Folds are in ``order``, one of ``mlc.ir.collective.ORDERS``. Raises as ``evaluate_graph``, and ArgumentError where
    ranks come to different collectives, or operands that have to be the same on all ranks are not.
    """
    runs = [_evaluation(graph, own, sizes or {}) for own in arrays]
    asked = [next(run) for run in runs]
    while not any(isinstance(a, list) for a in asked):
        node = asked[0][0]
        if any(other is not node for other, _, _ in asked):
            raise ArgumentError(f"{graph.name}: ranks come to different collectives")
        replies = _communicate(node, [operands for _, operands, _ in asked], asked[0][2], order)
        asked = [run.send(reply) for run, reply in zip(runs, replies, strict=True)]
    if not all(isinstance(a, list) for a in asked):
        raise ArgumentError(f"{graph.name}: some ranks end where others come to a collective")
    return asked


def _communicate(node: Node, operands: Sequence[Sequence[Array]], sizes: Mapping[str, int], order: str) -> list[Value]:
    """What a collective gives each rank."""
    groups = node["replica_groups"]
    ranks = [rank for group in groups for rank in group]
    if len(ranks) != len(operands):
        raise ArgumentError(f"{node.op.name}: is among {len(ranks)} ranks, was given the arguments of {len(operands)}")
    replies: dict[int, Value] = {}
    for group in groups:
        own = [operands[rank] for rank in group]
        replies |= dict(zip(group, _of_group(node, own, sizes, order), strict=True))
    return [replies[rank] for rank in range(len(ranks))]


def _of_group(node: Node, operands: Sequence[Sequence[Array]], sizes: Mapping[str, int], order: str) -> list[Value]:
    if node.op is SHARDED_CALL:
        return _of_sharded(node, operands, sizes)
    kind, axis = node.attributes.get("kind", node.op.name), node.attributes.get("dimension", 0)
    reduction = node.attributes.get("reduction", "add")
    columns = []
    for values in zip(*operands, strict=True):
        blocks = [np.moveaxis(v, axis, 0) if axis else v for v in values]
        found = run_collective(kind, blocks, reduction=reduction, order=order)
        columns.append([np.moveaxis(v, 0, axis) if axis else v for v in found])
    rows = list(zip(*columns, strict=True))
    return rows if isinstance(node.type, TupleType) else [row[0] for row in rows]


def _of_sharded(node: Node, operands: Sequence[Sequence[Array]], sizes: Mapping[str, int]) -> list[Value]:
    """The callee on the whole values, cut again."""
    whole = []
    for i, axis in enumerate(node["in_shardings"]):
        values = [own[i] for own in operands]
        if axis == REPLICATED and any(v.tobytes() != values[0].tobytes() for v in values):
            name = node["callee"].parameters[i]["name"]
            raise ArgumentError(f"{node['callee'].name}: {name} is not the same on all ranks")
        whole.append(values[0] if axis == REPLICATED else np.concatenate(values, axis))
    results = evaluate_graph(node["callee"], whole, sizes)
    cut = [
        [r] * len(operands) if axis == REPLICATED else np.split(r, len(operands), axis)
        for r, axis in zip(results, node["out_shardings"], strict=True)
    ]
    rows = list(zip(*cut, strict=True))
    return rows if isinstance(node.type, TupleType) else [row[0] for row in rows]


_Asked = tuple[Node, Sequence[Value], Mapping[str, int]] | list[Array]


def _evaluation(graph: Graph, arrays: Sequence[npt.ArrayLike], sizes: Mapping[str, int]) -> Generator[Any, Value, None]:
    """Yields each collective with operands and sizes, is sent its value, and yields the list of results in the end."""
    values = [np.asarray(a) for a in arrays]
    bound = bind_sizes(graph, values, sizes)
    stack = [_Frame(graph, values)]
    while True:
        call = stack[-1].run(bound)
        if isinstance(call, _Frame):
            stack.append(call)
            continue
        if call is not None:
            stack[-1].finish(call[0], checked(call[0], (yield (*call, bound)), bound))
            continue
        results = stack.pop().take_results()
        if not stack:
            yield results
            return
        following = stack[-1].go_on(results)
        if following is not None:
            stack.append(following)


def bind_sizes(graph: Graph, arrays: Sequence[Array], sizes: Mapping[str, int]) -> dict[str, int]:
    """The values of the symbols for these arguments. Raises ArgumentError for arguments that do not fit."""
    if len(arrays) != len(graph.parameters):
        raise ArgumentError(f"{graph.name}: takes {len(graph.parameters)} arrays, was given {len(arrays)}")
    bound = dict(sizes)
    types = [p.type for p in graph.parameters]
    for i, (type, array) in enumerate(zip(types, arrays, strict=True)):
        if isinstance(type, TensorType):
            _check_rank(graph, i, type, array)
            for want, have in zip(type.shape, array.shape, strict=True):
                if isinstance(want, Dim) and _is_symbol(want):
                    bound.setdefault(want.symbols[0].name, have)
    for symbol in graph.symbols:
        if symbol.name not in bound:
            raise ArgumentError(f"{graph.name}: no parameter has the size {symbol.name} as a dimension; pass sizes")
        if not symbol.lower <= bound[symbol.name] <= symbol.upper:
            raise ArgumentError(
                f"{graph.name}: size {symbol.name} is {bound[symbol.name]}, outside {symbol.lower}..{symbol.upper}"
            )
    for i, (type, array) in enumerate(zip(types, arrays, strict=True)):
        if isinstance(type, TensorType):
            for axis, (size, have) in enumerate(zip(type.shape, array.shape, strict=True)):
                if evaluate_size(size, bound) != have:
                    said = f"{size}" if isinstance(size, int) else f"{size} = {evaluate_size(size, bound)}"
                    raise ArgumentError(f"{_argument(graph, i)} is {_words(array)}; axis {axis} of {type} has {said}")
    return bound


_OF_MANY = COLLECTIVES | {COLLECTIVE_START, SHARDED_CALL}


class _Frame:
    """One graph being evaluated; ``run`` stops at each node that holds a graph and hands that out as a new frame."""

    def __init__(self, graph: Graph, arguments: Sequence[Value]) -> None:
        self.graph = graph
        self.values: dict[Node, Value] = dict(zip(graph.parameters, arguments, strict=True))
        self.nodes = [n for n in graph.nodes if n not in self.values]
        self.next = 0
        self.last: dict[Node, int] = {o: i for i, n in enumerate(self.nodes) for o in n.operands}
        self.last.update(dict.fromkeys(graph.results, len(self.nodes)))
        self.carried: list[Value] = []  # by the while that is going on
        self.testing = False  # whether its cond is being evaluated, not its body

    def run(self, sizes: Mapping[str, int]) -> _Frame | tuple[Node, Sequence[Value]] | None:
        while self.next < len(self.nodes):
            node = self.nodes[self.next]
            operands = [self.values[o] for o in node.operands]
            region = REGIONS.get(node.op.name)
            if region is not None:
                return _Frame(node[region], operands)
            if node.op in _OF_MANY:
                return node, operands
            if node.op is CASE:
                branches = node["branches"]
                return _Frame(branches[branch_of(int(operands[0]), len(branches))], operands[1:])
            if node.op is WHILE:
                self.carried, self.testing = operands, True
                return _Frame(node["cond"], operands)
            self.finish(node, evaluate_node(node, operands, sizes))
        return None

    def finish(self, node: Node, value: Value) -> None:
        self.values[node] = value
        for operand in set(node.operands):
            if self.last[operand] == self.next:
                del self.values[operand]
        self.next += 1

    def finish_call(self, results: list[Value]) -> None:
        node = self.nodes[self.next]
        self.finish(node, tuple(results) if isinstance(node.type, TupleType) else results[0])

    def go_on(self, results: list[Value]) -> _Frame | None:
        """The frame that follows one with these results: a while alternates between its cond and its body."""
        node = self.nodes[self.next]
        if node.op is not WHILE:
            self.finish_call(results)
            return None
        if self.testing:
            if results[0]:
                self.testing = False
                return _Frame(node["body"], self.carried)
            carried, self.carried = self.carried, []
            self.finish_call(carried)
            return None
        self.carried, self.testing = results, True
        return _Frame(node["cond"], results)

    def take_results(self) -> list[Value]:
        return [self.values[r] for r in self.graph.results]


def evaluate_node(node: Node, operands: Sequence[Value], sizes: Mapping[str, int]) -> Value:
    """The value of one node without regions, checked against its type."""
    if node.op is SIZE:
        return np.asarray(evaluate_size(node["value"], sizes), np.int64)
    return checked(node, node.op.evaluate(node, _concrete(node.type, sizes), *operands), sizes)


def checked(node: Node, value: Value, sizes: Mapping[str, int]) -> Value:
    """``value`` as that of ``node``. Raises VerifyError where it is not of the node's type."""
    shape = _concrete(node.type, sizes)
    if isinstance(node.type, TupleType):
        return tuple(_checked(node, v, t, s) for v, t, s in zip(value, node.type.elements, shape, strict=True))
    return _checked(node, value, node.type, shape)


def _checked(node: Node, value: Value, type: ValueType, shape: tuple[int, ...]) -> Value:
    if not isinstance(type, TensorType):
        return value
    array = np.asarray(value)
    if array.shape != shape or array.dtype != type.dtype.numpy:
        raise VerifyError(f"{node.op.name}: its row evaluates to {_words(array)}, its type is {type}")
    return array


def _concrete(type: ValueType, sizes: Mapping[str, int]) -> Any:
    if isinstance(type, TensorType):
        return tuple(evaluate_size(n, sizes) for n in type.shape)
    return tuple(_concrete(t, sizes) for t in type.elements) if isinstance(type, TupleType) else None


def _check_rank(graph: Graph, position: int, type: TensorType, array: Array) -> None:
    try:
        fits = dtype_of(array.dtype) == type.dtype and array.ndim == type.rank
    except TypeError:
        fits = False
    if not fits:
        raise ArgumentError(f"{_argument(graph, position)} is {_words(array)}; the parameter is {type}")


def _argument(graph: Graph, position: int) -> str:
    name = graph.parameters[position].attributes.get("name", "")
    return f"{graph.name}: argument {position}{f' ({name})' if name else ''}"


def _words(array: Array) -> str:
    try:
        return str(TensorType(array.shape, dtype_of(array.dtype)))
    except TypeError:
        return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _is_symbol(size: Size) -> bool:
    """Whether a size is one symbol and nothing else."""
    return isinstance(size, Dim) and len(size.terms) == 1 and len(size.terms[0][0]) == 1 and size.terms[0][1] == 1
