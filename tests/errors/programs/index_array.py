"""An array as an index."""

import mlc


@mlc.jit
def embed(table, tokens):
    return table[tokens]


embed.lower(mlc.ShapeDtype((100, 8)), mlc.ShapeDtype((5,), "i64"))
# error: index_array.py:8: return table[tokens]
# error: getitem: an index of type Tracer; indices are ints, slices, ... and None
# error: hint: mlc.numpy.where(mask, x, 0) and mlc.nn.one_hot(i, n) @ x select by traced values
