"""Short names for writing formulas over lanes of one float type, and its layout in bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.ir.kernel import Value, Writer
from mlc.ir.types import F32, F64, I32, I64, DType

Pair = tuple[Value, Value]


@dataclass(frozen=True, slots=True)
class Lanes:
    """Writes arithmetic on values of ``dtype`` (f32 or f64) and on integers of the same width."""

    writer: Writer
    dtype: DType
    lanes: int

    @staticmethod
    def of(writer: Writer, x: Value) -> Lanes:
        return Lanes(writer, x.dtype, x.lanes)

    def wide(self) -> Lanes:
        """The same lanes of f64."""
        return Lanes(self.writer, F64, self.lanes)

    # The type

    @property
    def is_f32(self) -> bool:
        return self.dtype == F32

    @property
    def integer(self) -> DType:
        return I32 if self.is_f32 else I64

    @property
    def mantissa(self) -> int:
        """Bits of the mantissa that are stored."""
        return 23 if self.is_f32 else 52

    @property
    def bias(self) -> int:
        return 127 if self.is_f32 else 1023

    @property
    def smallest_normal(self) -> float:
        return float(2.0 ** (1 - self.bias))

    @property
    def magic(self) -> float:
        """Adding it rounds a small number to an integer, which is then in the low bits."""
        return float(1.5 * 2.0**self.mantissa)

    # Floats

    def c(self, number: float) -> Value:
        return self.writer.constant(number, self.dtype, self.lanes)

    def add(self, x: Value, y: Value) -> Value:
        return self.writer.op("add", x, y)

    def sub(self, x: Value, y: Value) -> Value:
        return self.writer.op("subtract", x, y)

    def mul(self, x: Value, y: Value) -> Value:
        return self.writer.op("multiply", x, y)

    def div(self, x: Value, y: Value) -> Value:
        return self.writer.op("divide", x, y)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x*y + z, rounded once."""
        return self.writer.op("fma", x, y, z)

    def fnma(self, x: Value, y: Value, z: Value) -> Value:
        """z - x*y, rounded once."""
        return self.fma(self.neg(x), y, z)

    def neg(self, x: Value) -> Value:
        return self.writer.op("negate", x)

    def abs(self, x: Value) -> Value:
        return self.writer.op("abs", x)

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Horner's rule, lowest coefficient first."""
        total = self.c(coefficients[-1])
        for k in reversed(coefficients[:-1]):
            total = self.fma(total, x, self.c(k))
        return total

    def compare(self, direction: str, x: Value, y: Value | float) -> Value:
        return self.writer.compare(direction, x, y if isinstance(y, Value) else self.c(y))

    def select(self, mask: Value, on: Value | float, off: Value | float) -> Value:
        on = on if isinstance(on, Value) else self.c(on)
        off = off if isinstance(off, Value) else self.c(off)
        return self.writer.select(mask, on, off)

    def clamp(self, x: Value, low: float, high: float) -> Value:
        """NaN stays."""
        x = self.select(self.compare("GT", x, high), high, x)
        return self.select(self.compare("LT", x, low), low, x)

    def with_sign_of(self, size: Value, x: Value) -> Value:
        """A non-negative ``size`` with the sign bit of ``x``."""
        sign = self.iand(self.bits(x), self.i(-1 << (self.dtype.bits - 1)))
        return self.float(self.writer.op("or", self.bits(size), sign))

    # Integers of the same width

    def i(self, number: int) -> Value:
        return self.writer.constant(number, self.integer, self.lanes)

    def bits(self, x: Value) -> Value:
        return self.writer.bitcast(x, self.integer)

    def float(self, bits: Value) -> Value:
        return self.writer.bitcast(bits, self.dtype)

    def iand(self, x: Value, y: Value) -> Value:
        return self.writer.op("and", x, y)

    def shift_left(self, x: Value, by: int) -> Value:
        return self.writer.op("shift_left", x, self.i(by))

    def shift_right(self, x: Value, by: int) -> Value:
        """Keeps the sign."""
        return self.writer.op("shift_right_arithmetic", x, self.i(by))

    def power_of_two(self, exponent: Value) -> Value:
        """2**exponent for an exponent of a normal number."""
        return self.float(self.shift_left(self.add(exponent, self.i(self.bias)), self.mantissa))

    def scale(self, x: Value, exponent: Value) -> Value:
        """x * 2**exponent in two steps, so that it overflows and becomes subnormal as it should."""
        half = self.shift_right(exponent, 1)
        x = self.mul(x, self.power_of_two(half))
        return self.mul(x, self.power_of_two(self.sub(exponent, half)))

    # Pairs: an unevaluated sum of a number and a small rest

    def choose(self, mask: Value, on: Pair, off: Pair) -> Pair:
        return self.select(mask, on[0], off[0]), self.select(mask, on[1], off[1])

    def fast_two_sum(self, x: Value, y: Value) -> Pair:
        """Exact sum for |x| >= |y|."""
        total = self.add(x, y)
        return total, self.add(self.sub(x, total), y)

    def two_sum(self, x: Value, y: Value) -> Pair:
        total = self.add(x, y)
        part = self.sub(total, x)
        return total, self.add(self.sub(x, self.sub(total, part)), self.sub(y, part))

    def two_product(self, x: Value, y: Value) -> Pair:
        product = self.mul(x, y)
        return product, self.fma(x, y, self.neg(product))

    def sum(self, *terms: Value) -> Value:
        total = terms[0]
        for t in terms[1:]:
            total = self.add(total, t)
        return total
