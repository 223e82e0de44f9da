"""Two batches that may differ."""

import mlc
import mlc.numpy as mnp

m, n = mlc.dim("m", 1, 8), mlc.dim("n", 1, 8)


@mlc.jit
def f(x, y):
    return mnp.where(x > 0, x, y)


f.lower(mlc.ShapeDtype((m, 3)), mlc.ShapeDtype((n, 3)))
# error: broadcast_symbolic.py:11: return mnp.where(x > 0, x, y)
# error: where: shapes do not broadcast: lhs is f32[m,3], rhs is f32[n,3];
# error: lhs axis 0 has m, rhs axis 0 has n
# error: hint: sizes must be equal or 1, counted from the last axis; x[..., None] adds an axis of 1
