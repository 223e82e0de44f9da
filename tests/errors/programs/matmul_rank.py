"""A product with a number."""

import mlc


@mlc.jit
def f(x):
    return x @ 2.0


f.lower(mlc.ShapeDtype((2, 3)))
# error: matmul_rank.py:8: return x @ 2.0
# error: matmul: lhs is f32[2,3], rhs is f32[]; rhs has rank 0
# error: hint: use * with numbers
