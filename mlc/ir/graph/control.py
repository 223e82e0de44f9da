"""Control flow: while and case, whose regions are closed graphs that take every value they use as a parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import DTypeError, ShapeError, VerifyError
from ..dims import Size, bounds
from ..types import BOOL, I32, ValueType, scalar
from .elementwise import ADD, COMPARE
from .node import Graph, Node
from .op import Op, declare
from .shape import CONSTANT
from .structure import FUSION, GET_TUPLE_ELEMENT, PARAMETER, result_type


def _held(node: Node, shape: tuple[int, ...], *operands: Any) -> Any:
    raise VerifyError(f"{node.op.name} is evaluated by the graph that holds it")


def _infer_while(operands: Sequence[ValueType], attributes: dict[str, Any]) -> ValueType:
    cond, body = attributes["cond"], attributes["body"]
    if not operands:
        raise ShapeError("while: carries no value, so that it would end at once or never")
    for name, graph in (("cond", cond), ("body", body)):
        _check_parameters("while", name, graph, operands)
    if [r.type for r in cond.results] != [scalar(BOOL)]:
        raise DTypeError(f"while: cond gives {_types(r.type for r in cond.results)}, not one bool[]")
    given = [r.type for r in body.results]
    if given != list(operands):
        raise ShapeError(
            f"while: carries {_types(operands)}; its body gives {_types(given)}{_difference(operands, given)}"
        )
    return result_type(body)


def _infer_case(operands: Sequence[ValueType], attributes: dict[str, Any]) -> ValueType:
    branches: tuple[Graph, ...] = attributes["branches"]
    if not operands or operands[0] != scalar(I32):
        raise DTypeError(f"case: the index is {operands[0] if operands else 'missing'}, not i32[]")
    if not branches:
        raise ShapeError("case: has no branch")
    first = [r.type for r in branches[0].results]
    for i, branch in enumerate(branches):
        _check_parameters("case", f"branch {i}", branch, operands[1:])
        given = [r.type for r in branch.results]
        if given != first:
            raise ShapeError(
                f"case: branch 0 gives {_types(first)}, branch {i} gives {_types(given)}{_difference(first, given)}"
            )
    return result_type(branches[0])


def _check_parameters(op: str, name: str, graph: Graph, operands: Sequence[ValueType]) -> None:
    want = [p.type for p in graph.parameters]
    if want != list(operands):
        raise ShapeError(
            f"{op}: {name} takes {_types(want)}; was given {_types(operands)}{_difference(want, operands)}"
        )


def _types(types: Any) -> str:
    return f"({', '.join(map(str, types))})"


def _difference(want: Sequence[ValueType], given: Sequence[ValueType]) -> str:
    found = [i for i, (a, b) in enumerate(zip(want, given, strict=False)) if a != b]
    return f"; value {found[0]} is {want[found[0]]} and {given[found[0]]}" if found else ""


def _flops_of(graph: Graph) -> Size:
    return sum((n.op.flops(n) for n in graph.nodes), start=0)


def _while_flops(node: Node) -> Size:
    """Of one trip where the number of trips is not known."""
    trips = trip_count(node)
    return (_flops_of(node["body"]) + _flops_of(node["cond"])) * (1 if trips is None else trips)


def _case_flops(node: Node) -> Size:
    return max((_flops_of(b) for b in node["branches"]), key=lambda size: bounds(size)[1])


WHILE: Op = declare("while", operands=None, infer=_infer_while, attributes=("cond", "body"), evaluate=_held, jvp=None,
                    flops=_while_flops)  # fmt: skip
"""The operands, replaced by what ``body`` makes of them as long as ``cond`` of them is true."""

CASE: Op = declare("case", operands=None, infer=_infer_case, attributes=("branches",), evaluate=_held, jvp=None,
                   flops=_case_flops)  # fmt: skip
"""The results of the branch that the first operand numbers (the last one for any other number) on the rest."""


def branch_of(index: int, count: int) -> int:
    """Which of ``count`` branches a case takes: the last one for an index that is none."""
    return index if 0 <= index < count else count - 1


def invariants(node: Node) -> tuple[bool, ...]:
    """Which values of a while its body hands on as they are."""
    body = node["body"]
    return tuple(r is p for r, p in zip(body.results, body.parameters, strict=True))


def trip_count(node: Node) -> int | None:
    """How often the body of a while runs, where a counter with constant start, step and limit says so.

    The condition compares the counter, or is a value that the body computes so for the next trip.
    """
    cond, body = node["cond"], node["body"]
    (test,) = cond.results
    ahead = test.op is PARAMETER
    home = body if ahead else cond
    compared = _behind(body.results[cond.parameters.index(test)] if ahead else test)
    if compared.node.op is not COMPARE or compared.node["direction"] != "LT":
        return None
    counter, limit = compared.operand(0), compared.operand(1)
    if ahead:  # compared after the step
        counter = counter.operand(0) if counter.node.op is ADD else counter
    if counter.node not in home.parameters:
        return None
    i = home.parameters.index(counter.node)
    following = _behind(body.results[i])
    if following.node.op is not ADD or following.operand(0).node is not body.parameters[i]:
        return None
    if ahead and compared.operand(0).node.op is not ADD:
        return None
    steps = [following.operand(1).node, *([compared.operand(0).operand(1).node] if ahead else [])]
    end = limit.node
    if end in home.parameters:
        j = home.parameters.index(end)
        end = node.operands[j] if invariants(node)[j] else end
    return _count(node.operands[i], steps, end)


def _count(start: Node, steps: Sequence[Node], limit: Node) -> int | None:
    if any(n.op is not CONSTANT or not n.dtype.is_integer for n in (start, *steps, limit)):
        return None
    first, by, end = (int(n["value"].array) for n in (start, steps[0], limit))
    if any(int(s["value"].array) != by for s in steps):
        return None
    if by <= 0 or end + by > start.dtype.limits[1]:  # it would count on past its type's end
        return None
    return max(-(-(end - first) // by), 0)


@dataclass(frozen=True, slots=True)
class _Behind:
    """A node, and what the parameters of the fused region that holds it stand for (nothing outside of one)."""

    node: Node
    stands_for: Mapping[Node, Node]

    def operand(self, i: int) -> _Behind:
        return _behind(self.node.operands[i], self.stands_for)


def _behind(node: Node, stands_for: Mapping[Node, Node] | None = None) -> _Behind:
    """What computes ``node``: looked for in the fused region that gives it, and outside of the one that holds it."""
    known = stands_for or {}
    while True:
        source = node.operands[0] if node.op is GET_TUPLE_ELEMENT else node
        if source.op is FUSION:
            index = node["index"] if source is not node else 0
            known = dict(zip(source["body"].parameters, source.operands, strict=True))
            node = source["body"].results[index]
        elif node in known:
            node, known = known[node], {}
        else:
            return _Behind(node, known)
