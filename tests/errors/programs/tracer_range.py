"""A loop over a traced number."""

import mlc


@mlc.jit
def power(x, n):
    for _ in range(n):
        x = x * x
    return x


power.lower(mlc.ShapeDtype(()), 3)
# error: tracer_range.py:8: for _ in range(n):
# error: index: a Python index, size or range needs a value, but this i64[] is traced:
# error: it has none before the compiled function runs; it is argument n of power
# error: hint: x.shape is known while tracing; an argument can be made static (static_argnames)
