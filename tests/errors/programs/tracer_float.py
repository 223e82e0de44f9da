"""A Python number of a traced value."""

import math

import mlc


@mlc.jit
def f(x):
    return math.exp(x)


f.lower(mlc.ShapeDtype(()))
# error: tracer_float.py:10: return math.exp(x)
# error: float: float() needs a value, but this f32[] is traced:
# error: it has none before the compiled function runs; it is argument x of f
# error: hint: mlc.numpy has the functions of math; .astype('f32') converts a traced value
