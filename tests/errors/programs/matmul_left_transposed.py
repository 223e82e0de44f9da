"""A product whose left side has its axes the other way round, in a batch."""

import mlc


@mlc.jit
def gradient(x, d):
    return x @ d


gradient.lower(mlc.ShapeDtype((4, 32, 784)), mlc.ShapeDtype((32, 10)))
# error: matmul_left_transposed.py:8: return x @ d
# error: dot_general: contracted dimensions differ: lhs is f32[4,32,784], rhs is f32[32,10];
# error: lhs axis 2 has 784, rhs axis 0 has 32
# error: hint: did you mean x.mT @ d ?
