"""A number that the array's type cannot hold."""

import mlc


@mlc.jit
def f(x):
    return x + 300


f.lower(mlc.ShapeDtype((3,), "u8"))
# error: dtype_range.py:8: return x + 300
# error: add: operand 300 does not fit in u8, which holds 0 to 255
# error: hint: convert the array to a wider type with .astype
