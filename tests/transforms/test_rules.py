"""relu, softmax, log_softmax and cross_entropy: derivatives against differences and closed forms; stable; shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc.nn as nn
import mlc.numpy as mnp
from mlc.ir.graph import COMPOSITE, Node
from mlc.passes.decompose import open_calls
from mlc.tracing import Tracer, as_node, current_trace, trace
from mlc.transforms import grad, jvp, vjp

from .check import check
from .test_gradients import near, run

random = np.random.default_rng(3)
SHAPES = [(4,), (1,), (2, 3), (5, 1), (2, 3, 4), (2, 0, 3)]
LABELS = np.array([2, 0, 1, 2])


def nodes(function: Any) -> Any:
    """A function of tracers as one of nodes."""

    def formula(*operands: Node) -> Node:
        here = current_trace()
        return as_node(function(*[Tracer(n, here) for n in operands]))

    return formula


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_relu_and_its_slope(dtype: Any) -> None:
    """Zero has the slope zero, as has what is no number; a number above passes on what it is given."""
    x = np.array([-2, -1e-6, -0.0, 0, 1e-6, 3, -np.inf, np.inf, np.nan], dtype)
    value, slope = jvp_and_vjp(nn.relu, x, np.arange(9, dtype=dtype) - 3)
    np.testing.assert_array_equal(value, np.maximum(x, 0))
    for s in slope:
        np.testing.assert_array_equal(s, np.where(np.nan_to_num(x) > 0, np.arange(9) - 3, 0))


def jvp_and_vjp(function: Any, x: Any, t: Any) -> Any:
    """The value, and the tangent and cotangent of ``t``, compiled and run."""
    value, tangent = jvp(function, (x,), (t,))
    _, pullback = vjp(function, x)
    return np.asarray(value), [np.asarray(tangent), np.asarray(pullback(t)[0])]


def test_relu_of_far_numbers() -> None:
    x = random.normal(size=(2, 3))
    check(nodes(nn.relu), [x + np.sign(x)], order=2)


def test_relu_keeps_no_operand_for_the_way_back() -> None:
    """One stored value a layer: the mask is read from the result, in the store of the contraction that needs it."""
    from mlc.ir.graph import FUSION
    from mlc.passes.runner import run_passes
    from mlc.tracing import ShapeDtype

    def loss(ws: Any, x: Any) -> Any:
        for w in ws:
            x = nn.relu(x @ w)
        return mnp.sum(x * x)

    specs = [tuple(ShapeDtype((8, 8), "f32") for _ in range(3)), ShapeDtype((4, 8), "f32")]
    graph, _ = run_passes(trace(grad(loss), specs).graph, verify=True)
    fusions = [n for n in graph.nodes if n.op is FUSION]
    kinds = [(n["kind"], len(n["body"].results)) for n in fusions]
    assert kinds.count(("contraction", 1)) == len(kinds) == 8  # 3 values, 2 of their slopes, 3 of the weights'
    assert not any(r.dtype.kind == "bool" for n in fusions for r in n["body"].results)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", [0, -1])
def test_softmax(shape: tuple[int, ...], axis: int) -> None:
    x = random.normal(size=shape)
    for function in (nn.softmax, nn.log_softmax):
        check(nodes(lambda x, f=function: f(x, axis=axis)), [x])
    if x.size == 6:
        for function in (nn.softmax, nn.log_softmax):
            check(nodes(lambda x, f=function: f(x, axis=axis)), [x], order=2)


def test_cross_entropy() -> None:
    logits = random.normal(size=(4, 3))
    target = random.uniform(size=(4, 3))
    for reduction in ("mean", "sum", "none"):
        check(nodes(lambda x, y, r=reduction: nn.cross_entropy(x, y, reduction=r)), [logits, LABELS], order=2)
        check(nodes(lambda x, y, r=reduction: nn.cross_entropy(x, y, reduction=r)), [logits, target], order=2)
    check(nodes(nn.cross_entropy), [random.normal(size=3), np.array(1)], order=2)
    check(nodes(nn.cross_entropy), [random.normal(size=(2, 2, 3)), np.array([[0, 1], [2, 2]])])


def test_of_probabilities_alone() -> None:
    logits = random.normal(size=(4, 3))
    check(nodes(lambda p: nn.cross_entropy(mnp.asarray(logits), p)), [random.uniform(size=(4, 3))], order=2)


def test_closed_form_with_symbolic_batch() -> None:
    from mlc.ir.dims import dim
    from mlc.ir.graph.evaluate import evaluate_graph
    from mlc.tracing import ShapeDtype

    n = dim("n", 1, 64)
    traced = trace(grad(nn.cross_entropy), [ShapeDtype((n, 3), "f64"), ShapeDtype((n,), "i32")])
    logits = random.normal(size=(4, 3))
    (found,) = evaluate_graph(traced.graph, [logits, LABELS.astype(np.int32)])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, (p - np.eye(3)[LABELS]) / 4, rtol=1e-12)


def test_extreme_logits() -> None:
    """Nothing overflows: the gradient is p - onehot, with p a row of 0 and 1."""
    logits = np.array([[1e4, -1e4, 0.0], [88.0, 800.0, -800.0]], np.float32)
    labels = np.array([0, 2])
    near(run(grad(nn.cross_entropy), logits, labels), np.array([[0, 0, 0], [0, 0.5, -0.5]], np.float32))
    value, slope = run(lambda x: jvp(nn.softmax, (x,), (x,)), logits)
    assert np.isfinite(value).all() and np.isfinite(slope).all()


def test_half_precision_is_computed_in_single() -> None:
    logits = random.normal(size=(4, 3)).astype(np.float16)
    found = run(grad(lambda x, y: nn.cross_entropy(x, y, reduction="sum").astype("f32")), logits, LABELS)
    wide = logits.astype(np.float64)
    p = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, p - np.eye(3)[LABELS], atol=2**-11)


def test_a_label_that_is_no_class_gives_nan_in_its_row() -> None:
    found = run(grad(nn.cross_entropy), random.normal(size=(2, 3)), np.array([1, 3]))
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


def test_derivatives_are_composites_again() -> None:
    logits = random.normal(size=(4, 3))
    for function, name in ((nn.softmax, "softmax"), (nn.log_softmax, "log_softmax"), (lambda x: nn.cross_entropy(
        x, mnp.asarray(LABELS)), "cross_entropy")):  # fmt: skip
        traced = trace(lambda x, f=function: vjp(f, x)[1](mnp.ones_like(f(x))), [logits])
        names = {n["name"] for n in traced.graph.nodes if n.op is COMPOSITE}
        assert names in ({name, f"{name}.vjp"}, {f"{name}.vjp"})


def test_opened_a_loss_shares_its_exponentials_with_its_gradient() -> None:
    from mlc.transforms import value_and_grad

    traced = trace(value_and_grad(nn.cross_entropy), [random.normal(size=(4, 3)), LABELS])
    ops = [n.op.name for n in open_calls(traced.graph).nodes]
    assert ops.count("exponential") == 1
    assert ops.count("reduce") == 4  # largest, sum of exponentials, the label's logit, mean
    assert ops.count("log") == 1
