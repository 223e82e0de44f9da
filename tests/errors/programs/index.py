"""An index outside of its axis."""

import mlc


@mlc.jit
def f(x):
    return x[0, 3]


f.lower(mlc.ShapeDtype((2, 3)))
# error: index.py:8: return x[0, 3]
# error: getitem: index 3 is outside of axis 1 of operand f32[2,3], which has indices -3 to 2
# error: hint: indices count from 0 at the front, from -1 at the end
