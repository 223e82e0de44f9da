"""A Python integer of a traced value."""

import mlc


@mlc.jit
def f(x):
    return int(x) + 1


f.lower(mlc.ShapeDtype((), "i64"))
# error: tracer_int.py:8: return int(x) + 1
# error: int: int() needs a value, but this i64[] is traced:
# error: it has none before the compiled function runs; it is argument x of f
# error: hint: .astype('i64') converts a traced value
