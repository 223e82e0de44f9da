"""A NumPy function on a traced value."""

import numpy as np

import mlc


@mlc.jit
def f(x):
    return np.exp(x)


f.lower(mlc.ShapeDtype((3,)))
# error: tracer_numpy.py:10: return np.exp(x)
# error: asarray: NumPy needs a value, but this f32[3] is traced:
# error: it has none before the compiled function runs; it is argument x of f
# error: hint: use the function of mlc.numpy, or return the value and convert it outside
