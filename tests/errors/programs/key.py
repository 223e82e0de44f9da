"""A seed where a key is meant."""

import mlc


@mlc.jit
def noise(x):
    return x + mlc.random.normal(0, x.shape)


noise.lower(mlc.ShapeDtype((3,)))
# error: key.py:8: return x + mlc.random.normal(0, x.shape)
# error: normal: the key is i64[], not u32[2]
# error: hint: make one with mlc.random.key(seed)
