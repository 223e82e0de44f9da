"""An argument kept from a trace."""

import mlc

kept = []


@mlc.jit
def step(params):
    kept.append(params["w"])
    return params


step.lower({"w": mlc.ShapeDtype((3,))})
if kept[0] > 0:
    print("positive")
# error: leak_argument.py:15: if kept[0] > 0:
# error: a traced f32[3] was used outside of its trace: it is argument params['w'] of step,
# error: and belongs to the trace of step, which has ended
# error: hint: return it from step or pass it in as an argument; globals and attributes cannot keep it
