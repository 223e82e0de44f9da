"""A jitted function that calls itself with nothing static to end at."""

import mlc


@mlc.jit
def countdown(x):
    return countdown(x - 1)


countdown(3.0)
# error: recursive.py:11: countdown(3.0)
# error: countdown: Python's recursion limit was reached while tracing
# error: hint: a call of itself has to end at a static argument; mlc.while_loop, fori_loop and scan repeat
