"""log and log1p: x = 2**k (1 + f) with 1 + f in sqrt(1/2) .. sqrt(2), and a polynomial in f."""

from __future__ import annotations

from mlc.ir.kernel import Value, Writer
from mlc.passes.kernels.math.arithmetic import Lanes

# (log(1+f) - f + f^2/2) / f^3
_F32 = (0.33333331180030048, -0.24999996957950882, 0.200007157488921017, -0.166678023195012541, 0.142490576456974804,
        -0.124256873314511061, 0.116854199234867393, -0.114797338466376356, 0.0697161147145117783)  # fmt: skip
# (2 atanh(s)/s - 2) / s^2 in s^2, where s = f / (2 + f)
_F64 = (0.666666666666666665, 0.400000000000008770, 0.285714285708036118, 0.222222223917139174, 0.181817956401329063,
        0.153862397028146582, 0.132687731386568852, 0.130866261478401021)  # fmt: skip
_LN2_F32 = (float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cf79abcap-20"))  # k times the first is exact
_LN2_F64 = (float.fromhex("0x1.62e42fefa3p-1"), float.fromhex("0x1.3de6af278ece6p-42"))


def log(w: Writer, x: Value) -> Value:
    m = Lanes.of(w, x)
    k, f = split_exponent(m, x)
    return _special(m, x, _combine(m, k, f, None))


def log_plus_one(w: Writer, x: Value) -> Value:
    """log(u) + (x - (u - 1)) / u with u = 1 + x rounded; where the exponent of u is 0, f is x itself."""
    m = Lanes.of(w, x)
    u = m.add(m.c(1.0), x)
    k, f = split_exponent(m, u)
    lost = m.select(m.compare("GE", x, 1.0), m.sub(m.c(1.0), m.sub(u, x)), m.sub(x, m.sub(u, m.c(1.0))))
    exact = m.compare("EQ", k, 0.0)
    f = m.select(exact, x, f)
    y = _special(m, u, _combine(m, k, f, m.select(exact, 0.0, m.div(lost, u))))
    return m.select(m.compare("LT", m.abs(x), 2.0 ** -(m.mantissa + 2)), x, y)


def split_exponent(m: Lanes, x: Value) -> tuple[Value, Value]:
    """k (a float) and f of x = 2**k (1 + f), for positive finite x, subnormals too."""
    k, mantissa = split_mantissa(m, x)
    return k, m.sub(mantissa, m.c(1.0))


def split_mantissa(m: Lanes, x: Value) -> tuple[Value, Value]:
    subnormal = m.compare("LT", x, m.smallest_normal)
    shift = m.mantissa + 2
    x = m.select(subnormal, m.mul(x, m.c(2.0**shift)), x)
    root = m.bits(m.c(0.5**0.5))
    exponent = m.shift_right(m.sub(m.bits(x), root), m.mantissa)
    mantissa = m.float(m.sub(m.bits(x), m.shift_left(exponent, m.mantissa)))
    k = m.writer.convert(exponent, m.dtype)
    return m.sub(k, m.select(subnormal, float(shift), 0.0)), mantissa


def _combine(m: Lanes, k: Value, f: Value, tail: Value | None) -> Value:
    """k ln 2 + log(1 + f) + tail, small parts first."""
    high, low = (m.c(c) for c in (_LN2_F32 if m.is_f32 else _LN2_F64))
    half_square = m.mul(m.mul(m.c(0.5), f), f)
    small = m.mul(k, low) if tail is None else m.fma(k, low, tail)
    if m.is_f32:
        small = m.fma(m.mul(m.mul(f, f), f), m.polynomial(f, _F32), small)
    else:
        s = m.div(f, m.add(m.c(2.0), f))
        z = m.mul(s, s)
        small = m.fma(s, m.fma(z, m.polynomial(z, _F64), half_square), small)
    return m.fma(k, high, m.sub(f, m.sub(half_square, small)))


def _special(m: Lanes, x: Value, y: Value) -> Value:
    """-inf at zero, NaN below and for NaN, inf at inf."""
    regular = m.writer.op("and", m.compare("GT", x, 0.0), m.compare("LT", x, float("inf")))
    zero = m.select(m.compare("EQ", x, 0.0), float("-inf"), x)
    outside = m.select(m.compare("LT", x, 0.0), float("nan"), zero)
    return m.select(regular, y, outside)
