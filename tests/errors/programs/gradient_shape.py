"""A product that does not fit, in a function within a function that is differentiated."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def layer(weights, x):
    return mnp.tanh(weights @ x)


def loss(weights, x):
    return mnp.sum(layer(weights, x))


mlc.value_and_grad(loss)(mnp.ones((784, 10)), mnp.ones((32, 784)))
# error: gradient_shape.py:9: return mnp.tanh(weights @ x)
# error: dot_general: contracted dimensions differ: lhs is f32[784,10], rhs is f32[32,784];
# error: lhs axis 1 has 10, rhs axis 0 has 32
# error: hint: did you mean x @ weights ?
