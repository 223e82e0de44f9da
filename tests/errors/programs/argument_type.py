"""An argument that is no array."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x, mode):
    return mnp.exp(x)


f.lower(mlc.ShapeDtype((3,)), {"kind": "fast"})
# error: argument_type.py:12: f.lower(mlc.ShapeDtype((3,)), {"kind": "fast"})
# error: f: argument mode['kind'] is a str, not an array or a number
# error: hint: arrays are mlc.Array, NumPy arrays and traced values; make one with mlc.numpy.asarray
