"""The gradient of a loop whose trips depend on data."""

import mlc
import mlc.numpy as mnp


def settle(x):
    return mlc.while_loop(lambda x: mnp.sum(x) < 100, lambda x: x * 2, x)


mlc.grad(lambda x: mnp.sum(settle(x)))(mnp.ones(3))
# error: gradient_while.py:8: return mlc.while_loop(lambda x: mnp.sum(x) < 100, lambda x: x * 2, x)
# error: while: a gradient needs the values of every trip, and how many trips there are is not known before it runs
# error: hint: mlc.scan and mlc.fori_loop with Python integers as bounds have gradients; mlc.jvp goes through any loop
