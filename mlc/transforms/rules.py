"""Derivatives of relu, softmax, log_softmax and cross_entropy in closed form: stable, and as short as those by hand.

The formulas share what they can with the decompositions of the composites: opened, the exponentials and their sums are
the same nodes in a loss and its gradient. f16 and bf16 are computed in f32, as the composites are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import numpy as mnp
from ..ir.graph import COMPARE, SELECT, Node, full_like, size_value
from ..ir.types import F32
from ..tracing import Tracer, current_trace
from .composites import COMPOSITE_RULES, CompositeJvp, CompositeRule, Options
from .differentiable import is_differentiable

Value = Tracer | None
Formula = Callable[[Sequence[Tracer], Tracer, Sequence[Value], Options], Sequence[Value]]


def relu_tangent(
    operands: Sequence[Node], results: Sequence[Node], tangents: Sequence[Node | None], options: Options
) -> Sequence[Node | None]:  # fmt: skip
    """t where the result is positive, else 0: the operand need not be kept for the way back."""
    (y,), (t,) = results, tangents
    if t is None or not is_differentiable(y):
        return [None]
    return [SELECT(COMPARE(y, full_like(y, 0), direction="GT"), t, full_like(t, 0))]


def softmax_product(operands: Sequence[Tracer], y: Tracer, t: Sequence[Value], options: Options) -> Sequence[Value]:
    """y (t - Σ y t). The Jacobian is symmetric: tangents and cotangents have one formula."""
    (x,) = _wide(t)
    assert x is not None
    wide = _widen(y)
    return [(wide * (x - mnp.sum(wide * x, options["axis"], keepdims=True))).astype(y.dtype)]


def log_softmax_tangent(
    operands: Sequence[Tracer], y: Tracer, t: Sequence[Value], options: Options
) -> Sequence[Value]:  # fmt: skip
    """t - Σ p t, where p = exp(y)."""
    (x,) = _wide(t)
    assert x is not None
    return [(x - mnp.sum(mnp.exp(_widen(y)) * x, options["axis"], keepdims=True)).astype(y.dtype)]


def log_softmax_cotangent(
    operands: Sequence[Tracer], y: Tracer, c: Sequence[Value], options: Options
) -> Sequence[Value]:  # fmt: skip
    """c - p Σ c, where p = exp(y)."""
    (x,) = _wide(c)
    assert x is not None
    return [(x - mnp.exp(_widen(y)) * mnp.sum(x, options["axis"], keepdims=True)).astype(y.dtype)]


def cross_entropy_tangent(
    operands: Sequence[Tracer], y: Tracer, t: Sequence[Value], options: Options
) -> Sequence[Value]:  # fmt: skip
    """Σ (p - target) t over the classes; and the distances, weighted by the tangents of the probabilities."""
    logits, labels = operands
    of_logits, of_labels = _wide(t)
    total: Value = None
    if of_logits is not None:
        total = mnp.sum(_slope(logits, labels) * of_logits, -1)
    if of_labels is not None:
        share = mnp.sum(_distances(logits) * of_labels, -1)
        total = share if total is None else total + share
    assert total is not None
    return [_where_class(total, logits, labels).astype(y.dtype)]


def cross_entropy_cotangent(
    operands: Sequence[Tracer], y: Tracer, c: Sequence[Value], options: Options
) -> Sequence[Value]:  # fmt: skip
    """(p - target) c; and c times the distances for probabilities."""
    logits, labels = operands
    (row,) = _wide(c)
    assert row is not None
    row = mnp.expand_dims(_where_class(row, logits, labels), -1)
    of_logits = (_slope(logits, labels) * row).astype(logits.dtype)
    return [of_logits, (_distances(logits) * row).astype(labels.dtype) if labels.dtype.is_float else None]


def _slope(logits: Tracer, labels: Tracer) -> Tracer:
    """softmax(logits) less the target: of each row's loss with respect to its logits."""
    below = _below(logits)
    e = mnp.exp(below)
    p = e * (1.0 / mnp.expand_dims(mnp.sum(e, -1), -1))
    if labels.dtype.is_float:
        target = _widen(labels)
        return p * mnp.sum(target, -1, keepdims=True) - target
    chosen = mnp.expand_dims(labels, -1) == mnp.arange(logits.shape[-1])
    return p - mnp.where(chosen, 1.0, 0.0)


def _distances(logits: Tracer) -> Tracer:
    """-log_softmax(logits): of each row's loss with respect to its probabilities."""
    below = _below(logits)
    return mnp.expand_dims(mnp.log(mnp.sum(mnp.exp(below), -1)), -1) - below


def _below(logits: Tracer) -> Tracer:
    """The logits less their row's largest."""
    wide = _widen(logits)
    return wide - mnp.max(wide, -1, keepdims=True)


def _where_class(rows: Tracer, logits: Tracer, labels: Tracer) -> Tracer:
    """NaN for rows whose label is no class, as their losses are."""
    if labels.dtype.is_float:
        return rows
    classes = Tracer(size_value(logits.shape[-1]), current_trace())
    return mnp.where((labels >= 0) & (labels < classes), rows, float("nan"))


def _wide(values: Sequence[Value]) -> list[Value]:
    return [v if v is None else _widen(v) for v in values]


def _widen(x: Tracer) -> Tracer:
    return x.astype(F32) if x.dtype.bits < 32 else x


def _on_nodes(formula: Formula) -> CompositeJvp:
    """A formula of tracers as a rule on nodes; what it makes is at the line where the table is, the composite's."""

    def rule(
        operands: Sequence[Node], results: Sequence[Node], given: Sequence[Node | None], options: Options
    ) -> Sequence[Node | None]:
        trace = current_trace()
        inside, trace.inside = trace.inside, True
        try:
            tracers: Any = [
                [n if n is None else Tracer(n, trace) for n in nodes] for nodes in (operands, results, given)
            ]
            found = formula(tracers[0], tracers[1][0], tracers[2], options)
        finally:
            trace.inside = inside
        return [f if f is None else f.node for f in found]

    return rule


COMPOSITE_RULES["relu"] = CompositeRule(relu_tangent)
COMPOSITE_RULES["softmax"] = CompositeRule(_on_nodes(softmax_product), _on_nodes(softmax_product))
COMPOSITE_RULES["log_softmax"] = CompositeRule(_on_nodes(log_softmax_tangent), _on_nodes(log_softmax_cotangent))
COMPOSITE_RULES["cross_entropy"] = CompositeRule(_on_nodes(cross_entropy_tangent), _on_nodes(cross_entropy_cotangent))
