"""A sum of a matrix and its transpose's shape."""

import mlc


@mlc.jit
def f(x, y):
    return x + y


f.lower(mlc.ShapeDtype((2, 3)), mlc.ShapeDtype((3, 2)))
# error: broadcast_transposed.py:8: return x + y
# error: add: shapes do not broadcast: lhs is f32[2,3], rhs is f32[3,2];
# error: lhs axis 0 has 2, rhs axis 0 has 3
# error: hint: did you mean y.T ?
