"""A join of arrays that differ in another axis."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x, y):
    return mnp.concat([x, y], axis=1)


f.lower(mlc.ShapeDtype((2, 3)), mlc.ShapeDtype((4, 3)))
# error: concat.py:9: return mnp.concat([x, y], axis=1)
# error: concat: f32[2,3] and f32[4,3] differ outside of axis 1: axis 0 has 2 and 4
# error: hint: did you mean axis=0 ?
