"""An element assigned to."""

import mlc


@mlc.jit
def f(x):
    x[0] = 1.0
    return x


f.lower(mlc.ShapeDtype((3,)))
# error: tracer_assigned.py:8: x[0] = 1.0
# error: setitem: f32[3] cannot be assigned to: values do not change
# error: hint: x = x.at[key].set(value) makes the changed value, mlc.numpy.where(mask, new, old) too
