"""A condition that depends on a traced value."""

import mlc


@mlc.jit
def relu(x):
    if x > 0:
        return x
    return 0 * x


relu.lower(mlc.ShapeDtype(()))
# error: tracer_if.py:8: if x > 0:
# error: bool: `if`, `while`, `and`, `or` and `not` need a value, but this bool[] is traced:
# error: it has none before the compiled function runs; it is made at tracer_if.py:8: if x > 0:
# error: hint: mlc.cond, mlc.while_loop and mlc.numpy.where take it, & | ~ combine; or make it static (static_argnames)
