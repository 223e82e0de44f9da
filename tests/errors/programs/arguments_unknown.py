"""A call with an argument that the function does not have."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x):
    return mnp.exp(x)


f.lower(mlc.ShapeDtype((3,)), scale=2.0)
# error: arguments_unknown.py:12: f.lower(mlc.ShapeDtype((3,)), scale=2.0)
# error: f: got an unexpected keyword argument 'scale'
# error: hint: it is f(x)
