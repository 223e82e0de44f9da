"""A shape with another number of elements."""

import mlc


@mlc.jit
def flatten(images):
    return images.reshape(32, 28 * 28)


flatten.lower(mlc.ShapeDtype((64, 28, 28)))
# error: reshape.py:8: return images.reshape(32, 28 * 28)
# error: reshape: operand f32[64,28,28] has 50176 elements, shape (32, 784) has 25088
# error: hint: one size may be -1: it is computed
