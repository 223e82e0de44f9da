"""A scan whose carried value grows."""

import mlc
import mlc.numpy as mnp


def collect(seen, x):
    return mnp.concat([seen, x]), None


mlc.scan(collect, mnp.zeros(3), mnp.ones((5, 3)))
# error: scan_carry.py:8: return mnp.concat([seen, x]), None
# error: scan: collect: carried value changes its type: f32[3] and f32[6]
# error: hint: they have one shape: pad, slice, reduce or broadcast one of them
