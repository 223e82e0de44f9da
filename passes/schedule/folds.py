"""One reduction inside a loop nest: its accumulator, how elements join it, and how its lanes end as one value."""

from __future__ import annotations

from dataclasses import dataclass

from mlc.ir.graph import ADD, MULTIPLY, Node, Op, identity_of, reducer_of
from mlc.ir.kernel import KernelBuilder, Value
from mlc.ir.kernel.ops import REDUCTIONS
from mlc.ir.types import F32, DType

from .elements import Point
from .scalars import bits_of_element, is_uniform


@dataclass(frozen=True, slots=True)
class Fold:
    """A reduce node with its reducer; half floats accumulate in f32."""

    node: Node
    reducer: Op
    dtype: DType  # of the accumulator

    @staticmethod
    def of(node: Node) -> Fold:
        half = node.dtype.is_float and node.dtype.itemsize < 4
        return Fold(node, reducer_of(node["body"]), F32 if half else node.dtype)

    @property
    def rounds(self) -> bool:
        """Whether long chains lose accuracy."""
        return self.dtype.is_float and self.reducer in (ADD, MULTIPLY)

    def start(self, b: KernelBuilder, lanes: int) -> Value:
        return b.constant_bits(bits_of_element(identity_of(self.reducer, self.dtype), self.dtype), self.dtype, lanes)

    def step(self, b: KernelBuilder, accumulator: Value, point: Point) -> Value:
        """The accumulator after the elements at ``point``; lanes outside of its mask stay as they are."""
        operand = self.node.operands[0]
        if self.reducer is ADD and operand.op is MULTIPLY and self.dtype.is_float and self.dtype == operand.dtype:
            x, y = (point.value(o) for o in operand.operands)
            new = b.op("fma", x, y, accumulator)
        else:
            new = self.combine(b, accumulator, b.convert(point.value(operand), self.dtype))
        return new if point.mask is None else b.select(point.mask, new, accumulator)

    def combine(self, b: KernelBuilder, x: Value, y: Value) -> Value:
        return b.op(self.reducer.name, x, y)

    def across(self, b: KernelBuilder, accumulator: Value) -> Value:
        """All lanes as one scalar, in a fixed tree."""
        if accumulator.lanes == 1:
            return accumulator
        if self.reducer.name in REDUCTIONS:
            return b.reduce(self.reducer.name, accumulator)
        lanes = accumulator.lanes
        half = lanes // 2
        while half:  # lane l with lane l + half
            turned = b.shuffle(accumulator, accumulator, tuple((k + half) % lanes for k in range(lanes)))
            accumulator = self.combine(b, accumulator, turned)
            half //= 2
        return b.extract(accumulator, 0)

    def finish(self, b: KernelBuilder, accumulator: Value, point: Point) -> Value:
        """The node's value: the accumulator with the initial value, unless that changes nothing."""
        initial = self.node.operands[1]
        if not self._starts_neutral(initial):
            first = point.natural(initial)
            if accumulator.lanes > 1:
                first = point.widen(first)
            accumulator = self.combine(b, accumulator, b.convert(first, self.dtype))
        return b.convert(accumulator, self.node.dtype)

    def _starts_neutral(self, initial: Node) -> bool:
        if initial.op.name != "constant" or not is_uniform(initial):
            return False
        neutral = identity_of(self.reducer, initial.dtype)
        return bool(initial["value"].array.tobytes() == neutral.tobytes())
