"""Folds of parts: what a reduce body becomes where a first kernel has left a fold of each part in a temporary."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.graph import CONVERT, REDUCE, Graph, Node, Table, body_of
from mlc.ir.types import TensorType

from .folds import Fold
from .region import KernelCall, Operand, redirected


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
