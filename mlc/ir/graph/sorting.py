"""sort: several tensors reordered along one axis, all in the way that puts one of them in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ..dims import Size, bounds
from ..types import BOOL, I32, I64, DType, TensorType, TupleType, ValueType, scalar
from .elementwise import COMPARE
from .gathering import gather
from .node import Graph, Node, Table
from .op import Array, Op, declare
from .shape import IOTA
from .structure import GET_TUPLE_ELEMENT
from .typing import require_axes, tensor
from .windows import Windows

_COMPARATORS: dict[tuple[tuple[DType, ...], int, bool], Graph] = {}


def comparator_of(dtypes: Sequence[DType], key: int = 0, *, descending: bool = False) -> Graph:
    """The comparator that orders elements of ``dtypes`` by those of operand ``key``."""
    known = tuple(dtypes), key, descending
    if known not in _COMPARATORS:
        table = Table()
        with table.active():
            parameters = [table.parameter(scalar(t)) for t in dtypes for _ in range(2)]
            before = COMPARE(parameters[2 * key], parameters[2 * key + 1], direction="GT" if descending else "LT")
            _COMPARATORS[known] = Graph("greater" if descending else "less", parameters, (before,), table)
    return _COMPARATORS[known]


def order_of(comparator: Graph) -> tuple[int, bool]:
    """Which operand a comparator orders by, and whether the largest elements come first.

    Raises UnsupportedError for one that does more than to compare both elements of one operand by LT or GT.
    """
    (result,) = comparator.results
    if result.op is COMPARE and result["direction"] in ("LT", "GT"):
        first, second = (comparator.parameters.index(o) if o in comparator.parameters else -1 for o in result.operands)
        if min(first, second) >= 0 and first // 2 == second // 2 and first != second:
            return first // 2, (result["direction"] == "GT") == (first < second)
    raise UnsupportedError("sort: the comparator is not a compare LT or GT of the two elements of one operand")


def _infer(operands: Sequence[ValueType], attributes: dict[str, Any]) -> ValueType:
    types = [tensor("sort", o) for o in operands]
    if not types:
        raise ShapeError("sort: needs at least one operand")
    require_axes("sort", (attributes["dimension"],), types[0].rank, "dimension")
    for t in types[1:]:
        if t.shape != types[0].shape:
            raise ShapeError(f"sort: shapes differ: {types[0]}, {t}")
    comparator, want = attributes["comparator"], [scalar(t.dtype) for t in types for _ in range(2)]
    if [p.type for p in comparator.parameters] != want or [r.type for r in comparator.results] != [scalar(BOOL)]:
        raise ShapeError(f"sort: the comparator must take {', '.join(map(str, want))} and give one bool[]")
    order_of(comparator)
    return types[0] if len(types) == 1 else TupleType(tuple(types))


def _evaluate(node: Node, shape: Any, *arrays: Array) -> Any:
    key, descending = order_of(node["comparator"])
    order = sorted_order(arrays[key], node["dimension"], descending)
    found = tuple(np.take_along_axis(x, order, node["dimension"]) for x in arrays)
    return found if len(found) > 1 else found[0]


def sorted_order(x: Array, axis: int, descending: bool = False) -> Array:
    """The stable order of ``x`` along ``axis``: zeros of both signs are equal, NaNs are above everything."""
    x = x if x.dtype.kind in "iub" else x.astype(np.float64)
    if not descending:
        return np.argsort(x, axis, kind="stable")
    turned = np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    found: Array = x.shape[axis] - 1 - turned
    return found


def _tangent(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    """That of the sort of one operand."""
    return sort_tangents(node, tangents)[0]


def sort_tangents(node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    """The operands' tangents in the order of the operands."""
    axis, (key, descending) = node["dimension"], order_of(node["comparator"])
    if node.operands[key].shape[axis] in (0, 1):
        return list(tangents)
    order = argsort(node.operands[key], axis, descending=descending)
    return [None if t is None else take_in_order(t, order, axis) for t in tangents]


def _flops(node: Node) -> Size:
    """Comparisons: as many an element as its axis has bits of length."""
    x = node.operands[0].tensor
    return x.size * bounds(x.shape[node["dimension"]])[1].bit_length() if x.rank else 0


SORT: Op = declare("sort", operands=None, infer=_infer, evaluate=_evaluate,
                   attributes=("dimension", "is_stable", "comparator"), jvp=_tangent, flops=_flops)  # fmt: skip
"""The operands reordered along ``dimension`` so that the one that ``comparator`` reads ascends (LT) or descends (GT).

NaNs count as greater than all numbers, zeros of both signs as equal. Where ``is_stable``, equal elements keep their
order; one operand gives a tensor, several a tuple.
"""


def sort(*operands: Node, axis: int = -1, descending: bool = False, stable: bool = True) -> tuple[Node, ...]:
    """The operands reordered along ``axis`` as the first of them wants it."""
    comparator = comparator_of([o.dtype for o in operands], descending=descending)
    made = SORT(*operands, dimension=axis % len(operands[0].shape), is_stable=stable, comparator=comparator)
    return (made,) if len(operands) == 1 else tuple(GET_TUPLE_ELEMENT(made, index=i) for i in range(len(operands)))


def argsort(x: Node, axis: int, *, descending: bool = False) -> Node:
    """Where along ``axis`` the elements of the stably sorted ``x`` come from, as i32 (i64 for very long axes)."""
    dtype = I32 if bounds(x.shape[axis])[1] < 1 << 31 else I64
    return sort(x, IOTA(shape=x.shape, dtype=dtype, dimension=axis), axis=axis, descending=descending)[1]


def take_in_order(x: Node, order: Node, axis: int) -> Node:
    """The elements of ``x`` along ``axis`` in ``order``, a permutation for each of the other axes."""
    others = tuple(a for a in range(len(x.shape)) if a != axis)
    windows = Windows(
        TensorType(x.shape, x.dtype), order.tensor, (1,) * len(x.shape), (), (axis,), others, others, (axis,),
        len(x.shape),
    )  # fmt: skip
    return gather(x, order, windows)


__all__ = ["SORT", "argsort", "comparator_of", "order_of", "sort", "sort_tangents", "sorted_order", "take_in_order"]
