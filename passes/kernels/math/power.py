"""x**y with the special cases of C99: e**(y log|x|) with a logarithm that is longer than the result."""

from __future__ import annotations

from mlc.ir.kernel import Value, Writer
from mlc.ir.types import F32, F64
from mlc.passes.kernels.math.arithmetic import Lanes
from mlc.passes.kernels.math.exponential import exponential, exponential_of_pair
from mlc.passes.kernels.math.logarithm import log, split_mantissa

# (2 atanh(s)/s - 2 - 2/3 s^2 - 2/5 s^4) / s^6 in s^2
_ATANH = (0.285714285714285959, 0.222222222221407138, 0.181818182260580360, 0.153846063927409916,
          0.133342017810554995, 0.117218209015038303, 0.115662502796007047)  # fmt: skip
_TWO_THIRDS = (float.fromhex("0x1.5555555555555p-1"), float.fromhex("0x1.5555555555555p-55"))
_LN2 = (float.fromhex("0x1.62e42fefa3p-1"), float.fromhex("0x1.3de6af278ece6p-42"))


def power(w: Writer, x: Value, y: Value) -> Value:
    m = Lanes.of(w, x)
    size = m.abs(x)
    if m.is_f32:
        wide = m.wide()
        exponent = wide.mul(w.convert(y, F64), log(w, w.convert(size, F64)))
        result = w.convert(exponential(w, exponent), F32)
    else:
        result = _power_f64(m, size, y)
    return _special(m, x, size, y, result)


def _power_f64(m: Lanes, size: Value, y: Value) -> Value:
    y = m.clamp(y, -(2.0**70), 2.0**70)
    high, low = _log_pair(m, size)
    product, error = m.two_product(y, high)
    error = m.fma(y, low, error)
    outside = m.compare("GT", m.abs(product), 760.0)
    return exponential_of_pair(m, product, m.select(outside, 0.0, error))


def _log_pair(m: Lanes, x: Value) -> tuple[Value, Value]:
    """log x to about 68 bits, for positive finite x: k ln 2 + 2 atanh(s) with s = (mantissa - 1) / (mantissa + 1)."""
    one = m.c(1.0)
    k, mantissa = split_mantissa(m, x)
    f = m.sub(mantissa, one)
    d = m.add(mantissa, one)
    d_low = m.sub(mantissa, m.sub(d, one))
    s = m.div(f, d)
    s_low = m.div(m.fnma(s, d_low, m.fnma(s, d, f)), d)
    z, z_low = m.two_product(s, s)
    z_low = m.fma(m.add(s, s), s_low, z_low)
    series = m.mul(z, m.fma(z, m.polynomial(z, _ATANH), m.c(0.4)))
    c, c_low = m.fast_two_sum(m.c(_TWO_THIRDS[0]), series)
    c_low = m.add(c_low, m.c(_TWO_THIRDS[1]))
    cube, cube_low = m.two_product(z, s)
    cube_low = m.sum(cube_low, m.mul(z, s_low), m.mul(z_low, s))
    u, u_low = m.two_product(cube, c)
    u_low = m.sum(u_low, m.mul(cube, c_low), m.mul(cube_low, c))
    a, a_low = m.fast_two_sum(m.add(s, s), u)
    a_low = m.sum(a_low, u_low, s_low, s_low)
    total, error = m.two_sum(m.mul(k, m.c(_LN2[0])), a)
    return m.fast_two_sum(total, m.sum(error, a_low, m.mul(k, m.c(_LN2[1]))))


def _special(m: Lanes, x: Value, size: Value, y: Value, result: Value) -> Value:
    w, infinity = m.writer, float("inf")
    whole = m.compare("EQ", w.op("floor", y), y)
    half = m.mul(y, m.c(0.5))
    odd = w.op("and", whole, m.compare("NE", w.op("floor", half), half))
    edge = w.op("or", m.compare("EQ", size, 0.0), m.compare("EQ", size, infinity))
    edge = w.op("or", edge, m.compare("EQ", m.abs(y), infinity))
    grows = w.op("not", w.op("xor", m.compare("GT", size, 1.0), m.compare("GT", y, 0.0)))
    result = m.select(edge, m.select(grows, infinity, 0.0), result)
    regular = w.op("and", m.compare("LT", size, infinity), m.compare("LT", x, 0.0))
    result = m.select(w.op("and", regular, w.op("not", whole)), float("nan"), result)
    result = m.select(odd, m.with_sign_of(m.abs(result), x), result)
    unknown = w.op("or", m.compare("NE", x, x), m.compare("NE", y, y))
    result = m.select(unknown, m.add(x, y), result)
    one = w.op("or", m.compare("EQ", x, 1.0), m.compare("EQ", y, 0.0))
    minus_one = w.op("and", m.compare("EQ", x, -1.0), m.compare("EQ", m.abs(y), infinity))
    return m.select(w.op("or", one, minus_one), 1.0, result)
