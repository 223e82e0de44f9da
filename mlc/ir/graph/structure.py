"""Ops that hold or pass on other graphs and values: parameters, tuples, calls, composites, fusions, barriers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import ShapeError, VerifyError
from ..types import TupleType, ValueType
from .node import Graph, Node
from .op import Op, declare, no_flops


def _not_evaluated(node: Node, shape: tuple[int, ...], *operands: Any) -> Any:
    raise VerifyError(f"{node.op.name} is evaluated by the graph that holds it")


PARAMETER: Op = declare("parameter", operands=0, infer=lambda operands, a: a["type"], attributes=("id", "name"),
                    evaluate=_not_evaluated, jvp=(), flops=no_flops)  # fmt: skip


def _infer_element(operands: Sequence[ValueType], attributes: dict[str, Any]) -> ValueType:
    if not isinstance(operands[0], TupleType) or not 0 <= attributes["index"] < len(operands[0].elements):
        raise ShapeError(f"get_tuple_element: {operands[0]} has no element {attributes['index']}")
    element: ValueType = operands[0].elements[attributes["index"]]
    return element


GET_TUPLE_ELEMENT: Op = declare(
    "get_tuple_element", operands=1, infer=_infer_element, attributes=("index",),
    evaluate=lambda n, shape, xs: xs[n["index"]], jvp=(None,), flops=no_flops)  # fmt: skip


def result_type(graph: Graph) -> ValueType:
    """The type of a node that computes ``graph``: of its one result, or a tuple."""
    types = [r.type for r in graph.results]
    if len(types) == 1:
        return types[0]
    return TupleType(tuple(t for t in types if not isinstance(t, TupleType)))


def _infer_region(name: str, key: str) -> Any:
    def infer(operands: Sequence[ValueType], attributes: dict[str, Any]) -> ValueType:
        graph: Graph = attributes[key]
        want = [p.type for p in graph.parameters]
        if list(operands) != want:
            raise ShapeError(
                f"{name}: {graph.name} takes {', '.join(map(str, want))}; was given {', '.join(map(str, operands))}"
            )
        return result_type(graph)

    return infer


def _flops(key: str) -> Any:
    return lambda node: sum((n.op.flops(n) for n in node[key].nodes), start=0)


CALL: Op = declare("call", operands=None, infer=_infer_region("call", "callee"), attributes=("callee",),
               evaluate=_not_evaluated, jvp=None, flops=_flops("callee"))  # fmt: skip
COMPOSITE: Op = declare("composite", operands=None, infer=_infer_region("composite", "decomposition"),
                    attributes=("name", "decomposition", "options"), evaluate=_not_evaluated, jvp=None,
                    flops=_flops("decomposition"))  # fmt: skip
FUSION: Op = declare("fusion", operands=None, infer=_infer_region("fusion", "body"), attributes=("kind", "body"),
                 evaluate=_not_evaluated, jvp=None, flops=_flops("body"))  # fmt: skip
OPTIMIZATION_BARRIER: Op = declare(
    "optimization_barrier", operands=1, infer=lambda operands, a: operands[0], evaluate=lambda n, shape, x: x,
    jvp=(lambda t, n: OPTIMIZATION_BARRIER(t),), transpose=lambda ct, n, linear: (OPTIMIZATION_BARRIER(ct),),
    flops=no_flops)  # fmt: skip

COPY: Op = declare(
    "copy", operands=1, infer=lambda operands, a: operands[0], evaluate=lambda n, shape, x: x,
    jvp=(lambda t, n: COPY(t),), transpose=lambda ct, n, linear: (COPY(ct),), flops=no_flops)  # fmt: skip
"""The operand in the memory of this node's device."""

REGIONS = {"call": "callee", "composite": "decomposition", "fusion": "body"}
"""The attribute that holds the graph which a node computes (a reduce's body is applied to elements instead)."""


def results_of(node: Node) -> tuple[Node, ...]:
    """A node's results as nodes: itself, or the elements of its tuple."""
    if isinstance(node.type, TupleType):
        return tuple(GET_TUPLE_ELEMENT(node, index=i) for i in range(len(node.type.elements)))
    return (node,)


def inline(graph: Graph, operands: Sequence[Node]) -> tuple[Node, ...]:
    """The results of ``graph`` applied to ``operands``, rebuilt in the active table.

    Nodes stay at the user's lines and in the scopes that they were made in, followed by those of the call. Iterative;
    parameters are positional.
    """
    from .node import current_table

    table = current_table()
    new: dict[Node, Node] = dict(zip(graph.parameters, operands, strict=True))
    here = table.current
    for node in graph.nodes:
        if node in new:
            continue
        own = graph.locations(node)
        with table.at(own + tuple(x for x in here if x not in own)):
            new[node] = table.copy(node, [new[o] for o in node.operands])
    return tuple(new[r] for r in graph.results)
