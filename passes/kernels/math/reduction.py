"""x modulo pi/2, right for every x: Cody-Waite with a pair as result, Payne-Hanek for large lanes."""

from __future__ import annotations

from mlc.ir.kernel import Value
from mlc.ir.types import F32, F64, I64, U64
from mlc.passes.kernels.math.arithmetic import Lanes

_TWO_OVER_PI = 0.63661977236758134308
_HALF_PI_F32 = tuple(map(float.fromhex, ("0x1.921fb6p+0", "-0x1.777a5cp-25", "-0x1.ee59dap-50")))
_HALF_PI_F64 = tuple(map(float.fromhex, ("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110")))
# The fraction of 2/pi in digits of 32 bits.
_DIGITS = (
    0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB, 0xDEBBC561, 0xB7246E3A,
    0x424DD2E0, 0x06492EEA, 0x09D1921C, 0xFE1DEB1C, 0xB129A73E, 0xE88235F5, 0x2EBB4484, 0xE99C7026, 0xB45F7E41,
    0x3991D639, 0x835339F4, 0x9C845F8B, 0xBDF9283B, 0x1FF897FF, 0xDE05980F, 0xEF2F118B, 0x5A0A6D1F, 0x6D367ECF,
    0x27CB09B7, 0x4F463F66, 0x9E5FEA2D, 0x7527BAC7, 0xEBE5F17B, 0x3D0739F7, 0x8A5292EA, 0x6BFB5FB1, 0x1F8D5D08,
    0x56033046, 0xFC7B6BAB, 0xF0CFBC20, 0x9AF4361D, 0xA9E39161, 0x5EE61B08,
)  # fmt: skip


def reduce_half_pi(m: Lanes, x: Value) -> tuple[Value, Value, Value]:
    """The remainder as a pair, |r| <= pi/4, and the quadrant as an integer of which the last two bits count.

    The slow way runs, as a loop of no or one iteration, only where a lane needs it.
    """
    r, rest, quadrant = _cody_waite(m, x)
    w, size = m.writer, m.abs(x)
    large = w.op("and", m.compare("GT", size, 1e5 if m.is_f32 else 1.6e6), m.compare("LT", size, float("inf")))
    some = w.index_of(w.convert(w.reduce("or", large) if m.lanes > 1 else large, I64))
    with w.loop(0, some, carried=(r, rest, quadrant)) as loop:
        exact = _payne_hanek(m, x)
        w.yield_(*(w.select(large, new, old) for new, old in zip(exact, loop.carried, strict=True)))
    r, rest, quadrant = loop.results
    return r, rest, quadrant


def _cody_waite(m: Lanes, x: Value) -> tuple[Value, Value, Value]:
    """The first product cancels exactly; the error of the second is kept in the pair."""
    shifted = m.fma(x, m.c(_TWO_OVER_PI), m.c(m.magic))
    n = m.sub(shifted, m.c(m.magic))
    first, second, third = (m.c(k) for k in (_HALF_PI_F32 if m.is_f32 else _HALF_PI_F64))
    head = m.fnma(n, first, x)
    product, error = m.two_product(n, second)
    r = m.sub(head, product)
    rest = m.sub(m.sub(m.sub(head, r), product), m.fma(n, third, error))
    return *m.fast_two_sum(r, rest), m.bits(shifted)


def _payne_hanek(m: Lanes, x: Value) -> tuple[Value, Value, Value]:
    """x (2/pi) modulo 4 in fixed point: only the digits of 2/pi that matter for the exponent of x are multiplied."""
    w = m.writer
    unsigned = _Digits(m)
    bits = unsigned.of(m.bits(m.abs(x)))
    exponent = unsigned.right(bits, m.mantissa)
    whole = w.op("or", unsigned.masked(bits, (1 << m.mantissa) - 1), unsigned.c(1 << m.mantissa))
    zeros, window = (1, 3) if m.is_f32 else (2, 6)
    # x = whole 2**(exponent - bias - mantissa); bits of 2/pi of weight 4 and more fall off in front.
    start = w.op("add", exponent, unsigned.c(32 * zeros - 2 - m.bias - m.mantissa))
    digits = unsigned.window(start, zeros, window)
    product = unsigned.multiply(digits, whole)
    top = unsigned.right(product[0], 30)
    high = unsigned.joined(product[0], product[1], product[2])
    rounded = unsigned.right(high, 63)
    quadrant = w.op("add", top, rounded)
    r, rest = _as_pair(m, w.bitcast(high, I64), unsigned.joined(*product[2:5]) if window == 6 else None)
    negative = m.compare("LT", x, 0.0)
    signed = [w.select(negative, m.neg(v), v) for v in (r, rest, w.convert(quadrant, m.integer))]
    return signed[0], signed[1], signed[2]


