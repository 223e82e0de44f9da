"""A value kept from one trace and used in the next."""

import mlc
import mlc.numpy as mnp

history = []


@mlc.jit
def step(x):
    hidden = mnp.tanh(x) * 2
    history.append(hidden)
    return hidden + history[0]


step.lower(mlc.ShapeDtype((3,)))
step.lower(mlc.ShapeDtype((4,)))
# error: leak_into_trace.py:13: return hidden + history[0]
# error: a traced f32[3] was used outside of its trace: it is made at leak_into_trace.py:11: hidden = mnp.tanh(x) * 2,
# error: and belongs to the trace of step, which has ended
# error: hint: return it from step or pass it in as an argument; globals and attributes cannot keep it
