"""Opens sorts into the one form that has a schedule: signed integers, ascending along a padded last axis.

Numbers become integers of the same order, and integers become numbers again. What is moved along with its key is
gathered by the order of the keys, which is found by sorting pairs: the key in the upper and its place in the lower half
of 64 bits. Two places never are equal, so that this is stable. Keys of 64 bits are sorted by their lower halves first.
"""

from __future__ import annotations

from mlc.ir.dims import bounds
from mlc.ir.graph import (
    AND,
    BITCAST_CONVERT,
    COMPARE,
    CONVERT,
    DYNAMIC_SLICE,
    GET_TUPLE_ELEMENT,
    IOTA,
    NOT,
    OR,
    PAD,
    SELECT,
    SHIFT_LEFT,
    SHIFT_RIGHT_ARITHMETIC,
    SLICE,
    SORT,
    TRANSPOSE,
    XOR,
    Node,
    constant,
    fill,
    inverse_permutation,
    order_of,
    sort,
    take_in_order,
)  # fmt: skip
from mlc.ir.types import I8, I16, I32, I64, U32, DType

from .rewrite import of

WHOLE = 128  # longer rows are a multiple of this long, shorter ones a power of two
_SIGNED = {8: I8, 16: I16, 32: I32, 64: I64}


def is_canonical(n: Node) -> bool:
    """Whether a sort is one that kernels do."""
    x = n.operands[0].tensor
    if len(n.operands) > 1 or n["dimension"] != x.rank - 1 or x.dtype not in (I32, I64):
        return False
    length = x.shape[-1]
    return isinstance(length, int) and length == whole_length(length) and not order_of(n["comparator"])[1]


