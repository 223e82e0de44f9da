"""The fused graph to the Plan: scheduled kernels in launch order, buffers in one arena, donated inputs, barriers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from mlc.ir.graph import CASE, COPY, FUSION, PARAMETER, WHILE, Graph, Node
from mlc.ir.kernel import Kernel
from mlc.ir.plan import Branch, BufferRef, Copy, Launch, Loop, Plan, PlanConstant, PlanInput, PlanOutput, Step
from mlc.ir.target import AnyTarget

from .donation import donations, wishes
from .hazards import Access, Hazards
from .memory import Interval, assign_offsets
from .order import order_units
from .places import Key, Move, Places, Scope, Value, bytes_of, stored_key
from .schedule import ScheduledRegion, schedule_region

Namer = Callable[[str], str]


@dataclass(frozen=True)
class Planned:
    """A Plan, the kernels it launches (in the order of ``plan.kernels``) and the arrays of its constants.

    ``spaces`` are the parts of the arena that are each device's own memory: device -> (offset, bytes).
    """

    plan: Plan
    kernels: tuple[Kernel, ...]
    constants: tuple[npt.NDArray[np.generic], ...]
    spaces: Mapping[str | None, tuple[int, int]] = field(default_factory=dict)


def make_plan(
    graph: Graph, target: AnyTarget, *, result_names: Sequence[str] = (), donated: frozenset[int] = frozenset()
) -> Planned:
    """Schedule every fusion of ``graph`` for ``target`` and plan order and memory.

    ``donated`` are the indices of parameters whose buffers the call gives up: each is taken over by a result of its
    type, where one can be written without harm to later readers.
    """
    schedules = _Schedules(target)
    places = Places(schedules.of)
    scope, donated_to = _outermost(graph, places, donated)
    places.lay_out(scope)
    for result in graph.results:
        places.place(scope, result).touch(places.now + 1)
    spaces = _lay_out_arena([v for v in places.values if v.ref is None])
    steps = _Steps(places, donated_to)
    body = steps.of(scope)
    names = list(result_names) or [f"out{j}" for j in range(len(graph.results))]
    plan = Plan(
        name=graph.name,
        symbols=graph.symbols,
        inputs=tuple(
            PlanInput(p["name"] or f"in{i}", p.tensor, donated_to.get(i)) for i, p in enumerate(graph.parameters)
        ),
        outputs=tuple(PlanOutput(n, r.tensor) for n, r in zip(names, graph.results, strict=True)),
        constants=tuple(PlanConstant(f"constant{i}", n.tensor) for i, n in enumerate(places.literals)),
        arena_bytes=sum(nbytes for _, nbytes in spaces.values()),
        scratch_bytes=max((k.scratch_bytes for k in steps.kernels), default=0),
        kernels=tuple(k.name for k in steps.kernels),
        steps=tuple(body),
    )
    return Planned(plan, tuple(steps.kernels), tuple(n["value"].array for n in places.literals), spaces)


def _lay_out_arena(values: Sequence[Value]) -> dict[str | None, tuple[int, int]]:
    """Offsets for the values, those of each device in a part of the arena of its own, the host's first."""
    spaces: dict[str | None, tuple[int, int]] = {}
    begin = 0
    for device in sorted({v.device for v in values}, key=lambda d: d or ""):
        own = [v for v in values if v.device == device]
        offsets, nbytes = assign_offsets([Interval(v.nbytes, v.first, v.last) for v in own])
        for value, offset in zip(own, offsets, strict=True):
            value.ref = BufferRef("arena", 0, begin + offset)
        spaces[device] = begin, nbytes
        begin += nbytes
    return spaces


def _outermost(graph: Graph, places: Places, donated: frozenset[int]) -> tuple[Scope, dict[int, int]]:
    """The scope of the whole graph, whose places are the call's, and which input shares memory with which output."""
    places.regions.update(places.regions_of(graph))
    output_of: dict[Key, int] = {}  # the first result of the graph that a unit's result is, as it is or reshaped
    for j, result in enumerate(graph.results):
        key = stored_key(result)
        if key is not None:
            output_of.setdefault(key, j)
    wished = wishes(graph, donated, output_of, places.regions)
    order = order_units(graph, [(unit, graph.parameters[p]) for p, (unit, _) in wished.items()])
    donated_to = donations(graph, donated, output_of, wished, order)
    inputs = {p: Value(0, 0, 0, None, BufferRef("input", i, 0)) for i, p in enumerate(graph.parameters)}
    outputs = {key: Value(0, 0, 0, None, BufferRef("output", j, 0)) for key, j in output_of.items()}
    return Scope(graph, order, inputs, outputs), donated_to


class _Schedules:
    """Schedules for the fusions of graphs; equal bodies are scheduled once."""

    def __init__(self, target: AnyTarget) -> None:
        self.target = target
        self.known: dict[tuple[str, str], ScheduledRegion] = {}

    def of(self, graph: Graph) -> dict[Node, ScheduledRegion]:
        regions: dict[Node, ScheduledRegion] = {}
        for node in graph.nodes:
            if node.op is FUSION:
                key = (node["kind"], node["body"].fingerprint)
                if key not in self.known:
                    self.known[key] = schedule_region(node["kind"], node["body"], self.target)
                regions[node] = self.known[key]
        return regions


