"""An activation kept while a loss is differentiated."""

import mlc
import mlc.numpy as mnp

kept = []


def loss(weights):
    hidden = mnp.tanh(weights)
    kept.append(hidden)
    return mnp.sum(hidden)


@mlc.jit
def step(weights):
    return weights - mlc.grad(loss)(weights)


step(mnp.ones(3))
print(float(kept[0][0]))
# error: leak_gradient.py:21: print(float(kept[0][0]))
# error: a traced f32[3] was used outside of its trace: it is made at leak_gradient.py:10: hidden = mnp.tanh(weights),
# error: and belongs to the trace of step, which has ended
# error: hint: return it from step or pass it in as an argument; globals and attributes cannot keep it
