"""Unsigned and signed 64-bit integers have no common type."""

import mlc


@mlc.jit
def f(x, y):
    return x - y


f.lower(mlc.ShapeDtype((3,), "u64"), mlc.ShapeDtype((3,), "i64"))
# error: dtype_no_common.py:8: return x - y
# error: subtract: u64 and i64 have no common element type: lhs is u64[3], rhs is i64[3]
# error: hint: convert one of them, for example with .astype('i64')