class _Steps:
    """The steps of scopes whose places are known; equal kernels are one."""

    def __init__(self, places: Places, donated_to: dict[int, int]) -> None:
        self.places = places
        self.donated_to = donated_to
        self.kernels: list[Kernel] = []
        self.numbers: dict[str, int] = {}
        self.names: dict[str, int] = {}

    def of(self, scope: Scope) -> list[Step]:
        """Those of the whole graph."""
        hazards = Hazards(self.donated_to)
        steps = self._inside(scope, hazards)
        for j, result in enumerate(scope.graph.results):
            source, target = self.places.place(scope, result), BufferRef("output", j, 0)
            if source.at != target:
                steps += self._moves([Move(Value(0, 0, 0, None, target), source, result.tensor)], hazards)
        return steps

    def _inside(self, scope: Scope, hazards: Hazards) -> list[Step]:
        steps = self._moves(scope.first, hazards)
        for unit in scope.order:
            if unit.op is FUSION:
                steps += self._launches(scope, unit, hazards)
            elif unit.op is COPY:
                move = Move(scope.where[unit, 0], self.places.place(scope, unit.operands[0]), unit.tensor)
                steps += self._moves([move], hazards, _label(scope.graph, unit))
            elif unit.op is WHILE:
                steps += self._loop(scope, unit, hazards)
            else:
                steps.append(self._branch(scope, unit, hazards))
        return steps + self._moves(scope.final, hazards)

    def _launches(self, scope: Scope, fusion: Node, hazards: Hazards) -> list[Step]:
        region, label = self.places.regions[fusion], _label(scope.graph, fusion)
        copies = [(scope.where[fusion, r], fusion.operands[p]) for p, r in region.copies]
        steps = self._moves([Move(to, self.places.place(scope, x), x.tensor) for to, x in copies], hazards, label)
        for call in region.calls:
            text = call.kernel.canonical_text()
            if text not in self.numbers:
                self.numbers[text] = len(self.kernels)
                self.kernels.append(_unique(call.kernel, self.names))
            accesses: list[Access] = []
            for operand, buffer in zip(call.operands, call.kernel.buffers, strict=True):
                if operand.kind == "parameter":
                    value = fusion.operands[operand.index]
                    place, nbytes = self.places.place(scope, value), bytes_of(value.tensor)
                elif operand.kind == "result":
                    place = scope.where[fusion, operand.index]
                    nbytes = bytes_of(fusion["body"].results[operand.index].tensor)
                else:
                    place, nbytes = scope.temporaries[fusion][operand.index], region.temporaries[operand.index]
                accesses.append((place.at, buffer.access, nbytes))
            barrier = hazards.touch(accesses, serial=call.serial)
            refs = tuple(ref for ref, _, _ in accesses)
            steps.append(Launch(self.numbers[text], refs, call.sizes, call.tasks, barrier, call.serial, label))
        return steps

    def _loop(self, scope: Scope, unit: Node, hazards: Hazards) -> list[Step]:
        (inner,) = scope.inner[unit]
        (test,) = unit["cond"].results
        assert test.op is PARAMETER, "loops are rotated before they are planned"
        predicate = inner.parameters[inner.graph.parameters[unit["cond"].parameters.index(test)]]
        entry = self._moves(scope.entry[unit], hazards)
        hazards.meet()
        body = self._inside(inner, hazards)
        hazards.meet()
        return [*entry, Loop(predicate.at, tuple(body), _label(scope.graph, unit))]

    def _branch(self, scope: Scope, unit: Node, hazards: Hazards) -> Step:
        assert unit.op is CASE
        hazards.meet()
        ends, branches = [], []
        for inner in scope.inner[unit]:
            own = Hazards(self.donated_to)
            branches.append(tuple(self._inside(inner, own)))
            ends.append(own)
        for end in ends:
            hazards.join(end)
        return Branch(self.places.place(scope, unit.operands[0]).at, tuple(branches), _label(scope.graph, unit))

    def _moves(self, moves: Sequence[Move], hazards: Hazards, label: str = "copy") -> list[Step]:
        steps: list[Step] = []
        for move in moves:
            source, target, nbytes = move.source.at, move.target.at, bytes_of(move.type)
            if source == target or (
                source.space == "input" and target == BufferRef("output", self.donated_to.get(source.index, -1), 0)
            ):
                continue
            barrier = hazards.touch([(source, "read", nbytes), (target, "write", nbytes)], serial=False)
            size = move.type.size * move.type.dtype.itemsize
            steps.append(Copy(target, source, size, barrier, label))
        return steps


def _unique(kernel: Kernel, names: dict[str, int]) -> Kernel:
    """The kernel under a symbol name that no other kernel of the plan has."""
    count = names.get(kernel.name, 0)
    names[kernel.name] = count + 1
    mark = "$" if kernel.threads else "."  # PTX knows no dots
    return replace(kernel, name=f"{kernel.name}{mark}{count}") if count else kernel


def _label(graph: Graph, unit: Node) -> str:
    """What a profile or an error calls this step: the fused ops, the device, the scope and the user's line."""
    name = str(unit["body"].name) if unit.op is FUSION else unit.op.name
    if unit.device is not None:
        name = f"{name} {'to' if unit.op is COPY else 'on'} {unit.device}"
    locations = graph.locations(unit)
    if not locations:
        return name
    first = locations[0]
    scope = f" in {first.scope}" if first.scope else ""
    return f"{name}{scope} at {first.file}:{first.line}"
