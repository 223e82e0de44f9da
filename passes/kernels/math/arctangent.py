"""atan2: the angle of (x, y) from a quotient of at most tan(pi/8) and a polynomial."""

from __future__ import annotations

import math

from mlc.ir.kernel import Value, Writer
from mlc.passes.kernels.math.arithmetic import Lanes

# (atan z - z) / z^3 in z^2, for z in [0, tan(pi/8)]
_ATAN_F32 = (-0.333333332792245395, 0.199999772482335304, -0.142841506297302882, 0.110713545712013515,
             -0.0862459821519612667, 0.0504793743204009103)  # fmt: skip
_ATAN_F64 = (-0.333333333333333332, 0.199999999999998043, -0.142857142856597778, 0.111111111051505879,
             -0.0909090875325911294, 0.0769229636804229712, -0.0666642476020052014, 0.0587892755447380676,
             -0.0523044364068694771, 0.0455154473402216165, -0.0345693150633260898, 0.0162843750500433944)  # fmt: skip
_REST_OF_PI = {True: -8.742277657347586e-08, False: 1.2246467991473532e-16}  # pi less its f32 or f64


def atan2(w: Writer, y: Value, x: Value) -> Value:
    m = Lanes.of(w, x)
    across, up = m.abs(x), m.abs(y)
    steep = m.compare("GT", up, across)
    long, short = m.select(steep, up, across), m.select(steep, across, up)
    angle = _first_octant(m, short, long)
    pi = math.pi if not m.is_f32 else 3.1415927410125732
    rest = _REST_OF_PI[m.is_f32]
    angle = m.select(steep, m.sub(m.c(pi / 2), m.sub(angle, m.c(rest / 2))), angle)
    left = w.compare("LT", m.bits(x), m.i(0))
    angle = m.select(left, m.sub(m.c(pi), m.sub(angle, m.c(rest))), angle)
    nan = w.op("or", m.compare("NE", x, x), m.compare("NE", y, y))
    return m.select(nan, m.add(x, y), m.with_sign_of(angle, y))


def _first_octant(m: Lanes, short: Value, long: Value) -> Value:
    """atan(short / long) for 0 <= short <= long: of z, or pi/4 + atan z with z = (short - long) / (short + long)."""
    info = 2.0 ** (m.bias - 1)
    huge = m.compare("GT", long, info)  # their sum would overflow
    short, long = m.select(huge, m.mul(short, m.c(0.25)), short), m.select(huge, m.mul(long, m.c(0.25)), long)
    above_eighth = m.compare("GT", short, m.mul(long, m.c(math.tan(math.pi / 8))))
    less, more = m.fast_two_sum(long, m.neg(short)), m.fast_two_sum(long, short)
    zero = m.c(0.0)
    over = m.choose(above_eighth, (m.neg(less[0]), m.neg(less[1])), (short, zero))
    under = m.choose(above_eighth, more, (long, zero))
    z = m.div(over[0], under[0])
    lost = m.add(m.fnma(z, under[0], over[0]), m.fnma(z, under[1], over[1]))
    square = m.mul(z, z)
    tail = m.fma(m.mul(square, z), m.polynomial(square, _ATAN_F32 if m.is_f32 else _ATAN_F64), m.div(lost, under[0]))
    pi = math.pi if not m.is_f32 else 3.1415927410125732
    base = m.select(above_eighth, pi / 4, 0.0)
    rest = m.select(above_eighth, _REST_OF_PI[m.is_f32] / 4, 0.0)
    angle = m.add(base, m.add(z, m.add(tail, rest)))
    angle = m.select(m.compare("EQ", short, math.inf), pi / 4, angle)  # both are infinite
    angle = m.select(m.compare("EQ", long, math.inf), m.select(m.compare("EQ", short, math.inf), pi / 4, 0.0), angle)
    return m.select(m.compare("EQ", long, 0.0), 0.0, angle)
