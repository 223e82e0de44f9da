"""The transposed matrix of a vector."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x):
    return mnp.matrix_transpose(x)


f.lower(mlc.ShapeDtype((3,)))
# error: rank.py:9: return mnp.matrix_transpose(x)
# error: matrix_transpose: operand is f32[3]; it needs at least two axes
# error: hint: x[:, None] is a column, x[None] a row
