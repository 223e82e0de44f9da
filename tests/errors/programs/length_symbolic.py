"""How many rows there are is known at the call only."""

import mlc


@mlc.jit
def mean(x):
    return x.sum() / len(x)


mean.lower(mlc.ShapeDtype((mlc.dim("batch", 1, 64), 3)))
# error: length_symbolic.py:8: return x.sum() / len(x)
# error: len: the first size, batch, is symbolic
# error: hint: x.shape[0] is that size, to compute with
