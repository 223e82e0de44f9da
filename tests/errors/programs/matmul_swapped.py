"""A product whose operands are in the wrong order."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def layer(weight, x):
    return mnp.maximum(weight @ x + 1, 0)


layer.lower(mlc.ShapeDtype((784, 10)), mlc.ShapeDtype((32, 784)))
# error: matmul_swapped.py:9: return mnp.maximum(weight @ x + 1, 0)
# error: dot_general: contracted dimensions differ: lhs is f32[784,10], rhs is f32[32,784];
# error: lhs axis 1 has 10, rhs axis 0 has 32
# error: hint: did you mean x @ weight ?
