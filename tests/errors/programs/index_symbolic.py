"""A part of an axis whose size is known at the call only."""

import mlc


@mlc.jit
def first(x):
    return x[1:]


first.lower(mlc.ShapeDtype((mlc.dim("batch", 1, 64), 3)))
# error: index_symbolic.py:8: return x[1:]
# error: getitem: axis 0 of operand f32[batch,3] is symbolic and can only be taken whole
# error: hint: mask what is not wanted with mlc.numpy.where, or compile for a fixed size
