"""A comparison with None."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x):
    return mnp.equal(x, None)


f.lower(mlc.ShapeDtype((3,)))
# error: compare_none.py:9: return mnp.equal(x, None)
# error: equal: an array cannot be compared with None
# error: hint: `x is None` asks whether there is a value
