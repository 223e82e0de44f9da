"""A product of sizes that have nothing in common."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x, y):
    return mnp.matmul(x, y)


f.lower(mlc.ShapeDtype((2, 3)), mlc.ShapeDtype((5, 7)))
# error: matmul_unrelated.py:9: return mnp.matmul(x, y)
# error: dot_general: contracted dimensions differ: lhs is f32[2,3], rhs is f32[5,7];
# error: lhs axis 1 has 3, rhs axis 0 has 5
# error: hint: the last axis of lhs must be as long as the second to last of rhs
