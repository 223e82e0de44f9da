"""exp, expm1, tanh and logistic: x = n ln 2 + r, a polynomial in r, and the exponent n put in by integer arithmetic."""

from __future__ import annotations

from mlc.ir.kernel import Value, Writer
from mlc.passes.kernels.math.arithmetic import Lanes, Pair

# (e^r - 1 - r) / r^2 on |r| <= ln(2)/2
_F32 = (0.500000001428622342, 0.166666666825343561, 0.041666456809677876, 0.00833331002422529243,
        0.00139345419282702645, 0.000198919813139776902)  # fmt: skip
_F64 = (0.5, 0.166666666666666667, 0.0416666666666666778, 0.00833333333333333408, 0.00138888888888782690,
        0.000198412698412627626, 0.0000248015873385653456, 2.75573192486338255e-6, 2.75572610293437687e-7,
        2.50520695947956848e-8, 2.09189618377957781e-9, 1.60871772343807823e-10)  # fmt: skip
# (tanh(x)/x - 1) / x^2 in x^2 for |x| < 0.625, from Cephes
_TANH_F32 = (-3.33332819422e-1, 1.33314422036e-1, -5.37397155531e-2, 2.06390887954e-2, -5.70498872745e-3)
_LOG2_E = 1.4426950408889634074
_LN2_F32 = (float.fromhex("0x1.62e43p-1"), float.fromhex("-0x1.05c61p-29"))
_LN2_F64 = (float.fromhex("0x1.62e42fefa39efp-1"), float.fromhex("0x1.abc9e3b39803fp-56"))


def exponential(w: Writer, x: Value) -> Value:
    return exponential_of_pair(Lanes.of(w, x), x, None)


def exponential_of_pair(m: Lanes, x: Value, tail: Value | None) -> Value:
    """e**(x + tail) for a small tail; overflows and becomes subnormal as it should."""
    r, rest, exponent = _exponential_argument(m, x)
    if tail is None:
        p = m.fma(m.mul(r, r), _series(m, r), r)
    else:
        r, rest = m.fast_two_sum(r, m.add(rest, tail))
        p = m.add(r, m.fma(m.mul(r, r), _series(m, r), rest))
    return m.scale(m.add(m.c(1.0), p), exponent)


def _exponential_argument(m: Lanes, x: Value) -> tuple[Value, Value, Value]:
    x = m.clamp(x, -104.5, 89.5) if m.is_f32 else m.clamp(x, -746.0, 710.5)
    n, exponent = _whole_part(m, x)
    return *_reduced(m, x, n), exponent


def _series(m: Lanes, r: Value) -> Value:
    return m.polynomial(r, _F32 if m.is_f32 else _F64)


def exponential_minus_one(w: Writer, x: Value) -> Value:
    return _expm1(Lanes.of(w, x), x)


def tanh(w: Writer, x: Value) -> Value:
    """An odd polynomial near zero (f32), or expm1(2|x|) as a pair (f64); 1 - 2 / (exp(2|x|) + 1) beyond."""
    m = Lanes.of(w, x)
    size = m.abs(x)
    limit = 10.0 if m.is_f32 else 20.0
    limited = m.select(m.compare("GT", size, limit), limit, size)
    return m.with_sign_of(_tanh_f32(m, limited) if m.is_f32 else _tanh_f64(m, limited), x)


def _tanh_f32(m: Lanes, size: Value) -> Value:
    square = m.mul(size, size)
    near = m.fma(m.mul(size, square), m.polynomial(square, _TANH_F32), size)
    grown = exponential_of_pair(m, m.add(size, size), None)
    far = m.sub(m.c(1.0), m.div(m.c(2.0), m.add(grown, m.c(1.0))))
    return m.select(m.compare("LT", size, 0.625), near, far)


def _tanh_f64(m: Lanes, size: Value) -> Value:
    """-t / (t + 2) with t = expm1(-2|x|) below 1, the quotient corrected by its remainder."""
    small = m.compare("LT", size, 1.0)
    doubled = m.add(size, size)
    t, t_low = _expm1_pair(m, m.select(small, m.neg(doubled), doubled))
    zero = m.c(0.0)
    above = m.choose(small, (m.neg(t), m.neg(t_low)), (m.c(2.0), zero))
    below = m.two_sum(m.c(2.0), t)
    inverse = m.div(m.c(1.0), below[0])
    q = m.mul(above[0], inverse)
    lost = m.sub(above[1], m.mul(q, m.add(below[1], t_low)))
    q = m.fma(m.add(m.fnma(q, below[0], above[0]), lost), inverse, q)
    return m.abs(m.select(small, q, m.sub(m.c(1.0), q)))


def logistic(w: Writer, x: Value) -> Value:
    """1 / (1 + t) or t / (1 + t) with t = exp(-|x|), which cannot overflow; t is a pair, the quotient is corrected."""
    m = Lanes.of(w, x)
    one, zero = m.c(1.0), m.c(0.0)
    r, rest, exponent = _exponential_argument(m, m.neg(m.abs(x)))
    t, t_low = m.fast_two_sum(one, m.add(r, m.fma(m.mul(r, r), _series(m, r), rest)))
    t, t_low = m.scale(t, exponent), m.scale(t_low, exponent)
    above = m.choose(m.compare("LT", x, 0.0), (t, t_low), (one, zero))
    d, d_low = m.fast_two_sum(one, t)
    inverse = m.div(one, d)
    q = m.mul(above[0], inverse)
    rest = m.fnma(q, m.add(d_low, t_low), above[1])
    return m.fma(m.add(m.fnma(q, d, above[0]), rest), inverse, q)


def _expm1(m: Lanes, x: Value) -> Value:
    tiny = m.compare("LT", m.abs(x), 2.0 ** -(m.mantissa + 2))
    clamped = m.clamp(x, -20.0, 88.9) if m.is_f32 else m.clamp(x, -40.0, 710.0)
    n, exponent = _whole_part(m, clamped)
    r, rest = _reduced(m, clamped, n)
    q = _series(m, r)
    half = m.power_of_two(m.sub(exponent, m.i(1)))  # 2**n itself may overflow
    y = m.fma(half, m.fma(m.mul(r, r), q, rest), m.fma(half, r, m.sub(half, m.c(0.5))))
    return m.select(tiny, x, m.add(y, y))


def _expm1_pair(m: Lanes, x: Value) -> Pair:
    """For arguments that neither overflow nor lose bits."""
    n, exponent = _whole_part(m, x)
    r, rest = _reduced(m, x, n)
    q = _series(m, r)
    scale = m.power_of_two(exponent)
    y, y_low = m.fast_two_sum(m.sub(scale, m.c(1.0)), m.mul(scale, r))
    return m.fast_two_sum(y, m.fma(scale, m.fma(m.mul(r, r), q, rest), y_low))


def _whole_part(m: Lanes, x: Value) -> tuple[Value, Value]:
    """n = x / ln 2 rounded, as a float and as an integer."""
    shifted = m.fma(x, m.c(_LOG2_E), m.c(m.magic))
    return m.sub(shifted, m.c(m.magic)), m.sub(m.bits(shifted), m.bits(m.c(m.magic)))


def _reduced(m: Lanes, x: Value, n: Value) -> tuple[Value, Value]:
    """x - n ln 2 as a pair."""
    high, low = (m.c(k) for k in (_LN2_F32 if m.is_f32 else _LN2_F64))
    first = m.fnma(n, high, x)
    r = m.fnma(n, low, first)
    return r, m.fnma(n, low, m.sub(first, r))
