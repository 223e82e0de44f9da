"""A bias for each row where one for each column is meant."""

import mlc


@mlc.jit
def scale(x, per_row):
    return x * per_row


scale.lower(mlc.ShapeDtype((32, 10)), mlc.ShapeDtype((32,)))
# error: broadcast.py:8: return x * per_row
# error: multiply: shapes do not broadcast: lhs is f32[32,10], rhs is f32[32];
# error: lhs axis 1 has 10, rhs axis 0 has 32
# error: hint: did you mean per_row[..., None] ?
