"""A part of a body that a kernel of its own writes to a temporary, before the kernel that reads it."""

from __future__ import annotations

from mlc.errors import InternalError
from mlc.ir.graph import Graph, Node
from mlc.ir.graph.node import reachable
from mlc.ir.target import Target

from .loop import schedule_loop
from .region import KernelCall, Operand, redirected


def materialize(body: Graph, node: Node, number: int, target: Target) -> list[KernelCall]:
    """Kernels that write ``node``, an expression of the body's parameters, to temporary ``number``."""
    inside = set(reachable((node,)))
    numbers = [k for k, p in enumerate(body.parameters) if p in inside]
    part = Graph(f"{body.name}_operand", [body.parameters[k] for k in numbers], (node,), body.table)
    region = schedule_loop(part, target)
    if region.temporaries:
        raise InternalError(f"{body.name}: an operand's expression needs temporaries of its own")
    places = {("parameter", i): Operand("parameter", k) for i, k in enumerate(numbers)}
    places["result", 0] = Operand("temporary", number)
    return [redirected(call, places) for call in region.calls]
