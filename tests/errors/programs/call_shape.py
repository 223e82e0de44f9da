"""A compiled function called with another shape."""

import mlc
import mlc.numpy as mnp

compiled = mlc.jit(mnp.exp).lower(mlc.ShapeDtype((3,))).compile()
compiled(mnp.ones(4))
# error: call_shape.py:7: compiled(mnp.ones(4))
# error: exp: input x: expected f32[3], got f32[4]; axis 0 has 4, not 3
# error: hint: lower it again for these arguments, or call the jitted function
