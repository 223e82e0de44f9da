"""Threefry-2x32 as graph arithmetic: the meaning of rng_bit_generator for kernels (Salmon et al. 2011)."""

from __future__ import annotations

from mlc.ir.dims import Dim, Size, size_product
from mlc.ir.graph import (
    ADD,
    CONCATENATE,
    CONVERT,
    IOTA,
    MULTIPLY,
    OR,
    SHIFT_LEFT,
    SHIFT_RIGHT_LOGICAL,
    SLICE,
    XOR,
    Node,
    broadcast_in_dim,
    constant,
    fill,
    reshape,
    size_value,
)  # fmt: skip
from mlc.ir.graph.random import PARITY, ROTATIONS
from mlc.ir.types import U32, U64, DType, Shape, TensorType


def random_bits(key: Node, shape: Shape, dtype: DType) -> Node:
    """``shape`` bits: element i from counter i, its high word first; the two words of a u32 are xored.

    A u64 key is a key and the first counter.
    """
    if key.dtype == U64:
        words, first = _part(key, 0), _part(key, 1)
        position = ADD(_positions(shape, U64), broadcast_in_dim(reshape(first, ()), shape, ()))
        high, low = _words(position)
        key = CONCATENATE(*_words(words), dimension=0)
    else:
        high, low = _counters(shape)
    x, y = _rounds(key, high, low)
    if dtype == U32:
        return XOR(x, y)
    wide = TensorType(shape, U64)
    return OR(SHIFT_LEFT(CONVERT(x, dtype=U64), fill(32, wide)), CONVERT(y, dtype=U64))


def next_key(key: Node) -> Node:
    """The first key that a split would give."""
    zero = fill(0, TensorType((1,), U32))
    return CONCATENATE(*_rounds(key, zero, zero), dimension=0)


def next_state(state: Node, shape: Shape) -> Node:
    """The same key, and its counter behind those that bits of ``shape`` take."""
    count = reshape(CONVERT(size_value(size_product(shape)), dtype=U64), (1,))
    return CONCATENATE(_part(state, 0), ADD(_part(state, 1), count), dimension=0)


def _part(pair: Node, k: int) -> Node:
    return SLICE(pair, start=(k,), limit=(k + 1,), strides=(1,))


def _words(wide: Node) -> tuple[Node, Node]:
    """The high and low words of u64 elements."""
    high = SHIFT_RIGHT_LOGICAL(wide, fill(32, wide.tensor))
    return CONVERT(high, dtype=U32), CONVERT(wide, dtype=U32)


def _counters(shape: Shape) -> tuple[Node, Node]:
    """The row-major position of every element, as high and low words."""
    total = size_product(shape)
    most = total.bounds[1] if isinstance(total, Dim) else total
    if most <= 1 << 32:
        position = _positions(shape, U32)
        return fill(0, position.tensor), position
    return _words(_positions(shape, U64))


def _positions(shape: Shape, dtype: DType) -> Node:
    """The row-major position of every element."""
    sizes: list[Size] = [1]
    for n in reversed(shape):
        sizes.append(sizes[-1] * n)
    strides = list(reversed(sizes[:-1]))
    position = fill(0, TensorType(shape, dtype))
    for axis, stride in enumerate(strides):
        index = IOTA(shape=shape, dtype=dtype, dimension=axis)
        factor = CONVERT(size_value(stride), dtype=dtype) if isinstance(stride, Dim) else constant(stride, dtype)
        position = ADD(position, MULTIPLY(index, broadcast_in_dim(factor, shape, ())))
    return position


def _rounds(key: Node, high: Node, low: Node) -> tuple[Node, Node]:
    shape, kind = high.shape, high.tensor
    first, second = (reshape(_part(key, k), ()) for k in (0, 1))
    third = XOR(XOR(first, second), constant(PARITY, U32))
    words = [broadcast_in_dim(w, shape, ()) for w in (first, second, third)]
    x, y = ADD(high, words[0]), ADD(low, words[1])
    for group in range(5):
        for r in ROTATIONS[group % 2]:
            x = ADD(x, y)
            y = XOR(OR(SHIFT_LEFT(y, fill(r, kind)), SHIFT_RIGHT_LOGICAL(y, fill(32 - r, kind))), x)
        x = ADD(x, words[(group + 1) % 3])
        y = ADD(ADD(y, words[(group + 2) % 3]), fill(group + 1, kind))
    return x, y
