"""The gradient of a count."""

import mlc
import mlc.numpy as mnp


def hits(weights, x):
    return mnp.sum((x @ weights > 0).astype("i32"))


@mlc.jit
def step(weights, x):
    return weights - mlc.grad(hits)(weights, x)


step.lower(mlc.ShapeDtype((3,)), mlc.ShapeDtype((4, 3)))
# error: gradient_value_type.py:8: return mnp.sum((x @ weights > 0).astype("i32"))
# error: grad of hits: the value is i64[], which has no derivative
# error: hint: the value is a float; integers and bools are steps, with slope zero everywhere
