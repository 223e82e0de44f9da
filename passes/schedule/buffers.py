"""The buffers of a kernel for the parameters and results of a body: flat, dense and row-major."""

from __future__ import annotations

from mlc.ir.graph import Graph, Node
from mlc.ir.kernel import KernelBuilder, Memory

from .region import Operand
from .sizes import Sizes


def parameter_buffers(b: KernelBuilder, body: Graph, sizes: Sizes) -> tuple[dict[Node, Memory], tuple[Operand, ...]]:
    """A flat buffer for each parameter that is used."""
    memories: dict[Node, Memory] = {}
    operands: list[Operand] = []
    used = {o for n in body.nodes for o in n.operands} | set(body.results)
    for k, p in enumerate(body.parameters):
        if p in used and p not in memories:
            memories[p] = b.buffer(str(p["name"] or f"p{k}"), p.dtype, (sizes.index(p.tensor.size),))
            operands.append(Operand("parameter", k))
    return memories, tuple(operands)


def result_buffers(b: KernelBuilder, body: Graph, sizes: Sizes) -> list[Memory]:
    """A flat buffer for each result."""
    return [
        b.buffer(f"r{k}", r.dtype, (sizes.index(r.tensor.size),), access="write") for k, r in enumerate(body.results)
    ]
