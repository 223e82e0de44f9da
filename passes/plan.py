"""The fused graph to the Plan: scheduled kernels in launch order, buffers in one arena, donated inputs, barriers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mlc.errors import InternalError
from mlc.ir.dims import bounds
from mlc.ir.graph import CONSTANT, FUSION, GET_TUPLE_ELEMENT, PARAMETER, Graph, Node
from mlc.ir.kernel import Kernel
from mlc.ir.plan import BufferRef, Copy, Launch, Plan, PlanConstant, PlanInput, PlanOutput, Step
from mlc.ir.target import Target
from mlc.ir.types import TensorType

from .grouping import is_view
from .hazards import Access, Hazards
from .memory import Interval, assign_offsets
from .order import order_fusions, stored_by
from .schedule import ScheduledRegion, schedule_region

Namer = Callable[[str], str]


@dataclass(frozen=True)
class Planned:
    """A Plan, the kernels it launches (in the order of ``plan.kernels``) and the arrays of its constants."""

    plan: Plan
    kernels: tuple[Kernel, ...]
    constants: tuple[npt.NDArray[np.generic], ...]


@dataclass
class Value:
    """A place in memory for a result or temporary while the plan is made."""

    nbytes: int
    first: int
    last: int
    ref: BufferRef | None = None  # set where it is an output, input or constant


def make_plan(
    graph: Graph, target: Target, *, result_names: Sequence[str] = (), donated: frozenset[int] = frozenset()
) -> Planned:
    """Schedule every fusion of ``graph`` for ``target`` and plan order and memory.

    ``donated`` are the indices of parameters whose buffers the call gives up: each is taken over by a result of its
    type, where one can be written without harm to later readers.
    """
    planner = _Planner(graph, target, donated)
    return planner.finish(result_names)


class _Planner:
    def __init__(self, graph: Graph, target: Target, donated: frozenset[int]) -> None:
        self.graph = graph
        self.regions = _schedule(graph, target)
        self.number = {p: i for i, p in enumerate(graph.parameters)}
        self.output_of = self._first_results()
        wishes = self._wishes(donated)
        self.order = order_fusions(graph, {fusion: graph.parameters[p] for p, (fusion, _) in wishes.items()})
        self.position = {f: i for i, f in enumerate(self.order)}
        self.constants: dict[Node, int] = {}
        self.donated_to = self._donations(donated, wishes)

    # ---------------------------------------------------------------- donation

    def _first_results(self) -> dict[tuple[Node, int], int]:
        """The fusion results that are results of the graph, as they are or reshaped -> the first that holds them."""
        found: dict[tuple[Node, int], int] = {}
        for j, result in enumerate(self.graph.results):
            key = _stored_key(result)
            if key is not None:
                found.setdefault(key, j)
        return found

    def _wishes(self, donated: frozenset[int]) -> dict[int, tuple[Node, int]]:
        """For donated parameters: the fusion that updates it in place, and which result of the graph that is."""
        wishes: dict[int, tuple[Node, int]] = {}
        taken: set[int] = set()
        for (fusion, index), j in self.output_of.items():
            for p, r in sorted(self.regions[fusion].in_place):
                parameter = stored_by(fusion.operands[p])
                i = self.number.get(parameter)
                if r != index or i not in donated or parameter.type != self.graph.results[j].type:
                    continue
                readings = sum(stored_by(o) is parameter for o in fusion.operands)  # views of it count too
                if i not in wishes and j not in taken and readings == 1:
                    wishes[i] = (fusion, j)
                    taken.add(j)
        return wishes

    def _donations(self, donated: frozenset[int], wishes: dict[int, tuple[Node, int]]) -> dict[int, int]:
        """Parameter index -> result index whose memory it shares, where the order allows it."""
        found: dict[int, int] = {}
        readers: dict[Node, list[int]] = {}
        for fusion in self.order:
            for operand in fusion.operands:
                readers.setdefault(stored_by(operand), []).append(self.position[fusion])
        copied = {stored_by(r) for r in self.graph.results}
        for i in sorted(donated):
            parameter = self.graph.parameters[i]
            if parameter in copied:
                continue
            last = max(readers.get(parameter, [-1]))
            if i in wishes and self.position[wishes[i][0]] >= last:
                found[i] = wishes[i][1]
        for i in sorted(donated - found.keys()):
            parameter = self.graph.parameters[i]
            if parameter in copied:
                continue
            last = max(readers.get(parameter, [-1]))
            for (fusion, _), j in self.output_of.items():
                free = j not in found.values() and self.graph.results[j].type == parameter.type
                if free and self.position[fusion] > last:
                    found[i] = j
                    break
        return found

    # ---------------------------------------------------------------- memory

    def finish(self, result_names: Sequence[str]) -> Planned:
        values, of_result, temporaries = self._live_values()
        in_arena = [i for i, v in enumerate(values) if v.ref is None]
        offsets, arena_bytes = assign_offsets(
            [Interval(values[i].nbytes, values[i].first, values[i].last) for i in in_arena]
        )
        for i, offset in zip(in_arena, offsets, strict=True):
            values[i].ref = BufferRef("arena", 0, offset)
        where = {key: _known(values[i].ref) for key, i in of_result.items()}
        steps, kernels = self._steps(where, [[_known(values[t].ref) for t in ts] for ts in temporaries])
        names = list(result_names) or [f"out{j}" for j in range(len(self.graph.results))]
        plan = Plan(
            name=self.graph.name,
            symbols=self.graph.symbols,
            inputs=tuple(
                PlanInput(p["name"] or f"in{i}", p.tensor, self.donated_to.get(i))
                for i, p in enumerate(self.graph.parameters)
            ),
            outputs=tuple(PlanOutput(n, r.tensor) for n, r in zip(names, self.graph.results, strict=True)),
            constants=tuple(PlanConstant(f"constant{i}", n.tensor) for i, n in enumerate(self.constants)),
            arena_bytes=arena_bytes,
            scratch_bytes=max((k.scratch_bytes for k in kernels), default=0),
            kernels=tuple(k.name for k in kernels),
            steps=tuple(steps),
        )
        return Planned(plan, tuple(kernels), tuple(n["value"].array for n in self.constants))

    def _live_values(self) -> tuple[list[Value], dict[tuple[Node, int], int], list[list[int]]]:
        """Every stored result with its life, in place where it can be; temporaries of each fusion behind them."""
        last_read: dict[tuple[Node, int], int] = {}
        for fusion in self.order:
            for operand in fusion.operands:
                key = _stored_key(operand)
                if key is not None:
                    last_read[key] = self.position[fusion]
        end = len(self.order)
        last_read |= dict.fromkeys(self.output_of, end)
        values: list[Value] = []
        of_result: dict[tuple[Node, int], int] = {}
        temporaries: list[list[int]] = []
        for step, fusion in enumerate(self.order):
            region = self.regions[fusion]
            for index, result in enumerate(fusion["body"].results):
                key = (fusion, index)
                last = max(last_read.get(key, step), step)
                if key in self.output_of:
                    values.append(Value(0, step, last, BufferRef("output", self.output_of[key], 0)))
                else:
                    reused = self._reused(fusion, index, step, last_read, of_result, values, region)
                    if reused is not None:
                        values[reused].last = last
                        of_result[key] = reused
                        continue
                    values.append(Value(_bytes(result.tensor), step, last))
                of_result[key] = len(values) - 1
            mine = []
            for nbytes in region.temporaries:
                values.append(Value(nbytes, step, step))
                mine.append(len(values) - 1)
            temporaries.append(mine)
        return values, of_result, temporaries

    def _reused(
        self,
        fusion: Node,
        index: int,
        step: int,
        last_read: dict[tuple[Node, int], int],
        of_result: dict[tuple[Node, int], int],
        values: list[Value],
        region: ScheduledRegion,
    ) -> int | None:
        """The operand's value that dies here and may hold this result."""
        wanted = _bytes(fusion["body"].results[index].tensor)
        for p, r in sorted(region.in_place):
            if r != index:
                continue
            key = _stored_key(fusion.operands[p])
            if key is None or key not in of_result or last_read.get(key) != step:
                continue
            shared = [o for o in fusion.operands if _stored_key(o) == key]
            value = values[of_result[key]]
            if len(shared) == 1 and value.ref is None and value.last == step and value.nbytes == wanted:
                return of_result[key]
        return None

    # ---------------------------------------------------------------- steps

    def _ref(self, node: Node, where: dict[tuple[Node, int], BufferRef]) -> BufferRef:
        """Where the value of ``node`` lies."""
        key = _stored_key(node)
        if key is not None:
            return where[key]
        source = stored_by(node)
        if source.op is PARAMETER:
            return BufferRef("input", self.number[source], 0)
        if source.op is CONSTANT:
            return BufferRef("constant", self.constants.setdefault(source, len(self.constants)), 0)
        raise InternalError(f"plan: {node} is stored nowhere")

    def _steps(
        self, where: dict[tuple[Node, int], BufferRef], temporaries: list[list[BufferRef]]
    ) -> tuple[list[Step], list[Kernel]]:
        kernels: list[Kernel] = []
        numbers: dict[str, int] = {}
        names: dict[str, int] = {}
        hazards = Hazards(self.donated_to)
        steps: list[Step] = []
        for step, fusion in enumerate(self.order):
            label = _label(self.graph, fusion)
            for call in self.regions[fusion].calls:
                text = call.kernel.canonical_text()
                if text not in numbers:
                    numbers[text] = len(kernels)
                    kernels.append(_unique(call.kernel, names))
                accesses: list[Access] = []
                for operand, buffer in zip(call.operands, call.kernel.buffers, strict=True):
                    if operand.kind == "parameter":
                        value = fusion.operands[operand.index]
                        accesses.append((self._ref(value, where), buffer.access, _bytes(value.tensor)))
                    elif operand.kind == "result":
                        nbytes = _bytes(fusion["body"].results[operand.index].tensor)
                        accesses.append((where[fusion, operand.index], buffer.access, nbytes))
                    else:
                        nbytes = self.regions[fusion].temporaries[operand.index]
                        accesses.append((temporaries[step][operand.index], buffer.access, nbytes))
                barrier = hazards.touch(accesses, serial=call.serial)
                refs = tuple(ref for ref, _, _ in accesses)
                steps.append(Launch(numbers[text], refs, call.sizes, call.tasks, barrier, call.serial, label))
        for j, result in enumerate(self.graph.results):
            source = self._ref(result, where)
            target = BufferRef("output", j, 0)
            if source != target:
                nbytes = _bytes(result.tensor)
                barrier = hazards.touch([(source, "read", nbytes), (target, "write", nbytes)], serial=False)
                steps.append(Copy(target, source, result.tensor.size * result.dtype.itemsize, barrier, "copy"))
        return steps, kernels


