"""A comparison with None."""

import mlc


@mlc.jit
def f(x):
    return x == None  # noqa: E711


f.lower(mlc.ShapeDtype((3,)))
# error: compare_none.py:8: return x == None  # noqa: E711
# error: equal: an array cannot be compared with None
# error: hint: `x is None` asks whether there is a value
