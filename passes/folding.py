"""Constant folding: what is computed of constants alone is computed now, where that is cheap and grows no memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlc.ir.dims import Dim
from mlc.ir.graph import (
    BROADCAST_IN_DIM,
    CONCATENATE,
    CONSTANT,
    DOT_GENERAL,
    GATHER,
    IOTA,
    OPS,
    PAD,
    REDUCE,
    RESHAPE,
    REVERSE,
    SLICE,
    TRANSPOSE,
    Node,
    constant,
)  # fmt: skip
from mlc.ir.types import TensorType

from .rewrite import of

MOST_WORK = 1 << 26  # operations of one node, a fraction of a second
MOST_MOVED = 1 << 16  # bytes of a constant that is only moved: kernels read a large one as it lies, at no cost
_ELEMENTWISE = tuple(op for op in OPS.values() if op.elementwise)
_MOVES = (TRANSPOSE, REVERSE, SLICE, PAD, CONCATENATE, GATHER)


@of(*_ELEMENTWISE, *_MOVES, RESHAPE, REDUCE, DOT_GENERAL)
def fold_constants(n: Node) -> Node | None:
    """An op of constant arrays (and numbers, repeated or counted) is a constant that is no larger than they are.

    Its value is the evaluator's: NaN, infinities and the sign of zero come out as the op's row says.
    """
    if all(_stored(o) is None for o in n.operands) or not _is_small_enough(n):
        return None
    arrays = [_value(o) for o in n.operands]
    if any(a is None for a in arrays):
        return None
    with np.errstate(all="ignore"):
        return constant(n.op.evaluate(n, n.shape, *arrays), n.dtype)


def _is_small_enough(n: Node) -> bool:
    if not isinstance(n.type, TensorType) or any(isinstance(size, Dim) for size in n.shape):
        return False
    bytes_of = [o["value"].array.nbytes for o in map(_stored, n.operands) if o is not None]
    size, work = n.tensor.size * n.dtype.itemsize, n.op.flops(n)
    most = MOST_MOVED if n.op in _MOVES else max(*bytes_of, 1)
    return isinstance(work, int) and work <= MOST_WORK and isinstance(size, int) and size <= most


def _stored(n: Node) -> Node | None:
    """The array that ``n`` is, or repeats; None for a number and for what is no constant."""
    n = n.operands[0] if n.op is BROADCAST_IN_DIM else n
    return n if n.op is CONSTANT and n.shape != () else None


def _value(n: Node) -> npt.NDArray[np.generic] | None:
    """The elements of a constant, or of what is made of one without memory."""
    if any(isinstance(size, Dim) for size in n.shape):
        return None
    if n.op is CONSTANT:
        value: npt.NDArray[np.generic] = n["value"].array
        return value
    if n.op is IOTA or (n.op is BROADCAST_IN_DIM and n.operands[0].op is CONSTANT):
        made: npt.NDArray[np.generic] = n.op.evaluate(n, n.shape, *(o["value"].array for o in n.operands))
        return made
    return None
