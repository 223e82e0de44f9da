"""A product whose right side has its axes the other way round."""

import mlc


@mlc.jit
def attention(q, k):
    scores = q @ k
    return mlc.nn.softmax(scores)


attention.lower(mlc.ShapeDtype((8, 64)), mlc.ShapeDtype((32, 64)))
# error: matmul_transposed.py:8: scores = q @ k
# error: dot_general: contracted dimensions differ: lhs is f32[8,64], rhs is f32[32,64];
# error: lhs axis 1 has 64, rhs axis 0 has 32
# error: hint: did you mean q @ k.T ?
