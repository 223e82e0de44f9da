"""A result that is no array."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x):
    return {"value": mnp.exp(x), "names": ["exp"]}


f.lower(mlc.ShapeDtype((3,)))
# error: output_type.py:12: f.lower(mlc.ShapeDtype((3,)))
# error: f: ['names'][0] of its result is of type str, which a compiled function cannot return
# error: hint: results are arrays and numbers, in dict, list, tuple, dataclass or None