def whole_length(n: int) -> int:
    """The length of a row of ``n`` elements with its padding."""
    return 1 << max(n - 1, 0).bit_length() if n < WHOLE else -(-n // WHOLE) * WHOLE


@of(SORT)
def open_sort(n: Node) -> Node | None:
    """The sort of one tensor: as integers, or by its order where equal elements differ and may not change places."""
    if len(n.operands) > 1 or is_canonical(n):
        return None
    (x,), axis = n.operands, n["dimension"]
    descending = order_of(n["comparator"])[1]
    if x.shape[axis] == 1 or 0 in x.shape:
        return x
    if x.dtype.is_float and n["is_stable"]:
        return take_in_order(x, _order(x, axis, descending), axis)
    return _from_key(_sorted_rows(_to_key(x, descending, same_zeros=False), axis), x.dtype, descending)


@of(GET_TUPLE_ELEMENT)
def open_sorts(n: Node) -> Node | None:
    """One of several tensors that are sorted by a key: its elements in the key's order."""
    (made,) = n.operands
    if made.op is not SORT:
        return None
    x: Node = made.operands[n["index"]]
    axis: int = made["dimension"]
    number, descending = order_of(made["comparator"])
    if x.shape[axis] == 1 or 0 in x.shape:
        return x
    order = _order(made.operands[number], axis, descending)
    if x.op is IOTA and x["dimension"] == axis:
        return CONVERT(order, dtype=x.dtype) if x.dtype != order.dtype else order
    return take_in_order(x, order, axis)


def _order(x: Node, axis: int, descending: bool) -> Node:
    """Where the elements of the stably sorted ``x`` come from, as i32."""
    key = _to_key(x, descending, same_zeros=True)
    if key.dtype == I32:
        return _order_of_keys(key, axis)
    low = BITCAST_CONVERT(CONVERT(key, dtype=U32), dtype=I32)  # integers wrap: the lower half
    first = _order_of_keys(XOR(low, fill(-(1 << 31), low.tensor)), axis)
    high = CONVERT(SHIFT_RIGHT_ARITHMETIC(key, fill(32, key.tensor)), dtype=I32)
    second = _order_of_keys(take_in_order(high, first, axis), axis)
    return take_in_order(first, second, axis)


def _order_of_keys(key: Node, axis: int) -> Node:
    wide = CONVERT(key, dtype=I64)
    place = IOTA(shape=key.shape, dtype=I64, dimension=axis)
    pairs = OR(SHIFT_LEFT(wide, fill(32, wide.tensor)), place)
    ordered = _sorted_rows(pairs, axis)
    return CONVERT(AND(ordered, fill((1 << 32) - 1, ordered.tensor)), dtype=I32)


# ---------------------------------------------------------------- keys


def _to_key(x: Node, descending: bool, *, same_zeros: bool) -> Node:
    """Signed integers, of 32 or 64 bits, in the order of ``x``; opposite where ``descending``."""
    dtype = x.dtype
    if dtype.is_float:
        bits = _signed_bits(x)
        size = fill(bits.dtype.limits[1], bits.tensor)
        negative = COMPARE(bits, fill(0.0, bits.tensor), direction="LT")
        key = SELECT(negative, XOR(bits, size), bits)  # larger sizes of negative numbers are smaller
        key = SELECT(COMPARE(x, x, direction="NE"), size, key)
        if same_zeros:
            key = SELECT(COMPARE(x, fill(0.0, x.tensor), direction="EQ"), fill(0.0, key.tensor), key)
    elif dtype.kind == "uint" and dtype.bits >= 32:
        bits = _signed_bits(x)
        key = XOR(bits, fill(bits.dtype.limits[0], bits.tensor))
    else:
        key = x
    key = key if key.dtype in (I32, I64) else CONVERT(key, dtype=I32)
    return NOT(key) if descending else key


def _from_key(key: Node, dtype: DType, descending: bool) -> Node:
    """The elements that keys were made of."""
    key = NOT(key) if descending else key
    if not dtype.is_float and (dtype.kind != "uint" or dtype.bits < 32):
        return CONVERT(key, dtype=dtype) if key.dtype != dtype else key
    bits = _SIGNED[dtype.bits]
    key = CONVERT(key, dtype=bits) if key.dtype != bits else key
    if not dtype.is_float:
        return BITCAST_CONVERT(XOR(key, fill(bits.limits[0], key.tensor)), dtype=dtype)
    negative = COMPARE(key, fill(0.0, key.tensor), direction="LT")
    return BITCAST_CONVERT(SELECT(negative, XOR(key, fill(bits.limits[1], key.tensor)), key), dtype=dtype)


def _signed_bits(x: Node) -> Node:
    return BITCAST_CONVERT(x, dtype=_SIGNED[x.dtype.bits])


# ---------------------------------------------------------------- rows


def _sorted_rows(key: Node, axis: int) -> Node:
    """``key`` sorted along ``axis``: moved to the end, and with as many largest elements behind as a kernel wants."""
    rank = len(key.shape)
    last = (*(a for a in range(rank) if a != axis), axis)
    moved = key if axis == rank - 1 else TRANSPOSE(key, permutation=last)
    n = moved.shape[-1]
    length = whole_length(bounds(n)[1])
    none = (0,) * rank
    if n == length:
        (ordered,) = sort(moved, stable=False)
    else:
        most = constant(key.dtype.limits[1], key.dtype)
        grown = PAD(moved, most, low=none, high=(*none[1:], length - bounds(n)[0]), interior=none)
        if not isinstance(n, int):  # as many more as the least size needs: what is too much is left out
            sizes = (*moved.shape[:-1], length)
            grown = DYNAMIC_SLICE(grown, *(constant(0, I64),) * rank, slice_sizes=sizes)
        (ordered,) = sort(grown, stable=False)
        if isinstance(n, int):
            ordered = SLICE(ordered, start=none, limit=moved.shape, strides=(1,) * rank)
        else:
            ordered = DYNAMIC_SLICE(ordered, *(constant(0, I64),) * rank, slice_sizes=moved.shape)
    return ordered if axis == rank - 1 else TRANSPOSE(ordered, permutation=inverse_permutation(last))
