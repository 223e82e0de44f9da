"""How values are cut among ranks, and how a cut passes through each op: the rules of partition, one function an op.

A value is REPLICATED (all ranks have it), cut along an axis (a number: rank r has block r), or PARTIAL: what the ranks
have adds up to it (DTensor's Replicate, Shard and Partial). A rule is told how the operands of a node lie and says how
they have to lie, how the result then does, and which op on the ranks' parts gives it. What no rule takes is computed
by every rank from whole operands, which is always right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlc.ir.dims import bounds, part_of, size_product
from mlc.ir.graph import (
    ADD,
    BROADCAST_IN_DIM,
    CONCATENATE,
    CONSTANT,
    CONVOLUTION,
    COPY,
    DIVIDE,
    DOT_GENERAL,
    DYNAMIC_SLICE,
    DYNAMIC_UPDATE_SLICE,
    GATHER,
    IOTA,
    MULTIPLY,
    NEGATE,
    OPTIMIZATION_BARRIER,
    PAD,
    REDUCE,
    REDUCE_WINDOW,
    REPLICATED,
    RESHAPE,
    REVERSE,
    SCATTER,
    SLICE,
    SORT,
    SUBTRACT,
    TRANSPOSE,
    Literal,
    Node,
    Op,
    combiner_of,
    convolution_axes,
    free_axes,
    identity_of,
    reducer_of,
)  # fmt: skip
from mlc.ir.types import Shape, TensorType, TupleType

PARTIAL = -2
Sharding = int


@dataclass(frozen=True, slots=True)
class Choice:
    """How a node is computed: how its operands lie, and its result (each of its results, of a tuple).

    ``fold`` is a reduction that the ranks' results still go through, after which all have the same.
    """

    operands: tuple[Sharding, ...]
    result: Sharding
    fold: str | None = None


Rule = Callable[[Node, Sequence[Sharding]], Choice | None]
RULES: dict[Op, Rule] = {}


def rule_of(*ops: Op) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, rule))
        return rule

    return add


def choose(node: Node, have: Sequence[Sharding], ranks: int) -> Choice:
    """How to compute ``node`` from operands that lie so."""
    rule = RULES.get(node.op, _elementwise if node.op.elementwise else None)
    found = rule(node, have) if rule is not None and any(s != REPLICATED for s in have) else None
    return found if found is not None and divides(node, found, ranks) else replicated(node)


def replicated(node: Node) -> Choice:
    """By every rank, from whole operands."""
    return Choice((REPLICATED,) * len(node.operands), REPLICATED)


def divides(node: Node, choice: Choice, ranks: int) -> bool:
    """Whether all axes that are cut divide into a block for each rank."""
    types = node.type.elements if isinstance(node.type, TupleType) else (node.type,)
    cuts = [(o.type, s) for o, s in zip(node.operands, choice.operands, strict=True)]
    cuts += [(t, choice.result) for t in types]
    for type, axis in cuts:
        if axis >= 0 and isinstance(type, TensorType) and part_of(type.shape[axis], ranks) is None:
            return False
    return True


def local_shape(shape: Shape, sharding: Sharding, ranks: int) -> Shape:
    """The shape of one rank's part of a value."""
    if sharding < 0:
        return shape
    part = part_of(shape[sharding], ranks)
    assert part is not None, (shape, sharding, ranks)
    return (*shape[:sharding], part, *shape[sharding + 1 :])


def local_attributes(node: Node, choice: Choice, ranks: int) -> dict[str, Any]:
    """The attributes of ``node`` for the ranks' parts: those that speak of shapes."""
    attributes = dict(node.attributes)
    if isinstance(node.type, TupleType):
        return attributes
    shape = local_shape(node.shape, choice.result, ranks)
    if node.op in (BROADCAST_IN_DIM, RESHAPE, IOTA):
        attributes["shape"] = shape
    elif node.op is SLICE:
        full = local_shape(node.operands[0].shape, choice.operands[0], ranks)
        limits = zip(node["limit"], full, strict=True)
        attributes["limit"] = tuple(n if i == choice.operands[0] else limit for i, (limit, n) in enumerate(limits))
    elif node.op is DYNAMIC_SLICE:
        attributes["slice_sizes"] = shape
    elif node.op is GATHER and choice.operands[0] >= 0:
        sizes = list(node["slice_sizes"])
        if choice.operands[0] not in node["operand_batching_dims"]:
            sizes[choice.operands[0]] //= ranks
        attributes["slice_sizes"] = tuple(sizes)
    return attributes


