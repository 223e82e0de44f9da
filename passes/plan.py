"""The fused graph to the Plan: scheduled kernels in launch order, buffers in one arena, donated inputs, barriers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from mlc.errors import UnsupportedError
from mlc.ir.device import Machine
from mlc.ir.graph import CASE, COLLECTIVE_DONE, COLLECTIVE_START, COPY, FUSION, PARAMETER, WHILE, Graph, Node
from mlc.ir.kernel import Kernel
from mlc.ir.plan import (
    Branch,
    BufferRef,
    Copy,
    Launch,
    Loop,
    Plan,
    PlanConstant,
    PlanDevice,
    PlanInput,
    PlanOutput,
    Step,
)
from mlc.ir.target import AnyTarget

from .buckets import Slots, end_step, start_step
from .donation import donations, wishes
from .hazards import Access, Hazards
from .order import order_units
from .places import Key, Move, Places, Scope, Value, bytes_of, stored_key
from .plan_devices import PlanDevices, RefusedError, lay_out_arenas, on_device
from .schedule import ScheduledRegion, schedule_region

Namer = Callable[[str], str]


@dataclass(frozen=True)
class Planned:
    """A Plan, the kernels it launches (in the order of ``plan.kernels``) and the arrays of its constants.

    ``spaces`` are the parts of the arenas that are each device's own memory: device -> (offset, bytes). ``targets`` are
    what each kernel is made for, ``regions`` the first region that each computes.
    """

    plan: Plan
    kernels: tuple[Kernel, ...]
    constants: tuple[npt.NDArray[np.generic], ...]
    spaces: Mapping[str | None, tuple[int, int]] = field(default_factory=dict)
    targets: tuple[AnyTarget, ...] = ()
    regions: tuple[Graph, ...] = ()


def make_plan(
    graph: Graph,
    target: AnyTarget,
    *,
    result_names: Sequence[str] = (),
    donated: frozenset[int] = frozenset(),
    machine: Machine | None = None,
    home: str | None = None,
) -> Planned:
    """Schedule every fusion of ``graph`` for ``target`` and plan order and memory.

    ``donated`` are the indices of parameters whose buffers the call gives up: each is taken over by a result of its
    type, where one can be written without harm to later readers. What is on a GPU of ``machine`` is scheduled for that;
    inputs and outputs are in the memory of ``home``, None for the host, as ``place`` has them. Raises RefusedError for
    what a GPU cannot do.
    """
    devices = PlanDevices(graph, target, machine or Machine(), home)
    schedules = _Schedules(devices)
    places = Places(schedules.of)
    scope, donated_to = _outermost(graph, places, donated, home)
    places.shared = frozenset(donated_to.values())
    places.lay_out(scope)
    for result in graph.results:
        places.place(scope, result).touch(places.now + 1)
    spaces = lay_out_arenas([v for v in places.values if v.ref is None], devices)
    steps = _Steps(places, donated_to, devices)
    body = steps.of(scope)
    names = list(result_names) or [f"out{j}" for j in range(len(graph.results))]
    plan = Plan(
        name=graph.name,
        symbols=graph.symbols,
        inputs=tuple(
            PlanInput(p["name"] or f"in{i}", p.tensor, donated_to.get(i), devices.number(home))
            for i, p in enumerate(graph.parameters)
        ),
        outputs=tuple(PlanOutput(n, r.tensor, devices.number(home)) for n, r in zip(names, graph.results, strict=True)),
        constants=tuple(
            PlanConstant(f"constant{i}", n.tensor, devices.number(n.device)) for i, n in enumerate(places.literals)
        ),
        arena_bytes=devices.arena_bytes(spaces, 0),
        scratch_bytes=max((k.scratch_bytes for k in steps.kernels if not k.threads), default=0),
        kernels=tuple(k.name for k in steps.kernels),
        steps=tuple(body),
        devices=tuple(
            PlanDevice(name, gpu.name, devices.arena_bytes(spaces, i + 1))
            for i, (name, gpu) in enumerate(devices.gpus.items())
        ),
    )
    constants = tuple(n["value"].array for n in places.literals)
    return Planned(plan, tuple(steps.kernels), constants, spaces, tuple(steps.targets), tuple(steps.regions))


def _outermost(graph: Graph, places: Places, donated: frozenset[int], home: str | None) -> tuple[Scope, dict[int, int]]:
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
    inputs = {p: Value(0, 0, 0, home, BufferRef("input", i, 0)) for i, p in enumerate(graph.parameters)}
    outputs = {key: Value(0, 0, 0, home, BufferRef("output", j, 0)) for key, j in output_of.items()}
    return Scope(graph, order, inputs, outputs), donated_to


class _Schedules:
    """Schedules for the fusions of graphs; equal bodies are scheduled once."""

    def __init__(self, devices: PlanDevices) -> None:
        self.devices = devices
        self.known: dict[tuple[str, str, str], ScheduledRegion] = {}

    def of(self, graph: Graph) -> dict[Node, ScheduledRegion]:
        regions: dict[Node, ScheduledRegion] = {}
        for node in graph.nodes:
            if node.op is FUSION:
                target = self.devices.target(node.device)
                key = (target.name, node["kind"], node["body"].fingerprint)
                if key not in self.known:
                    self.known[key] = self._scheduled(node, target)
                regions[node] = self.known[key]
        return regions

    def _scheduled(self, fusion: Node, target: AnyTarget) -> ScheduledRegion:
        try:
            return schedule_region(fusion["kind"], fusion["body"], target)
        except UnsupportedError as error:
            if self.devices.number(fusion.device):
                raise RefusedError(error, fusion["body"]) from error
            raise


class _Steps:
    """The steps of scopes whose places are known; equal kernels are one."""

    def __init__(self, places: Places, donated_to: dict[int, int], devices: PlanDevices) -> None:
        self.places = places
        self.donated_to = donated_to
        self.devices = devices
        self.kernels: list[Kernel] = []
        self.targets: list[AnyTarget] = []  # of the kernels
        self.regions: list[Graph] = []
        self.numbers: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.slots = Slots()

    def of(self, scope: Scope) -> list[Step]:
        """Those of the whole graph."""
        hazards = Hazards(self.donated_to)
        steps = self._inside(scope, hazards)
        for j, result in enumerate(scope.graph.results):
            source, target = self.places.place(scope, result), BufferRef("output", j, 0)
            if source.at != target:
                steps += self._moves([Move(Value(0, 0, 0, source.device, target), source, result.tensor)], hazards)
        return steps

    def _inside(self, scope: Scope, hazards: Hazards) -> list[Step]:
        steps = self._moves(scope.first, hazards)
        for unit in scope.order:
            if unit.op is FUSION:
                steps += self._launches(scope, unit, hazards)
            elif unit.op is COPY:
                move = Move(scope.where[unit, 0], self.places.place(scope, unit.operands[0]), unit.tensor)
                steps += self._moves([move], hazards, _label(scope.graph, unit))
            elif unit.op is COLLECTIVE_START or unit.op is COLLECTIVE_DONE:
                steps += self._collective(scope, unit, hazards)
            elif unit.op is WHILE:
                steps += self._loop(scope, unit, hazards)
            else:
                steps.append(self._branch(scope, unit, hazards))
        return steps + self._moves(scope.final, hazards)

    def _launches(self, scope: Scope, fusion: Node, hazards: Hazards) -> list[Step]:
        region, label = self.places.regions[fusion], _label(scope.graph, fusion)
        number, target = self.devices.number(fusion.device), self.devices.target(fusion.device)
        copies = [(scope.where[fusion, r], fusion.operands[p]) for p, r in region.copies]
        steps = self._moves([Move(to, self.places.place(scope, x), x.tensor) for to, x in copies], hazards, label)
        for call in region.calls:
            text = f"{target.name} {call.kernel.canonical_text()}"
            if text not in self.numbers:
                self.numbers[text] = len(self.kernels)
                self.kernels.append(_unique(call.kernel, self.names))
                self.targets.append(target)
                self.regions.append(fusion["body"])
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
            barrier = hazards.touch(accesses, serial=call.serial or number > 0)
            refs = tuple(ref for ref, _, _ in accesses)
            launch = Launch(self.numbers[text], refs, call.sizes, call.tasks, barrier, call.serial, label)
            steps.append(on_device(launch, call.kernel, number) if number else launch)
        return steps

    def _collective(self, scope: Scope, unit: Node, hazards: Hazards) -> list[Step]:
        start = unit if unit.op is COLLECTIVE_START else unit.operands[0]
        label = _label(scope.graph, start).replace(start.op.name, start["kind"], 1)
        if unit is start:
            moves = self._moves(scope.entry[unit], hazards, label)
            return [*moves, start_step(scope, unit, self.slots, hazards, label)]
        end = end_step(scope, unit, self.slots, hazards, label)
        return [end, *self._moves(scope.entry[unit], hazards, label)]

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
            serial = self.devices.number(move.source.device) + self.devices.number(move.target.device) > 0
            barrier = hazards.touch([(source, "read", nbytes), (target, "write", nbytes)], serial=serial)
            size = move.type.size * move.type.dtype.itemsize
            steps.append(Copy(target, source, size, barrier, label, serial))
        return self.slots.after(steps)


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
