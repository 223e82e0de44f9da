"""Where values lie: every result of a unit, in this graph and the regions of its loops and branches, gets a place.

A ``Scope`` is a graph with its units in order. Time runs through nested scopes too, so that one arena holds
them all: what a trip of a loop computes for itself lives between two units of its body, what the loop carries or reads
from outside lives as long as the loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlc.ir.dims import bounds
from mlc.ir.graph import (
    CASE,
    COLLECTIVE_DONE,
    COLLECTIVE_START,
    CONSTANT,
    COPY,
    FUSION,
    GET_TUPLE_ELEMENT,
    PARAMETER,
    WHILE,
    Graph,
    Literal,
    Node,
    invariants,
)  # fmt: skip
from mlc.ir.plan import BufferRef
from mlc.ir.types import TensorType

from .buckets import lay_out_end, lay_out_start, place_operands, types_of
from .grouping import is_view
from .order import is_unit, order_units, stored_by
from .schedule import ScheduledRegion

Key = tuple[Node, int]  # a unit, and which of its results


@dataclass(eq=False)
class Value:
    """A place in memory while the plan is made: written first and read last at these times.

    A part of a ``whole`` lies ``offset`` bytes behind its begin, and is there as long as that.
    """

    nbytes: int
    first: int
    last: int
    device: str | None = None
    ref: BufferRef | None = None  # set where it is an output, input or constant, and when the arena is planned
    whole: Value | None = None
    offset: int = 0

    def touch(self, time: int) -> Value:
        self.first, self.last = min(self.first, time), max(self.last, time)
        if self.whole is not None:
            self.whole.touch(time)
        return self

    @property
    def at(self) -> BufferRef:
        if self.whole is not None:
            return replace(self.whole.at, offset=self.whole.at.offset + self.offset)
        assert self.ref is not None
        return self.ref


@dataclass(frozen=True)
class Move:
    """A copy between places: of a loop's first values, or of its next ones where they are not computed in place."""

    target: Value
    source: Value
    type: TensorType


@dataclass
class Scope:
    """A graph, its units in order, and the places of what they read and write.

    ``parameters`` are the places of the graph's parameters, ``targets`` those that some results have to be written to.
    """

    graph: Graph
    order: tuple[Node, ...]
    parameters: Mapping[Node, Value]
    targets: dict[Key, Value]
    where: dict[Key, Value] = field(default_factory=dict)
    temporaries: dict[Node, list[Value]] = field(default_factory=dict)
    inner: dict[Node, list[Scope]] = field(default_factory=dict)  # of its loops and branches
    entry: dict[Node, list[Move]] = field(default_factory=dict)  # before a loop or collective, behind the latter's end
    staged: dict[Node, list[Value]] = field(default_factory=dict)  # where the operands of a collective lie
    first: list[Move] = field(default_factory=list)  # before the graph's own units
    final: list[Move] = field(default_factory=list)  # behind them

    def __post_init__(self) -> None:
        self.last_read: dict[Key, int] = {}
        for i, unit in enumerate(self.order):
            self.last_read |= dict.fromkeys((k for o in unit.operands if (k := stored_key(o)) is not None), i)
        end = len(self.order)
        self.last_read |= dict.fromkeys((k for r in self.graph.results if (k := stored_key(r)) is not None), end)


def stored_key(node: Node) -> Key | None:
    """The unit's result that holds ``node``, or None where it is a parameter or a constant."""
    while is_view(node):
        node = node.operands[0]
    if node.op is GET_TUPLE_ELEMENT:
        return node.operands[0], node["index"]
    return (node, 0) if is_unit(node) else None


def result_types(unit: Node) -> list[TensorType]:
    """The types of what a unit computes."""
    if unit.op is COPY:
        return [unit.tensor]
    if unit.op in (COLLECTIVE_START, COLLECTIVE_DONE):
        return types_of(unit)
    graph: Graph = unit["branches"][0] if unit.op is CASE else unit["body"]
    return [r.tensor for r in graph.results]


def bytes_of(t: TensorType) -> int:
    """Bytes at the upper bound of symbolic sizes."""
    return bounds(t.size)[1] * t.dtype.itemsize


def pairs_in_place(unit: Node, regions: Mapping[Node, ScheduledRegion]) -> Sequence[tuple[int, int]]:
    """(operand, result) pairs of a unit that may share memory."""
    if unit.op is FUSION:
        return sorted(regions[unit].in_place)
    if unit.op is WHILE:
        return [(i, i) for i, same in enumerate(invariants(unit)) if not same]
    return ()


