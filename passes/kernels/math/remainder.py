"""The exact remainder of a float division (C's fmod): long division, a few bits of the quotient at a time."""

from __future__ import annotations

from mlc.ir.kernel import Value, Writer
from mlc.ir.types import I64
from mlc.passes.kernels.math.arithmetic import Lanes


def remainder(w: Writer, x: Value, y: Value) -> Value:
    """Of the sign of x; NaN for infinite x or zero y. As many rounds as the largest quotient needs."""
    m = Lanes.of(w, x)
    size, divisor = m.abs(x), m.abs(y)
    step = m.mantissa - 3
    x_exponent, x_mantissa = _split(m, size)
    y_exponent, y_mantissa = _split(m, divisor)
    zero = m.i(0)
    left = w.op("maximum", m.sub(x_exponent, y_exponent), zero)
    longest = w.convert(w.reduce("maximum", left) if m.lanes > 1 else left, I64)
    rounds = w.floordiv(w.index_of(longest), step) + 1
    with w.loop(0, rounds, carried=(x_mantissa, left)) as loop:
        r, left = loop.carried
        now = w.op("minimum", left, m.i(step))
        r = m.mul(r, m.power_of_two(now))
        quotient = w.op("floor", m.div(r, y_mantissa))
        r = m.fnma(quotient, y_mantissa, r)  # exact; the quotient may be 1 too large
        w.yield_(m.select(m.compare("LT", r, 0.0), m.add(r, y_mantissa), r), m.sub(left, now))
    result = m.with_sign_of(m.abs(m.scale(loop.results[0], y_exponent)), x)
    result = m.select(m.compare("LT", size, divisor), x, result)
    defined = w.op("and", m.compare("LT", size, float("inf")), m.compare("GT", divisor, 0.0))
    unknown = m.compare("NE", y, y)
    return m.select(w.op("and", defined, w.op("not", unknown)), result, float("nan"))


def _split(m: Lanes, x: Value) -> tuple[Value, Value]:
    """Exponent and mantissa in 1 .. 2 of a positive number."""
    subnormal = m.compare("LT", x, m.smallest_normal)
    shift = m.mantissa + 2
    bits = m.bits(m.select(subnormal, m.mul(x, m.c(2.0**shift)), x))
    exponent = m.sub(m.shift_right(bits, m.mantissa), m.i(m.bias))
    mantissa = m.writer.op("or", m.iand(bits, m.i((1 << m.mantissa) - 1)), m.bits(m.c(1.0)))
    w = m.writer
    return m.sub(exponent, w.select(subnormal, m.i(shift), m.i(0))), m.float(mantissa)
