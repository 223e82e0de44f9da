"""Threefry-2x32 as graph arithmetic: the meaning of rng_bit_generator for kernels (Salmon et al. 2011)."""

from __future__ import annotations

from mlc.ir.dims import Dim, Size
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
    """``shape`` bits: element i from counter i, its high word first; the two words of a u32 are xored."""
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


def _counters(shape: Shape) -> tuple[Node, Node]:
    """The row-major position of every element, as high and low words."""
    sizes: list[Size] = [1]
    for n in reversed(shape):
        sizes.append(sizes[-1] * n)
    total, strides = sizes[-1], list(reversed(sizes[:-1]))
    most = total.bounds[1] if isinstance(total, Dim) else total
    dtype = U32 if most <= 1 << 32 else U64
    position = fill(0, TensorType(shape, dtype))
    for axis, stride in enumerate(strides):
        index = IOTA(shape=shape, dtype=dtype, dimension=axis)
        factor = CONVERT(size_value(stride), dtype=dtype) if isinstance(stride, Dim) else constant(stride, dtype)
        position = ADD(position, MULTIPLY(index, broadcast_in_dim(factor, shape, ())))
    if dtype == U32:
        return fill(0, position.tensor), position
    high = SHIFT_RIGHT_LOGICAL(position, fill(32, position.tensor))
    return CONVERT(high, dtype=U32), CONVERT(position, dtype=U32)


def _rounds(key: Node, high: Node, low: Node) -> tuple[Node, Node]:
    shape, kind = high.shape, high.tensor
    first, second = (
        reshape(SLICE(key, start=(i,), limit=(i + 1,), strides=(1,)), ()) for i in (0, 1)
    )  # the two words of the key
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
