"""An einsum of sizes that differ."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x, y):
    return mnp.einsum("ij,jk->ik", x, y)


f.lower(mlc.ShapeDtype((2, 3)), mlc.ShapeDtype((4, 5)))
# error: einsum.py:9: return mnp.einsum("ij,jk->ik", x, y)
# error: einsum: sizes of 'j' differ: lhs 'ij' is f32[2,3], rhs 'jk' is f32[4,5];
# error: lhs axis 1 has 3, rhs axis 0 has 4
# error: hint: axes with one letter have one size
