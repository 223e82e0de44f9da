"""A sum over an axis that is not there."""

import mlc


@mlc.jit
def f(x):
    return x.sum(axis=2)


f.lower(mlc.ShapeDtype((3, 4)))
# error: axis.py:8: return x.sum(axis=2)
# error: sum: axis 2 is outside of operand f32[3,4], which has axes -2 to 1
# error: hint: axes count from 0 at the front, from -1 at the end
