"""cbrt: a third of the exponent from the bits, then Halley's iteration, which triples the right digits."""

from __future__ import annotations

import math

from mlc.ir.kernel import Value, Writer
from mlc.passes.kernels.math.arithmetic import Lanes

_THIRD_OF_BIAS = {True: 0x2A5137A0, False: 0x2A9F7893 << 32}  # two thirds of the bias, less what evens the error out
_KEPT_BITS = {True: 9, False: 13}  # those below do not count, and the others are exact as a float


def cube_root(w: Writer, x: Value) -> Value:
    m = Lanes.of(w, x)
    size = m.abs(x)
    tiny, huge = m.compare("LT", size, m.smallest_normal), m.compare("GT", size, 2.0 ** (m.bias - 2))
    step = 24 if m.is_f32 else 54  # of the exponent: a multiple of 3
    size = m.mul(size, m.select(tiny, 2.0**step, m.select(huge, 2.0**-step, 1.0)))
    back = m.select(tiny, 2.0 ** (-step // 3), m.select(huge, 2.0 ** (step // 3), 1.0))
    root = _guess(m, size)
    for _ in range(2 if m.is_f32 else 3):
        cube = m.mul(m.mul(root, root), root)
        part = m.div(m.sub(size, cube), m.add(m.add(cube, cube), size))
        root = m.fma(root, part, root)
    root = m.with_sign_of(m.mul(root, back), x)
    usual = m.writer.op("and", m.compare("GT", size, 0.0), m.compare("LT", size, math.inf))
    return m.select(usual, root, x)


def _guess(m: Lanes, size: Value) -> Value:
    """Right to 4 percent: the bits of a float are a line of its logarithm."""
    shift = _KEPT_BITS[m.is_f32]
    magic = m.bits(m.c(m.magic))
    number = m.sub(m.float(m.add(m.shift_right(m.bits(size), shift), magic)), m.c(m.magic))
    third = m.sub(m.bits(m.add(m.mul(number, m.c(1 / 3)), m.c(m.magic))), magic)
    return m.float(m.add(m.shift_left(third, shift), m.i(_THIRD_OF_BIAS[m.is_f32])))
