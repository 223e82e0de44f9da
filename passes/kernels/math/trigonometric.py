"""sin, cos and tan: both polynomials on |r| <= pi/4, chosen and signed by the quadrant."""

from __future__ import annotations

from mlc.ir.kernel import Value, Writer
from mlc.passes.kernels.math.arithmetic import Lanes, Pair
from mlc.passes.kernels.math.reduction import reduce_half_pi

# (sin r - r) / r^3 and (cos r - 1 + r^2/2) / r^4, in r^2
_SIN_F32 = (-0.166666666636228319, 0.00833333178521769540, -0.000198400388725567477, 2.72437814094612291e-6)
_COS_F32 = (0.0416666666641272119, -0.00138888875973278112, 0.0000248005604299145035, -2.72958308276146156e-7)
_SIN_F64 = (-0.166666666666666667, 0.00833333333333333126, -0.000198412698412645659, 2.75573192189547623e-6,
            -2.50521061002559892e-8, 1.60585108753191949e-10, -7.58548648523593814e-13)  # fmt: skip
_COS_F64 = (0.0416666666666666667, -0.00138888888888888877, 0.0000248015873015843690, -2.75573192211891042e-7,
            2.08767557175844037e-9, -1.14704493544667726e-11, 4.74519880720287581e-14)  # fmt: skip


def sine(w: Writer, x: Value) -> Value:
    m = Lanes.of(w, x)
    s, c, quadrant = _sine_cosine(m, x)
    y = _negated(m, _bit(m, quadrant, 2), m.select(_bit(m, quadrant, 1), c[0], s[0]))
    return m.select(m.compare("EQ", x, 0.0), x, y)


def cosine(w: Writer, x: Value) -> Value:
    m = Lanes.of(w, x)
    s, c, quadrant = _sine_cosine(m, x)
    return _negated(m, _bit(m, m.add(quadrant, m.i(1)), 2), m.select(_bit(m, quadrant, 1), s[0], c[0]))


def tan(w: Writer, x: Value) -> Value:
    m = Lanes.of(w, x)
    s, c, quadrant = _sine_cosine(m, x)
    odd = _bit(m, quadrant, 1)
    above, below = m.choose(odd, (m.neg(c[0]), m.neg(c[1])), s), m.choose(odd, s, c)
    y = m.div(above[0], below[0])
    rest = m.add(m.fnma(y, below[0], above[0]), m.fnma(y, below[1], above[1]))
    y = m.add(y, m.div(rest, below[0]))
    return m.select(m.compare("EQ", x, 0.0), x, y)


def _sine_cosine(m: Lanes, x: Value) -> tuple[Pair, Pair, Value]:
    """Sine and cosine of the remainder as pairs, and the quadrant."""
    r, rest, quadrant = reduce_half_pi(m, x)
    z = m.mul(r, r)
    half = m.mul(z, m.c(0.5))
    one_less = m.sub(m.c(1.0), half)
    s = m.polynomial(z, _SIN_F32 if m.is_f32 else _SIN_F64)
    s_pair = m.fast_two_sum(r, m.fma(m.mul(r, z), s, m.mul(rest, one_less)))
    c = m.polynomial(z, _COS_F32 if m.is_f32 else _COS_F64)
    lost = m.sub(m.sub(m.c(1.0), one_less), half)
    c_pair = m.fast_two_sum(one_less, m.add(lost, m.fma(m.mul(z, z), c, m.neg(m.mul(r, rest)))))
    return s_pair, c_pair, quadrant


def _bit(m: Lanes, quadrant: Value, bit: int) -> Value:
    return m.writer.compare("NE", m.iand(quadrant, m.i(bit)), m.i(0))


def _negated(m: Lanes, mask: Value, x: Value) -> Value:
    return m.select(mask, m.neg(x), x)