def _cut(have: Sequence[Sharding]) -> Sharding:
    """The first axis along which an operand is cut, or REPLICATED."""
    return next((s for s in have if s >= 0), REPLICATED)


def _elementwise(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """Along the axis that the first operand with one is cut along."""
    axis = _cut(have)
    return None if axis == REPLICATED else Choice((axis,) * len(have), axis)


@rule_of(ADD, SUBTRACT)
def _sum(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """A sum of parts is part of the sum."""
    return Choice((PARTIAL, PARTIAL), PARTIAL) if set(have) == {PARTIAL} else _elementwise(node, have)


@rule_of(MULTIPLY, DIVIDE)
def _scale(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """A part times what all have is part of the product; by which a part is divided, all have to have."""
    linear = tuple(have) == (PARTIAL, REPLICATED) or (tuple(have) == (REPLICATED, PARTIAL) and node.op is MULTIPLY)
    return Choice(tuple(have), PARTIAL) if linear and node.dtype.is_float else _elementwise(node, have)


@rule_of(NEGATE, OPTIMIZATION_BARRIER, COPY)
def _as_it_lies(node: Node, have: Sequence[Sharding]) -> Choice:
    return Choice((have[0],), have[0])


@rule_of(TRANSPOSE)
def _transpose(node: Node, have: Sequence[Sharding]) -> Choice:
    return Choice((have[0],), have[0] if have[0] < 0 else node["permutation"].index(have[0]))


@rule_of(BROADCAST_IN_DIM)
def _broadcast(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """Parts are added up before they are repeated."""
    return None if have[0] < 0 else Choice((have[0],), node["dimensions"][have[0]])


@rule_of(RESHAPE)
def _reshape(node: Node, have: Sequence[Sharding]) -> Choice | None:
    if have[0] == PARTIAL:
        return Choice((PARTIAL,), PARTIAL)
    axis = same_blocks(node.operands[0].shape, have[0], node.shape)
    return None if axis is None else Choice((have[0],), axis)


def same_blocks(shape: Shape, axis: int, other: Shape) -> int | None:
    """The axis of ``other``, a reshape of ``shape``, that has the same blocks of memory as ``axis`` of it."""
    before = size_product(shape[:axis])
    for i, extent in enumerate(other):
        if extent != 1 and size_product(other[:i]) == before:
            return i
    return None


@rule_of(REDUCE)
def _reduce(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """Folds of other axes stay where they are; those of the cut axis give parts of a sum, or of another fold."""
    op, dimensions = reducer_of(node["body"]), node["dimensions"]
    init = node.operands[1]
    if init.op is not CONSTANT or init["value"] != Literal(identity_of(op, node.dtype), node.dtype):
        return None
    adds = op is ADD and node.dtype.kind != "bool"
    if have[0] == PARTIAL:
        return Choice((PARTIAL, REPLICATED), PARTIAL) if adds else None
    if have[0] not in dimensions:
        return Choice((have[0], REPLICATED), have[0] - sum(d < have[0] for d in dimensions))
    if adds:
        return Choice((have[0], REPLICATED), PARTIAL)
    name = {"add": "or", "multiply": "and"}.get(op.name, op.name) if node.dtype.kind == "bool" else op.name
    return Choice((have[0], REPLICATED), REPLICATED, name)


@rule_of(DOT_GENERAL)
def _dot(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """Batch axes and free ones stay cut; along contracted axes, each rank has a part of the sum."""
    for side in sorted((0, 1), key=lambda s: -_elements(node.operands[s])):
        axis = have[side]
        if axis < 0:
            continue
        mine, theirs = ("lhs", "rhs") if side == 0 else ("rhs", "lhs")
        for kind, result in (("batch", None), ("contracting", PARTIAL)):
            if axis in node[f"{mine}_{kind}"]:
                place = node[f"{mine}_{kind}"].index(axis)
                operands = (axis, node[f"{theirs}_{kind}"][place])
                return Choice(operands if side == 0 else operands[::-1], place if result is None else result)
        if have[1 - side] >= 0 and have[1 - side] not in _free(node, 1 - side):
            continue  # the other operand's batch or contracted axis is cut: that one decides
        place = len(node["lhs_batch"]) + _free(node, side).index(axis) + (len(_free(node, 0)) if side else 0)
        return Choice((axis, REPLICATED) if side == 0 else (REPLICATED, axis), place)
    return None


def _free(node: Node, side: int) -> list[int]:
    name = ("lhs", "rhs")[side]
    return list(free_axes(len(node.operands[side].shape), node[f"{name}_contracting"], node[f"{name}_batch"]))


def _elements(node: Node) -> int:
    return bounds(node.tensor.size)[1]


@rule_of(CONVOLUTION)
def _convolution(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """Along the batch; along the features that are summed (which the gradient of a kernel has the batch as); along the
    kernel's outer axis."""
    axes = convolution_axes(node["dimension_numbers"])
    groups = node["feature_group_count"], node["batch_group_count"]
    if have[0] == axes.lhs.outer and groups[1] == 1 and have[1] < 0:
        return Choice((have[0], REPLICATED), axes.result.outer)
    if groups != (1, 1):
        return None
    if have[0] == axes.lhs.feature or have[1] == axes.rhs.feature:
        return Choice((axes.lhs.feature, axes.rhs.feature), PARTIAL)
    if have[1] == axes.rhs.outer:
        return Choice((REPLICATED, have[1]), axes.result.feature)
    return None


@rule_of(PAD)
def _pad(node: Node, have: Sequence[Sharding]) -> Choice | None:
    axis = have[0]
    if axis >= 0 and node["low"][axis] == node["high"][axis] == node["interior"][axis] == 0:
        return Choice((axis, REPLICATED), axis)
    return None


@rule_of(SLICE)
def _slice(node: Node, have: Sequence[Sharding]) -> Choice | None:
    axis = have[0]
    if axis == PARTIAL or _is_whole(node, axis):
        return Choice((axis,), axis)
    return None


def _is_whole(node: Node, axis: int) -> bool:
    """Whether the result has all of an axis of the first operand."""
    return (
        bool(node.shape[axis] == node.operands[0].shape[axis]) and node.attributes.get("strides", (1,) * 64)[axis] == 1
    )


@rule_of(CONCATENATE)
def _concatenate(node: Node, have: Sequence[Sharding]) -> Choice | None:
    if set(have) == {PARTIAL}:
        return Choice(tuple(have), PARTIAL)
    axis = next((s for s in have if s >= 0 and s != node["dimension"]), None)
    return None if axis is None else Choice((axis,) * len(have), axis)


@rule_of(REVERSE)
def _reverse(node: Node, have: Sequence[Sharding]) -> Choice | None:
    return None if have[0] in node["dimensions"] else Choice((have[0],), have[0])


@rule_of(SORT)
def _sort(node: Node, have: Sequence[Sharding]) -> Choice | None:
    axis = next((s for s in have if s >= 0 and s != node["dimension"]), None)
    return None if axis is None else Choice((axis,) * len(have), axis)


@rule_of(REDUCE_WINDOW)
def _reduce_window(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """Along an axis that the windows do not reach across."""
    axis = have[0]
    if axis < 0 or node["padding"][axis] != (0, 0):
        return None
    names = ("window_dimensions", "window_strides", "base_dilations", "window_dilations")
    return Choice((axis, REPLICATED), axis) if all(node[n][axis] == 1 for n in names) else None


@rule_of(DYNAMIC_SLICE)
def _dynamic_slice(node: Node, have: Sequence[Sharding]) -> Choice | None:
    rest = (REPLICATED,) * (len(have) - 1)
    return Choice((have[0], *rest), have[0]) if have[0] >= 0 and _is_whole(node, have[0]) else None


@rule_of(DYNAMIC_UPDATE_SLICE)
def _dynamic_update_slice(node: Node, have: Sequence[Sharding]) -> Choice | None:
    axis, rest = _cut(have[:2]), (REPLICATED,) * (len(have) - 2)
    if axis >= 0 and node.operands[1].shape[axis] == node.shape[axis]:
        return Choice((axis, axis, *rest), axis)
    return None


@rule_of(GATHER)
def _gather(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """Along an axis of the indices, from what all ranks have or what is cut with them; along what windows span."""
    batch = [i for i in range(len(node.shape)) if i not in node["offset_dims"]]
    outer = [i for i in range(len(node.operands[1].shape)) if i != node["index_vector_dim"]]
    pairs = dict(zip(node["start_indices_batching_dims"], node["operand_batching_dims"], strict=True))
    axis = have[1]
    if have[0] in pairs.values():
        axis = next(i for i, o in pairs.items() if o == have[0])
    if axis >= 0 and axis in outer:
        return Choice((pairs.get(axis, REPLICATED), axis), batch[outer.index(axis)])
    axis, dropped = have[0], (*node["collapsed_slice_dims"], *node["operand_batching_dims"])
    if axis < 0 or axis in dropped or node["slice_sizes"][axis] != node.operands[0].shape[axis]:
        return None
    kept = [i for i in range(len(node.operands[0].shape)) if i not in dropped]
    return Choice((axis, REPLICATED), node["offset_dims"][kept.index(axis)])


@rule_of(SCATTER)
def _scatter(node: Node, have: Sequence[Sharding]) -> Choice | None:
    """Updates that are cut, added to zeros: each rank has a part of the sum."""
    outer = [i for i in range(len(node.operands[2].shape)) if i not in node["update_window_dims"]]
    places = [i for i in range(len(node.operands[1].shape)) if i != node["index_vector_dim"]]
    batching = dict(zip(node["scatter_indices_batching_dims"], node["input_batching_dims"], strict=True))
    of_updates = have[2] if have[2] in outer else outer[places.index(have[1])] if have[1] in places else REPLICATED
    if of_updates == REPLICATED:
        return None
    of_indices = places[outer.index(of_updates)]
    if of_indices in batching:
        return Choice((batching[of_indices], of_indices, of_updates), batching[of_indices])
    if combiner_of(node["body"]) is ADD and is_zero(node.operands[0]):
        return Choice((REPLICATED, of_indices, of_updates), PARTIAL)
    return None


def is_zero(node: Node) -> bool:
    """A constant of zeros, as it is or repeated."""
    while node.op is BROADCAST_IN_DIM:
        node = node.operands[0]
    return node.op is CONSTANT and not node["value"].array.any()


# ---------------------------------------------------------------- from results to operands


def demanded(node: Node, axis: int) -> Choice | None:
    """How a node whose operands all ranks have is computed with its result cut along ``axis``, or None.

    Then it costs a rank its part only: what is repeated, counted or computed element by element.
    """
    if not isinstance(node.type, TensorType):
        return None
    if node.op is IOTA:
        return Choice((), axis)
    if node.op is BROADCAST_IN_DIM:
        inner = node["dimensions"].index(axis) if axis in node["dimensions"] else REPLICATED
        if inner >= 0 and node.operands[0].shape[inner] != node.shape[axis]:
            inner = REPLICATED
        return Choice((inner,), axis)
    if node.op is TRANSPOSE:
        return Choice((node["permutation"][axis],), axis)
    if node.op is RESHAPE:
        inner_axis = same_blocks(node.shape, axis, node.operands[0].shape)
        return None if inner_axis is None else Choice((inner_axis,), axis)
    if node.op is CONCATENATE or node.op.elementwise:
        if node.op is CONCATENATE and axis == node["dimension"]:
            return None
        return Choice((axis,) * len(node.operands), axis)
    return None
