"""Losses: the cross entropy of rows of logits, a composite a row, and its mean."""

from __future__ import annotations

from mlc import numpy as mnp
from mlc.errors import ArgumentError, DTypeError, ShapeError
from mlc.ir.graph import CONVERT, size_value
from mlc.ir.graph.node import Node
from mlc.ir.types import BOOL, F32, I64
from mlc.numpy.dispatch import operation
from mlc.numpy.promotion import promote, wrap
from mlc.tracing.composite import composite
from mlc.tracing.lift import as_node
from mlc.tracing.tracer import Tracer


@operation("logits", "labels")
def cross_entropy(logits: object, labels: object, /, reduction: str = "mean") -> Tracer:
    """The mean over rows of ``-sum(p * log_softmax(logits))`` along the last axis.

    ``logits`` are floats [..., classes]; ``labels`` integers [...], the class of each row, or floats [..., classes],
    the probabilities ``p``. ``reduction`` is mean, sum or none (one loss a row). A label that is no class gives
    NaN. Raises ShapeError and DTypeError for labels that do not fit.

    Example:
        >>> import mlc
        >>> logits, labels = mlc.numpy.zeros((2, 4)), mlc.numpy.asarray([0, 3])
        >>> round(float(mlc.nn.cross_entropy(logits, labels)), 4)
        1.3863
    """
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f"cross_entropy: reduction is {reduction!r}; it is 'mean', 'sum' or 'none'")
    (scores,), _ = promote("cross_entropy", logits, to_float=True)
    target = as_node(labels, None, "cross_entropy: labels")
    _check(scores, target)
    if target.dtype.is_integer:
        target = CONVERT(target, dtype=I64) if target.dtype != I64 else target
        rows = composite("cross_entropy", index_formula, scores, target)[0]
    else:
        target = CONVERT(target, dtype=scores.dtype) if target.dtype != scores.dtype else target
        rows = composite("cross_entropy", probability_formula, scores, target)[0]
    losses = wrap(rows)
    return losses if reduction == "none" else mnp.mean(losses) if reduction == "mean" else mnp.sum(losses)


def index_formula(logits: Tracer, labels: Tracer) -> Tracer:
    """One loss a row: the logarithm of the sum of exponentials less the label's logit."""
    below, total = _shifted(logits)
    classes = logits.shape[-1]
    chosen = mnp.expand_dims(labels, -1) == mnp.arange(classes)
    at_label = mnp.sum(mnp.where(chosen, below, 0.0), -1)
    is_class = (labels >= 0) & (labels < wrap(size_value(classes)))
    return mnp.where(is_class, total - at_label, float("nan")).astype(logits.dtype)


def probability_formula(logits: Tracer, probabilities: Tracer) -> Tracer:
    """One loss a row: the probabilities' mean of the distances to the logarithm of the sum of exponentials."""
    below, total = _shifted(logits)
    wide = probabilities.astype(below.dtype)
    return mnp.sum(wide * (mnp.expand_dims(total, -1) - below), -1).astype(logits.dtype)


def _shifted(logits: Tracer) -> tuple[Tracer, Tracer]:
    """The logits less their row's largest, and the logarithm of the sum of their exponentials."""
    wide = logits.astype(F32) if logits.dtype.bits < 32 else logits
    below = wide - mnp.max(wide, -1, keepdims=True)
    return below, mnp.log(mnp.sum(mnp.exp(below), -1))


def _check(logits: Node, labels: Node) -> None:
    if not logits.shape:
        raise ShapeError(f"cross_entropy: logits are {logits.type}; their last axis holds the classes")
    if labels.dtype == BOOL:
        raise DTypeError(f"cross_entropy: labels are {labels.type}; they are integers or probabilities",
                         hint="convert them with .astype('i64') or .astype('f32')")  # fmt: skip
    want = logits.shape[:-1] if labels.dtype.is_integer else logits.shape
    if labels.shape == want:
        return
    hint = None
    if not labels.dtype.is_integer and labels.shape == logits.shape[:-1]:
        hint = "classes are integers: convert the labels with .astype('i64')"
    elif labels.dtype.is_integer and labels.shape == logits.shape:
        hint = "one-hot rows are probabilities: convert them with .astype('f32')"
    elif labels.dtype.is_integer and labels.shape == (*logits.shape[:-1], 1):
        hint = "drop the last axis with .squeeze(-1)"
    shown = f"[{','.join(map(str, want))}]"
    kind = "integer labels" if labels.dtype.is_integer else "probabilities"
    raise ShapeError(
        f"cross_entropy: logits are {logits.type}, labels are {labels.type}; {kind} have shape {shown}", hint=hint
    )
