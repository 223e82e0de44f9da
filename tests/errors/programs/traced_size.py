"""A shape that is not known while tracing."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def zeros(n):
    return mnp.zeros(n)


zeros(3)
# error: traced_size.py:9: return mnp.zeros(n)
# error: index: a Python index, size or range needs a value, but this i64[] is traced:
# error: it has none before the compiled function runs; it is argument n of zeros
# error: hint: x.shape is known while tracing; an argument can be made static (static_argnames)
