"""The gradient of a loss for each example."""

import mlc
import mlc.numpy as mnp


def loss(weights, x, y):
    return mnp.square(x @ weights - y)


mlc.grad(loss)(mnp.ones(3), mnp.ones((4, 3)), mnp.ones(4))
# error: gradient_value_shape.py:8: return mnp.square(x @ weights - y)
# error: grad of loss: the value is f32[4], not one float
# error: hint: reduce it with .sum() or .mean(); mlc.vjp and mlc.jvp differentiate values of any shape
