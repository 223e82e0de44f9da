"""A call without an argument."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x, y):
    return mnp.add(x, y)


f.lower(mlc.ShapeDtype((3,)))
# error: arguments_missing.py:12: f.lower(mlc.ShapeDtype((3,)))
# error: f: missing a required argument: 'y'
# error: hint: it is f(x, y)
