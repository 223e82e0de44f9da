"""An array used after it was donated."""

import mlc
import mlc.numpy as mnp

step = mlc.jit(lambda x: x + 1, donate_argnames="x")
x = mnp.ones(3)
step(x)
print(x * 2)
# error: donated.py:9: print(x * 2)
# error: multiply: input x1: this array (f32[3]) was donated to a call, which took over its memory
# error: hint: go on with the call's result, or leave the argument out of donate_argnames
