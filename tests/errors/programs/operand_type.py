"""An operand that is no array."""

import mlc


@mlc.jit
def f(x):
    return x + "1"


f.lower(mlc.ShapeDtype((3,)))
# error: operand_type.py:8: return x + "1"
# error: add: operand is a str, not an array or a number
# error: hint: arrays are mlc.Array, NumPy arrays and traced values; make one with mlc.numpy.asarray
