"""Two conditions joined by `and`."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x, y):
    near = mnp.abs(x - y) < 1
    return mnp.where(near and x > 0, x, y)


f.lower(mlc.ShapeDtype((2,)), mlc.ShapeDtype((2,)))
# error: tracer_and.py:10: return mnp.where(near and x > 0, x, y)
# error: bool: `if`, `while`, `and`, `or` and `not` need a value, but this bool[2] is traced:
# error: it has none before the compiled function runs; it is made at tracer_and.py:9: near = mnp.abs(x - y) < 1
# error: hint: mlc.cond, mlc.while_loop and mlc.numpy.where take it, & | ~ combine; or make it static (static_argnames)
