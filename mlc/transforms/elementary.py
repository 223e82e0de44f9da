"""Derivatives of the functions of mlc.numpy.elementary in closed form."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from .. import numpy as mnp
from ..ir.graph import ADD, Node
from ..tracing import Tracer, current_trace
from .composites import COMPOSITE_RULES, CompositeRule, Options
from .differentiable import is_differentiable

Slope = Callable[..., Tracer]
"""slope(*operands, result): what an operand's tangent is multiplied by."""


def of_slopes(*slopes: Slope) -> CompositeRule:
    """The rule of a function with these partial derivatives."""

    def jvp(
        operands: Sequence[Node], results: Sequence[Node], tangents: Sequence[Node | None], options: Options
    ) -> Sequence[Node | None]:  # fmt: skip
        if not is_differentiable(results[0]):
            return [None]
        trace = current_trace()
        values = [Tracer(n, trace) for n in (*operands, *results)]
        inside, trace.inside = trace.inside, True
        try:
            shares = [
                (Tracer(t, trace) * slope(*values)).node
                for slope, t in zip(slopes, tangents, strict=True)
                if t is not None
            ]
        finally:
            trace.inside = inside
        return [functools.reduce(ADD, shares)]

    return CompositeRule(jvp)


def _of_angle(x: Tracer, y: Tracer) -> Tracer:
    return 1 / mnp.sqrt((1 - x) * (1 + x))


def _of_asinh(x: Tracer, y: Tracer) -> Tracer:
    """1 / sqrt(1 + x^2), where x^2 may overflow."""
    size = mnp.abs(x)
    long, short = mnp.maximum(size, 1.0), mnp.minimum(size, 1.0)
    part = short / long
    return 1 / (long * mnp.sqrt(1 + part * part))


def _share(x: Tracer, length: Tracer) -> Tracer:
    """x / length; 0 where both are."""
    return x / mnp.where(length == 0, 1.0, length)


def _weight(x: Tracer, y: Tracer) -> Tracer:
    """exp(x) / (exp(x) + exp(y)); a half where both are the same infinity."""
    return mnp.sigmoid(mnp.where(x == y, 0.0, x - y))


COMPOSITE_RULES["asin"] = of_slopes(_of_angle)
COMPOSITE_RULES["acos"] = of_slopes(lambda x, y: -_of_angle(x, y))
COMPOSITE_RULES["atan"] = of_slopes(lambda x, y: 1 / (1 + x * x))
COMPOSITE_RULES["sinh"] = of_slopes(lambda x, y: mnp.cosh(x))
COMPOSITE_RULES["cosh"] = of_slopes(lambda x, y: mnp.sinh(x))
COMPOSITE_RULES["asinh"] = of_slopes(_of_asinh)
COMPOSITE_RULES["acosh"] = of_slopes(lambda x, y: 1 / (mnp.sqrt(x - 1) * mnp.sqrt(x + 1)))
COMPOSITE_RULES["atanh"] = of_slopes(lambda x, y: 1 / ((1 - x) * (1 + x)))
COMPOSITE_RULES["hypot"] = of_slopes(lambda x, y, z: _share(x, z), lambda x, y, z: _share(y, z))
COMPOSITE_RULES["logaddexp"] = of_slopes(lambda x, y, z: _weight(x, y), lambda x, y, z: _weight(y, x))
