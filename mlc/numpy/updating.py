"""``x.at[key]``: a copy of ``x`` with some elements changed, in place where nothing else reads ``x``."""

from __future__ import annotations

from mlc.errors import DTypeError
from mlc.ir.graph import ADD, MAXIMUM, MINIMUM, MULTIPLY, SELECT, Node, Op, broadcast_in_dim
from mlc.ir.types import BOOL, F32, DType
from mlc.tracing.lift import as_node, describe
from mlc.tracing.tracer import Tracer

from .advanced import update_part
from .dispatch import operation
from .indexing import Item, getitem, part_of_key, parts_of
from .promotion import broadcast_node, promote_types, wrap

_OPS: dict[str, Op | None] = {"set": None, "add": ADD, "multiply": MULTIPLY, "min": MINIMUM, "max": MAXIMUM}


class Updates:
    """What ``x.at`` is: ``x.at[key]`` names the elements that an update changes.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.zeros(4).at[mnp.asarray([0, 2, 2])].add(1.0).tolist()
        [1.0, 0.0, 2.0, 0.0]
    """

    __slots__ = ("operand",)

    def __init__(self, operand: object) -> None:
        self.operand = operand

    def __getitem__(self, key: object) -> Update:
        return Update(self.operand, key)


class Update:
    """Elements of an array, about to be changed: each method gives the changed array and leaves the old one as it is.

    Keys are those of ``x[key]``; values broadcast to what the key names and become ``x``'s element type. Where a traced
    index is outside of ``x`` nothing is changed. Of several values for one element ``set`` keeps the last.
    """

    __slots__ = ("key", "operand")

    def __init__(self, operand: object, key: object) -> None:
        self.operand = operand
        self.key = key

    def get(self) -> Tracer:
        """``x[key]``."""
        return getitem(self.operand, self.key)

    def set(self, values: object) -> Tracer:
        """``x`` with ``values`` at the key."""
        return self._apply("set", values)

    def add(self, values: object) -> Tracer:
        """``x`` with ``values`` added, every one where several go to one element."""
        return self._apply("add", values)

    def multiply(self, values: object) -> Tracer:
        """``x`` multiplied by ``values`` at the key."""
        return self._apply("multiply", values)

    def min(self, values: object) -> Tracer:
        """``x`` with the smaller of its elements and ``values`` at the key."""
        return self._apply("min", values)

    def max(self, values: object) -> Tracer:
        """``x`` with the larger of its elements and ``values`` at the key."""
        return self._apply("max", values)

    def _apply(self, how: str, values: object) -> Tracer:
        key = self.key
        if isinstance(key, Tracer) and key.dtype == BOOL:
            return _update_where(self.operand, key, values, how=how)
        plain, arrays = part_of_key(self.operand, key)
        return _update(self.operand, arrays, values, key=plain, how=how)


@operation("x", "arrays", "values")
def _update(x: object, arrays: tuple[object, ...], values: object, /, key: tuple[Item, ...], how: str) -> Tracer:
    node = as_node(x, None, "at: operand")
    value = _value(node, values)
    return wrap(update_part(node, parts_of(node, arrays, key), value, _OPS[how]))


@operation("x", "mask", "values")
def _update_where(x: object, mask: object, values: object, /, how: str) -> Tracer:
    """A traced mask with one value for all: every element is computed, and chosen where the mask holds."""
    node, chosen = as_node(x, None, "at: operand"), as_node(mask, None, "at: mask")
    value = _value(node, values)
    if value.shape != () or chosen.shape != node.shape[: len(chosen.shape)]:
        raise DTypeError(
            f"at: a traced mask of {chosen.type} and values of {value.type}: a mask that is traced takes one "
            f"value for all, and the first sizes of operand {node.type}",
            hint="mlc.numpy.where(mask, values, x) with values of x's shape",
        )
    full = broadcast_node(value, node.shape)
    op = _OPS[how]
    wide = broadcast_in_dim(chosen, node.shape, tuple(range(len(chosen.shape))))
    return wrap(SELECT(wide, full if op is None else op(node, full), node))


def _value(x: Node, values: object) -> Node:
    """``values`` in ``x``'s element type, which must hold them."""
    type, weak = describe(values, "at: values")
    floats = type.dtype.is_float and not x.dtype.is_float
    if floats or (not weak and _joined(x.dtype, type.dtype) != x.dtype):
        raise DTypeError(
            f"at: values of {type} for operand {x.type}, which cannot hold them",
            hint=f"convert one of them, for example with .astype({x.dtype.name!r})",
        )
    return as_node(values, x.dtype, "at: values")


def _joined(x: DType, y: DType) -> DType | None:
    try:
        return promote_types(x, y)
    except DTypeError:
        return F32 if x.is_float and not y.is_float else None


__all__ = ["Update", "Updates"]
