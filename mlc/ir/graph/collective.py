"""Collectives: values of all ranks of a replica group folded, gathered, scattered or passed on, and sharded calls.

``replica_groups`` holds every rank of the world once, in groups of one size; a collective is among the ranks of each
group. All ranks run the same graph. One process alone can evaluate them only in a world of one rank: see
``evaluate_ranks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import DifferentiationError, ShapeError, UnsupportedError
from ..dims import Size, bounds, part_of
from ..types import I64, TensorType, TupleType, ValueType, scalar
from .elementwise import COMPARE, CONVERT, DIVIDE, MULTIPLY
from .node import Node
from .op import Array, Op, declare, no_flops, per_element
from .shape import CONCATENATE, fill, reshape
from .typing import require_axes, tensor

Groups = tuple[tuple[int, ...], ...]
REDUCTIONS = ("add", "multiply", "maximum", "minimum", "and", "or", "xor")
RANK_TYPE = scalar(I64)
REPLICATED = -1  # in the shardings of a sharded call: every rank has the whole value


def check_groups(name: str, groups: Groups) -> int:
    """The size of each group. Raises ShapeError for groups that do not hold each rank once, or differ in size."""
    ranks = [rank for group in groups for rank in group]
    if not ranks or sorted(ranks) != list(range(len(ranks))):
        raise ShapeError(f"{name}: the groups {_words(groups)} do not hold each rank of a world once")
    if any(len(group) != len(groups[0]) for group in groups):
        raise ShapeError(f"{name}: the groups {_words(groups)} differ in size")
    return len(groups[0])


def group_size(node: Node) -> int:
    """Ranks in each replica group of a collective."""
    return len(node["replica_groups"][0])


def divided(name: str, type: TensorType, axis: int, ranks: int) -> TensorType:
    """The type of one rank's block of ``type`` along ``axis``. Raises ShapeError where it has no such blocks."""
    part = part_of(type.shape[axis], ranks)
    if part is not None:
        return type.with_shape((*type.shape[:axis], part, *type.shape[axis + 1 :]))
    raise ShapeError(f"{name}: axis {axis} of {type} does not divide into {ranks} blocks of one size")


def multiplied(type: TensorType, axis: int, ranks: int) -> TensorType:
    """The type of ``ranks`` blocks of ``type`` side by side along ``axis``."""
    return type.with_shape((*type.shape[:axis], type.shape[axis] * ranks, *type.shape[axis + 1 :]))


def _words(groups: Groups) -> str:
    return " ".join(f"[{','.join(map(str, group))}]" for group in groups)


def _check_reduction(name: str, attributes: dict[str, Any], operand: TensorType) -> None:
    reduction = attributes["reduction"]
    if reduction not in REDUCTIONS:
        raise ShapeError(f"{name}: {reduction!r} is none of {', '.join(REDUCTIONS)}")
    if reduction in ("and", "or", "xor") and operand.dtype.is_float:
        raise ShapeError(f"{name}: {reduction} of {operand}, which is no integer or bool")


