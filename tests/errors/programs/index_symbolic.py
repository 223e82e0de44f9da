"""A part of an axis whose size is known at the call only."""

import mlc


@mlc.jit
def first(x):
    return x[2:]


first.lower(mlc.ShapeDtype((mlc.dim("batch", 1, 64), 3)))
# error: index_symbolic.py:8: return x[2:]
# error: getitem: axis 0 of operand f32[batch,3] is symbolic, at least 1: no formula gives the length of this slice
# error: hint: mask what is not wanted with mlc.numpy.where, or compile for a fixed size