class Places:
    """Lays out scopes; ``values`` are all places, of which those without ``ref`` go into the arena."""

    def __init__(self, regions_of: Callable[[Graph], Mapping[Node, ScheduledRegion]]) -> None:
        self.regions_of = regions_of
        self.regions: dict[Node, ScheduledRegion] = {}
        self.values: list[Value] = []
        self.constants: dict[tuple[Literal, str | None], Value] = {}
        self.literals: list[Node] = []
        self.now = 0
        self.device: str | None = None  # of the unit that is laid out: inner ones are where the outermost is
        self.shared: frozenset[int] = frozenset()  # outputs that are in the memory of an input

    def lay_out(self, scope: Scope) -> None:
        """Give a place to everything that the units of ``scope`` compute, in order."""
        outer = self.device
        place_operands(scope, self)
        for i, unit in enumerate(scope.order):
            self.device = unit.device or outer
            if unit.op is FUSION:
                self._fusion(scope, i, unit)
            elif unit.op is COPY:
                self._copy(scope, unit)
            elif unit.op is COLLECTIVE_START:
                lay_out_start(scope, unit, self, self._tick())
            elif unit.op is COLLECTIVE_DONE:
                lay_out_end(scope, unit, self, self._tick())
            elif unit.op is WHILE:
                self._loop(scope, i, unit)
            else:
                self._branch(scope, unit)
        self.device = outer

    def place(self, scope: Scope, node: Node) -> Value:
        """Where ``node`` lies."""
        key = stored_key(node)
        if key is not None:
            return scope.where[key]
        source = stored_by(node)
        if source.op is PARAMETER:
            return scope.parameters[source]
        assert source.op is CONSTANT, source
        there: tuple[Literal, str | None] = source["value"], source.device
        if there not in self.constants:
            self.constants[there] = Value(0, 0, 0, source.device, BufferRef("constant", len(self.literals), 0))
            self.literals.append(source)
        return self.constants[there]

    @staticmethod
    def bytes_of(type: TensorType) -> int:
        return bytes_of(type)

    def later(self, nbytes: int, unit: Node) -> Value:
        """A place for ``unit``, which somebody will touch."""
        self.values.append(Value(nbytes, sys.maxsize, -1, unit.device or self.device))
        return self.values[-1]

    @staticmethod
    def part(whole: Value, offset: int, nbytes: int) -> Value:
        return Value(nbytes, whole.first, whole.last, whole.device, None, whole, offset)

    def is_free(self, output: Value) -> bool:
        """Whether an output's memory is this call's alone from its begin."""
        ref = output.ref
        return ref is not None and ref.space == "output" and ref.index not in self.shared

    def _tick(self) -> int:
        self.now += 1
        return self.now

    def new(self, nbytes: int, time: int) -> Value:
        self.values.append(Value(nbytes, time, time, self.device))
        return self.values[-1]

    # ---------------------------------------------------------------- fusions

    def _fusion(self, scope: Scope, i: int, unit: Node) -> None:
        time, region = self._tick(), self.regions[unit]
        for operand in unit.operands:
            self.place(scope, operand).touch(time)
        for index, result in enumerate(unit["body"].results):
            key, nbytes = (unit, index), bytes_of(result.tensor)
            value = scope.targets.get(key) or self._reused(scope, i, key, nbytes) or self.new(nbytes, time)
            scope.where[key] = value.touch(time)
        scope.temporaries[unit] = [self.new(nbytes, time) for nbytes in region.temporaries]

    def _copy(self, scope: Scope, unit: Node) -> None:
        time, key = self._tick(), (unit, 0)
        self.place(scope, unit.operands[0]).touch(time)
        value = scope.targets.get(key) or self.new(bytes_of(unit.tensor), time)
        scope.where[key] = value.touch(time)

    def _reused(self, scope: Scope, i: int, result: Key, nbytes: int) -> Value | None:
        """The operand's place that dies here and may hold this result."""
        unit, index = result
        taken = [scope.where.get((unit, k)) for k in range(index)]
        for p, r in pairs_in_place(unit, self.regions):
            value = self._dying(scope, i, unit, p) if r == index else None
            if value is not None and value.nbytes == nbytes and not any(value is other for other in taken):
                return value
        return None

    def _dying(self, scope: Scope, i: int, unit: Node, p: int) -> Value | None:
        """The place of operand ``p``, where it is in the arena and read for the last time, once, by this unit."""
        key = stored_key(unit.operands[p])
        if key is None or scope.last_read[key] != i or sum(stored_key(o) == key for o in unit.operands) != 1:
            return None
        value = scope.where[key]
        return value if value.ref is None else None

    # ---------------------------------------------------------------- loops

    def _loop(self, scope: Scope, i: int, unit: Node) -> None:
        """Each carried value has one place: its operand is moved there, its next value computed there or moved."""
        begin, same, body = self._tick(), invariants(unit), unit["body"]
        bindings: list[Value] = []
        moves = scope.entry[unit] = []
        sources = [self.place(scope, o).touch(begin) for o in unit.operands]
        for k, (operand, source) in enumerate(zip(unit.operands, sources, strict=True)):
            key, nbytes = (unit, k), bytes_of(operand.tensor)
            if same[k]:
                bindings.append(source)
                if key in scope.last_read or key in scope.targets:
                    scope.where[key] = (scope.targets.get(key) or self.new(nbytes, begin)).touch(begin)
                    moves.append(Move(scope.where[key], source, operand.tensor))
                continue
            value = scope.targets.get(key) or self._dying(scope, i, unit, k) or self.new(nbytes, begin)
            scope.where[key] = value.touch(begin)
            bindings.append(value)
            if value is not source:
                moves.append(Move(value, source, operand.tensor))
        inner = self._scope_of_body(body, same, bindings)
        scope.inner[unit] = [inner]
        self._keep_shifted(inner, bindings, same)
        self.lay_out(inner)
        self._move_next(inner, bindings, same)
        end = self._tick()
        for value in (*bindings, *sources):
            value.touch(end)

    def _scope_of_body(self, body: Graph, same: Sequence[bool], bindings: Sequence[Value]) -> Scope:
        """The body's scope; what may be computed in the place of the value that it follows is."""
        self.regions.update(self.regions_of(body))
        wishes: dict[Key, Node] = {}
        for p, result, fixed in zip(body.parameters, body.results, same, strict=True):
            key = stored_key(result)
            if key is not None and not fixed:
                wishes.setdefault(key, p)
        order = order_units(body, [(unit, p) for (unit, _), p in wishes.items()])
        place_of = dict(zip(body.parameters, bindings, strict=True))
        targets = {key: place_of[p] for key, p in wishes.items() if self._may_overwrite(order, key, p)}
        return Scope(body, order, place_of, targets)

    def _may_overwrite(self, order: Sequence[Node], key: Key, parameter: Node) -> bool:
        """Whether a unit's result may take the place of ``parameter``: nobody reads that at the same time or later."""
        unit, index = key
        position = order.index(unit)
        if any(stored_by(o) is parameter for later in order[position + 1 :] for o in later.operands):
            return False
        reads = [p for p, o in enumerate(unit.operands) if stored_by(o) is parameter]
        return not reads or (len(reads) == 1 and (reads[0], index) in pairs_in_place(unit, self.regions))

    def _keep_shifted(self, inner: Scope, bindings: Sequence[Value], same: Sequence[bool]) -> None:
        """A next value that is another carried one, as it is before this trip: kept aside for the end of the trip."""
        start = self._tick()
        for k, result in enumerate(inner.graph.results):
            source = stored_by(result)
            if source.op is not PARAMETER:
                continue
            j = inner.graph.parameters.index(source)
            if j != k and not same[j]:
                kept = self.new(bytes_of(result.tensor), start)
                inner.first.append(Move(kept, bindings[j].touch(start), result.tensor))
                inner.final.append(Move(bindings[k], kept, result.tensor))

    def _move_next(self, inner: Scope, bindings: Sequence[Value], same: Sequence[bool]) -> None:
        end = self._tick()
        for move in inner.final:
            move.source.touch(end)
        for k, result in enumerate(inner.graph.results):
            source = stored_by(result)
            if source.op is PARAMETER and (not same[inner.graph.parameters.index(source)] or same[k]):
                continue
            value = self.place(inner, result).touch(end)
            if value is not bindings[k]:
                inner.final.append(Move(bindings[k], value, result.tensor))

    # ---------------------------------------------------------------- branches

    def _branch(self, scope: Scope, unit: Node) -> None:
        """Every branch writes its results to the places of the case's."""
        begin = self._tick()
        sources = [self.place(scope, o).touch(begin) for o in unit.operands]
        results = []
        for k, type in enumerate(result_types(unit)):
            value = scope.targets.get((unit, k)) or self.new(bytes_of(type), begin)
            scope.where[unit, k] = value.touch(begin)
            results.append(value)
        scope.inner[unit] = [self._one_branch(b, sources[1:], results) for b in unit["branches"]]
        end = self._tick()
        for value in (*sources, *results):
            value.touch(end)

    def _one_branch(self, branch: Graph, sources: Sequence[Value], results: Sequence[Value]) -> Scope:
        self.regions.update(self.regions_of(branch))
        targets: dict[Key, Value] = {}
        for result, value in zip(branch.results, results, strict=True):
            key = stored_key(result)
            if key is not None:
                targets.setdefault(key, value)
        scope = Scope(branch, order_units(branch, ()), dict(zip(branch.parameters, sources, strict=True)), targets)
        self.lay_out(scope)
        end = self._tick()
        for result, value in zip(branch.results, results, strict=True):
            source = self.place(scope, result).touch(end)
            if source is not value:
                scope.final.append(Move(value, source, result.tensor))
        return scope