def _as_pair(m: Lanes, high: Value, low: Value | None) -> tuple[Value, Value]:
    """The fraction (high 2**64 + low) 2**-128 of pi/2."""
    w, wide = m.writer, m.wide()
    head = w.convert(high, F64)
    if low is None:
        exact = wide.mul(head, wide.c(_HALF_PI_F64[0] * 2.0**-64))
        r = w.convert(exact, F32)
        return r, w.convert(wide.sub(exact, w.convert(r, F64)), F32)
    lost = w.convert(w.op("subtract", high, w.convert(head, I64)), F64)
    tail = wide.fma(w.convert(low, F64), wide.c(2.0**-64), lost)
    product, error = wide.two_product(head, wide.c(_HALF_PI_F64[0]))
    error = wide.fma(tail, wide.c(_HALF_PI_F64[0]), wide.fma(head, wide.c(_HALF_PI_F64[1]), error))
    r, rest = wide.fast_two_sum(product, error)
    return wide.mul(r, wide.c(2.0**-64)), wide.mul(rest, wide.c(2.0**-64))


class _Digits:
    """Arithmetic with digits of 32 bits in lanes of u64, most significant digit first."""

    def __init__(self, m: Lanes) -> None:
        self.m = m
        self.w = m.writer

    def of(self, x: Value) -> Value:
        return self.w.convert(x, U64)

    def c(self, number: int) -> Value:
        return self.w.constant(number % (1 << 64), U64, self.m.lanes)

    def right(self, x: Value, by: int) -> Value:
        return self.w.op("shift_right_logical", x, self.c(by))

    def left(self, x: Value, by: int) -> Value:
        return self.w.op("shift_left", x, self.c(by))

    def masked(self, x: Value, mask: int) -> Value:
        return self.w.op("and", x, self.c(mask))

    def joined(self, a: Value, b: Value, c: Value) -> Value:
        """64 bits from bit 2 of ``a`` on."""
        return self.w.op("or", self.w.op("or", self.left(a, 34), self.left(b, 2)), self.right(c, 30))

    def window(self, start: Value, zeros: int, count: int) -> list[Value]:
        """``count`` digits from bit ``start`` of 2/pi on, behind ``zeros`` zero digits: a shift by halves."""
        w = self.w
        largest = (32 * zeros - 2 - self.m.bias - self.m.mantissa + 2 * self.m.bias) // 32
        table = [0] * zeros + list(_DIGITS)
        digits = [self.c(d) for d in table[: largest + count + 1]]
        number = self.right(start, 5)
        step = 1 << (largest.bit_length() - 1)
        while step:
            far = w.compare("NE", self.masked(number, step), self.c(0))
            kept = min(len(digits), count + step)
            padded = digits + [self.c(0)] * step
            digits = [w.select(far, padded[k + step], padded[k]) for k in range(kept)]
            step //= 2
        by = w.op("subtract", self.c(32), self.masked(start, 31))
        pairs = (w.op("or", self.left(digits[k], 32), digits[k + 1]) for k in range(count))
        return [self.masked(w.op("shift_right_logical", p, by), 0xFFFFFFFF) for p in pairs]

    def multiply(self, digits: list[Value], whole: Value) -> list[Value]:
        """The product modulo the weight in front of the first digit."""
        columns: list[list[Value]] = [[] for _ in digits]
        factors = [self.masked(whole, 0xFFFFFFFF)]
        if not self.m.is_f32:
            factors.append(self.right(whole, 32))
        for place, factor in enumerate(factors):
            for k, digit in enumerate(digits):
                product = self.w.op("multiply", digit, factor)
                if k - place >= 0:
                    columns[k - place].append(self.masked(product, 0xFFFFFFFF))
                if k - place >= 1:
                    columns[k - place - 1].append(self.right(product, 32))
        result, carry = [], self.c(0)
        for column in reversed(columns):
            total = carry
            for part in column:
                total = self.w.op("add", total, part)
            result.append(self.masked(total, 0xFFFFFFFF))
            carry = self.right(total, 32)
        return result[::-1]
