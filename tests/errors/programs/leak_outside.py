"""A value kept from a trace and used outside of it."""

import mlc
import mlc.numpy as mnp

kept = {}


@mlc.jit
def step(x):
    kept["hidden"] = mnp.tanh(x)
    return x


step.lower(mlc.ShapeDtype((3,)))
print(kept["hidden"] + 1)
# error: leak_outside.py:16: print(kept["hidden"] + 1)
# error: a traced f32[3] was used outside of its trace: it is made at leak_outside.py:11: kept["hidden"] = mnp.tanh(x),
# error: and belongs to the trace of step, which has ended
# error: hint: return it from step or pass it in as an argument; globals and attributes cannot keep it
