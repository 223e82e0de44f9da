"""A traced mask as an index."""

import mlc


@mlc.jit
def positive(x):
    return x[x > 0]


positive.lower(mlc.ShapeDtype((100, 8)))
# error: index_array.py:8: return x[x > 0]
# error: getitem: a traced mask of bool[100,8]: how many elements it chooses is not known before the function runs
# error: hint: mlc.numpy.where(mask, x, 0) keeps the shape
