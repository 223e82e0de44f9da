"""A loop that starts with an integer and goes on with a float."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def halve(n):
    return mlc.while_loop(lambda n: n > 1, lambda n: n / 2, n)


halve(mnp.asarray(1024))
# error: while_carry.py:9: return mlc.while_loop(lambda n: n > 1, lambda n: n / 2, n)
# error: while_loop: <lambda>: carried value changes its type: i64[] and f32[]
# error: hint: convert it with .astype('i64')
