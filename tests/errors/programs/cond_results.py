"""Branches whose results have different shapes."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def f(x):
    return mlc.cond(x[0] > 0, lambda x: x, lambda x: x.sum(), x)


f(mnp.ones(3))
# error: cond_results.py:9: return mlc.cond(x[0] > 0, lambda x: x, lambda x: x.sum(), x)
# error: cond: result 0 of false_fun and of true_fun differ: f32[] and f32[3]
# error: hint: they have one shape: pad, slice, reduce or broadcast one of them