def _infer_all_reduce(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand = tensor("all_reduce", operands[0])
    check_groups("all_reduce", attributes["replica_groups"])
    _check_reduction("all_reduce", attributes, operand)
    return operand


def _infer_broadcast(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    check_groups("collective_broadcast", attributes["replica_groups"])
    return tensor("collective_broadcast", operands[0])


def _infer_all_gather(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand, ranks = tensor("all_gather", operands[0]), check_groups("all_gather", attributes["replica_groups"])
    require_axes("all_gather", (attributes["dimension"],), operand.rank, "dimension")
    return multiplied(operand, attributes["dimension"], ranks)


def _infer_reduce_scatter(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand = tensor("reduce_scatter", operands[0])
    ranks = check_groups("reduce_scatter", attributes["replica_groups"])
    require_axes("reduce_scatter", (attributes["dimension"],), operand.rank, "dimension")
    _check_reduction("reduce_scatter", attributes, operand)
    return divided("reduce_scatter", operand, attributes["dimension"], ranks)


def _alone(node: Node, shape: Any, *operands: Array) -> Any:
    """In a world of one rank each of them gives its operand."""
    ranks = sum(map(len, node["replica_groups"]))
    if ranks > 1:
        raise UnsupportedError(
            f"{node.op.name}: is among {ranks} ranks, and one process alone evaluates it",
            hint="mlc.ir.graph.evaluate_ranks takes the arguments of every rank",
        )
    return operands if isinstance(node.type, TupleType) else operands[0]


# ---------------------------------------------------------------- derivatives
# Each rank has a cotangent of its own result; what a rank is given is the sum of what its operand did to all results.


def _linear(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    """All but folds other than sums are linear: the same of the tangent."""
    t = tangents[0]
    if t is None or node.attributes.get("reduction", "add") == "add":
        return None if t is None else node.op(t, **node.attributes)
    if node["reduction"] in ("maximum", "minimum") and node.op is ALL_REDUCE:  # the mean over where the extreme is
        at = CONVERT(COMPARE(node.operands[0], node, direction="EQ"), dtype=node.dtype)
        shares = [all_reduce(x, "add", node["replica_groups"]) for x in (MULTIPLY(t, at), at)]
        return DIVIDE(*shares)
    raise DifferentiationError(f"{node.op.name}: a fold by {node['reduction']} has no derivative that mlc gives")


def _transpose_all_reduce(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node]:
    return (all_reduce(ct, "add", node["replica_groups"]),)


def _transpose_all_gather(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node]:
    return (reduce_scatter(ct, "add", node["replica_groups"], node["dimension"]),)


def _transpose_reduce_scatter(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node]:
    return (all_gather(ct, node["replica_groups"], node["dimension"]),)


def _transpose_broadcast(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node]:
    """The sum of all cotangents to the first of the group, zeros to the others: the blocks of a reduce_scatter."""
    row = reshape(ct, (1, *ct.shape))
    zeros = fill(0.0, row.tensor.with_shape((group_size(node) - 1, *ct.shape)))
    rows = CONCATENATE(row, zeros, dimension=0) if group_size(node) > 1 else row
    return (reshape(reduce_scatter(rows, "add", node["replica_groups"], 0), ct.shape),)


# ---------------------------------------------------------------- rows

ALL_REDUCE: Op = declare(
    "all_reduce", operands=1, infer=_infer_all_reduce, attributes=("reduction", "replica_groups"), evaluate=_alone,
    jvp=_linear, transpose=_transpose_all_reduce, flops=per_element(1))  # fmt: skip
"""The operands of all ranks of the group folded element by element; every rank has the result."""

ALL_GATHER: Op = declare(
    "all_gather", operands=1, infer=_infer_all_gather, attributes=("dimension", "replica_groups"), evaluate=_alone,
    jvp=_linear, transpose=_transpose_all_gather, flops=no_flops)  # fmt: skip
"""The operands of all ranks of the group side by side along ``dimension``, in the order of the group."""

REDUCE_SCATTER: Op = declare(
    "reduce_scatter", operands=1, infer=_infer_reduce_scatter, attributes=("dimension", "reduction", "replica_groups"),
    evaluate=_alone, jvp=_linear, transpose=_transpose_reduce_scatter, flops=per_element(1))  # fmt: skip
"""As all_reduce, cut along ``dimension`` into blocks: each rank has the one of its place in the group."""

COLLECTIVE_BROADCAST: Op = declare(
    "collective_broadcast", operands=1, infer=_infer_broadcast, attributes=("replica_groups",), evaluate=_alone,
    jvp=_linear, transpose=_transpose_broadcast, flops=no_flops)  # fmt: skip
"""The operand of the first rank of the group, on all of its ranks."""

COLLECTIVES: frozenset[Op] = frozenset((ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, COLLECTIVE_BROADCAST))


def all_reduce(x: Node, reduction: str, groups: Groups) -> Node:
    return ALL_REDUCE(x, reduction=reduction, replica_groups=groups)


def all_gather(x: Node, groups: Groups, dimension: int = 0) -> Node:
    return ALL_GATHER(x, dimension=dimension, replica_groups=groups)


def reduce_scatter(x: Node, reduction: str, groups: Groups, dimension: int = 0) -> Node:
    return REDUCE_SCATTER(x, dimension=dimension, reduction=reduction, replica_groups=groups)


# ---------------------------------------------------------------- started and awaited


def _infer_start(operands: Sequence[ValueType], attributes: dict[str, Any]) -> ValueType:
    row = _BY_NAME.get(attributes["kind"])
    if row is None or not operands:
        raise ShapeError(f"collective_start: {attributes['kind']!r} of {len(operands)} operands")
    if len(operands) > 1 and row is not ALL_REDUCE:
        raise ShapeError(f"collective_start: {row.name} takes one operand")
    given = {k: attributes[k] for k in row.attributes if k != "dimension"}
    if "dimension" in row.attributes:
        given["dimension"] = 0
    types = [tensor(row.name, row.infer([operand], given)) for operand in operands]
    if any(t.dtype != types[0].dtype for t in types):
        raise ShapeError(f"collective_start: element types differ: {', '.join(map(str, operands))}")
    return types[0] if len(types) == 1 else TupleType(tuple(types))


_BY_NAME = {op.name: op for op in COLLECTIVES}

COLLECTIVE_START: Op = declare(
    "collective_start", operands=None, infer=_infer_start, attributes=("kind", "reduction", "replica_groups"),
    evaluate=_alone, jvp=None, flops=no_flops)  # fmt: skip
"""Starts the collective ``kind`` (along axis 0) on all operands as one, whose results only collective_done may read."""

COLLECTIVE_DONE: Op = declare(
    "collective_done", operands=1, infer=lambda operands, a: operands[0], evaluate=lambda n, shape, x: x, jvp=None,
    flops=no_flops)  # fmt: skip
"""The results of a collective_start, once they are there."""


# ---------------------------------------------------------------- sharded calls


def _infer_sharded(operands: Sequence[ValueType], attributes: dict[str, Any]) -> ValueType:
    callee, ranks = attributes["callee"], check_groups("sharded_call", attributes["replica_groups"])
    want = [
        local_type("sharded_call", p.tensor, axis, ranks)
        for p, axis in zip(callee.parameters, attributes["in_shardings"], strict=True)
    ]
    if list(operands[:-1]) != want or operands[-1] != RANK_TYPE:
        raise ShapeError(
            f"sharded_call: {callee.name} takes {', '.join(map(str, [*want, RANK_TYPE]))} of each rank; was given "
            f"{', '.join(map(str, operands))}"
        )
    types = [
        local_type("sharded_call", r.tensor, axis, ranks)
        for r, axis in zip(callee.results, attributes["out_shardings"], strict=True)
    ]
    return types[0] if len(types) == 1 else TupleType(tuple(types))


def local_type(name: str, type: TensorType, axis: int, ranks: int) -> TensorType:
    """What one rank has of a value that is cut along ``axis``, or whole where that is REPLICATED."""
    return type if axis == REPLICATED else divided(name, type, axis, ranks)


def _sharded_flops(node: Node) -> Size:
    """Of one rank, if all of the work is shared."""
    total = sum((n.op.flops(n) for n in node["callee"].nodes), start=0)
    return bounds(total)[1] // group_size(node)


def _never(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    raise DifferentiationError(
        "data_parallel: a step that is cut among processes is not differentiated",
        hint="call mlc.grad inside of the function that data_parallel is given",
    )


def _sharded_alone(node: Node, shape: Any, *operands: Array) -> Any:
    if group_size(node) > 1:
        return _alone(node, shape, *operands)
    from .evaluate import evaluate_graph

    results = evaluate_graph(node["callee"], operands[:-1])
    return tuple(results) if isinstance(node.type, TupleType) else results[0]


SHARDED_CALL: Op = declare(
    "sharded_call", operands=None, infer=_infer_sharded,
    attributes=("callee", "in_shardings", "out_shardings", "replica_groups"), evaluate=_sharded_alone, jvp=_never,
    flops=_sharded_flops)  # fmt: skip
"""``callee`` of whole values, computed by all ranks together.

Operand i of each rank is its block of the whole along axis ``in_shardings[i]``, or all of it (REPLICATED: -1), which is
the same on all ranks; results are cut by ``out_shardings``. The last operand is the rank's own number.
"""

__all__ = [
    "ALL_GATHER", "ALL_REDUCE", "COLLECTIVES", "COLLECTIVE_BROADCAST", "COLLECTIVE_DONE", "COLLECTIVE_START",
    "REDUCE_SCATTER", "REPLICATED", "SHARDED_CALL", "all_gather", "all_reduce", "group_size", "reduce_scatter",
]  # fmt: skip
