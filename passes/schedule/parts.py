"""Folds and sums of parts: what a body becomes where a first kernel has left those of each part in a temporary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.ir.dims import bounds
from mlc.ir.graph import CONVERT, REDUCE, Graph, Node, Table, body_of, reduce_add
from mlc.ir.types import DType, TensorType
from mlc.passes.rewrite import rewrite

from .axes import in_place_pairs
from .folds import Fold
from .region import KernelCall, Operand, ScheduledRegion, redirected


def body_of_parts(body: Graph, folds: Sequence[Fold], parts: int) -> Graph:
    """``body`` with each of its folds over ``parts`` temporaries, which are its first parameters: f[parts, ...]."""
    table = Table()
    new: dict[Node, Node] = {}
    with table.active():
        for p in body.parameters:
            new[p] = table.parameter(p.type, str(p["name"] or ""))
        partial = [table.parameter(TensorType((parts, *f.node.shape), f.dtype), f"t{k}") for k, f in enumerate(folds)]
        made = {f.node: (f, t) for f, t in zip(folds, partial, strict=True)}
        for node in _after(body, made):
            if node in new:
                continue
            if node in made:
                fold, t = made[node]
                first = new[node.operands[1]]
                first = first if fold.dtype == node.dtype else CONVERT(first, dtype=fold.dtype)
                total = REDUCE(t, first, dimensions=(0,), body=body_of(fold.reducer, fold.dtype))
                new[node] = total if fold.dtype == node.dtype else CONVERT(total, dtype=node.dtype)
            else:
                new[node] = table.copy(node, [new[o] for o in node.operands])
    parameters = (*partial, *(new[p] for p in body.parameters))
    return Graph(body.name, parameters, tuple(new[r] for r in body.results), table)


def call_of_parts(call: KernelCall, count: int) -> KernelCall:
    """A call of the kernel of such a body as one of the region: its first ``count`` parameters are temporaries."""
    places: dict[tuple[str, int], Operand] = {}
    for o in call.operands:
        if o.kind == "parameter":
            of_part = o.index < count
            place = Operand("temporary", o.index) if of_part else Operand("parameter", o.index - count)
            places[o.kind, o.index] = place
    return redirected(call, places)


@dataclass(frozen=True)
class SumOfParts:
    """A body whose ``heart`` sums products, with these summed in parts: ``sums`` is accumulator[parts, ...].

    ``end`` adds them up and does the rest; its last parameter is ``sums``, before it are those of the body at ``kept``.
    """

    body: Graph
    heart: Node
    sums: Node
    end: Graph
    kept: tuple[int, ...]

    @staticmethod
    def of(body: Graph, heart: Node, parts: int, accumulator: DType) -> SumOfParts:
        table = body.table
        with table.active(), table.at(table.locations.get(heart, ())):
            sums = table.parameter(TensorType((parts, *heart.shape), accumulator), "parts")
            total = reduce_add(sums, (0,))
            total = total if total.dtype == heart.dtype else CONVERT(total, dtype=heart.dtype)
            after = rewrite(body, [lambda n: total if n is heart else None])
        used = set(after.nodes)
        kept = tuple(k for k, p in enumerate(body.parameters) if p in used)
        end = Graph(f"{body.name}_sum", [*(body.parameters[k] for k in kept), sums], after.results, table)
        return SumOfParts(body, heart, sums, end, kept)

    def region(self, calls: Sequence[KernelCall], temporaries: Sequence[int], last: ScheduledRegion) -> ScheduledRegion:
        """``calls``, whose result are the sums, then those of ``last``, which is the end scheduled."""
        number, nbytes = len(temporaries), bounds(self.sums.tensor.size)[1] * self.sums.dtype.itemsize
        first = [redirected(call, {("result", 0): Operand("temporary", number)}) for call in calls]
        places = {("parameter", i): Operand("parameter", k) for i, k in enumerate(self.kept)}
        places["parameter", len(self.kept)] = Operand("temporary", number)
        places |= {("temporary", i): Operand("temporary", number + 1 + i) for i in range(len(last.temporaries))}
        after = [redirected(call, places) for call in last.calls]
        same = {(self.kept[p], r) for p, r in last.in_place if p < len(self.kept)}
        pairs = in_place_pairs(self.body, opaque=(self.heart,)) & same
        return ScheduledRegion((*first, *after), (*temporaries, nbytes, *last.temporaries), pairs)


def _after(body: Graph, stop: dict[Node, tuple[Fold, Node]]) -> list[Node]:
    """What the results are made of down to the reduces and their initial values, operands first."""
    seen: set[Node] = set()
    work = list(body.results)
    while work:
        node = work.pop()
        if node not in seen:
            seen.add(node)
            work.extend(node.operands[1:] if node in stop else node.operands)
    return sorted(seen, key=lambda n: n.uid)
