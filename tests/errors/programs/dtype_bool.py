"""The difference of two conditions."""

import mlc


@mlc.jit
def f(x):
    return (x > 0) - (x < 0)


f.lower(mlc.ShapeDtype((3,)))
# error: dtype_bool.py:8: return (x > 0) - (x < 0)
# error: subtract: lhs is bool[3], rhs is bool[3]; bools have no difference
# error: hint: lhs ^ rhs is where they differ; .astype('i64') makes numbers