def _schedule(graph: Graph, target: Target) -> dict[Node, ScheduledRegion]:
    """A schedule for every fusion; equal bodies are scheduled once."""
    known: dict[tuple[str, str], ScheduledRegion] = {}
    regions: dict[Node, ScheduledRegion] = {}
    for node in graph.nodes:
        if node.op is not FUSION:
            continue
        key = (node["kind"], node["body"].fingerprint)
        if key not in known:
            known[key] = schedule_region(node["kind"], node["body"], target)
        regions[node] = known[key]
    return regions


def _stored_key(node: Node) -> tuple[Node, int] | None:
    """The fusion result that holds ``node``, or None where it is an input or a constant."""
    while is_view(node):
        node = node.operands[0]
    if node.op is GET_TUPLE_ELEMENT:
        return node.operands[0], node["index"]
    return (node, 0) if node.op is FUSION else None


def _unique(kernel: Kernel, names: dict[str, int]) -> Kernel:
    """The kernel under a symbol name that no other kernel of the plan has."""
    count = names.get(kernel.name, 0)
    names[kernel.name] = count + 1
    return replace(kernel, name=f"{kernel.name}.{count}") if count else kernel


def _label(graph: Graph, fusion: Node) -> str:
    """What a profile or an error calls this step: the fused ops, the scope and the user's line."""
    locations = graph.locations(fusion)
    if not locations:
        return str(fusion["body"].name)
    first = locations[0]
    scope = f" in {first.scope}" if first.scope else ""
    return f"{fusion['body'].name}{scope} at {first.file}:{first.line}"


def _bytes(t: TensorType) -> int:
    """Bytes at the upper bound of symbolic sizes."""
    return bounds(t.size)[1] * t.dtype.itemsize


def _known(ref: BufferRef | None) -> BufferRef:
    assert ref is not None
    return ref
