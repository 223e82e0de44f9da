"""Gradients compared with central finite differences, in f64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.ir.graph import MULTIPLY, Graph, Node, Table, constant, current_table, full_like, reduce_add
from mlc.ir.graph.evaluate import evaluate_graph
from mlc.ir.types import F64, TensorType, dtype_of
from mlc.transforms.differentiate import jvp, vjp

Array = npt.NDArray[Any]
Formula = Callable[..., Node]


def every(node: Node) -> tuple[int, ...]:
    return tuple(range(len(node.shape)))


def weighted_sum(node: Node) -> Node:
    """A scalar that every element of ``node`` has its own weight in."""
    shape = [n for n in node.shape if isinstance(n, int)]
    weights = np.cos(np.arange(prod(shape)) * 1.7 + 0.3).reshape(shape)
    return reduce_add(MULTIPLY(node, constant(weights, F64)), every(node))


def build(function: Callable[..., Sequence[Node]], arrays: Sequence[Array]) -> Graph:
    table = Table()
    with table.active():
        parameters = [table.parameter(TensorType(a.shape, dtype_of(a.dtype)), f"x{i}") for i, a in enumerate(arrays)]
        return Graph("main", parameters, function(*parameters), table)


def run(function: Callable[..., Sequence[Node]], arrays: Sequence[Array]) -> list[Array]:
    return [np.asarray(a) for a in evaluate_graph(build(function, arrays), arrays)]


def gradient(formula: Formula) -> Callable[..., list[Node]]:
    """Node-level gradient of a scalar formula with respect to its float operands."""

    def function(*nodes: Node) -> list[Node]:
        out = formula(*nodes)
        wrt = [n for n in nodes if n.dtype.is_float]
        found = vjp([out], wrt)([full_like(out, 1.0)])
        return [full_like(w, 0.0) if g is None else g for w, g in zip(wrt, found, strict=True)]

    return function


def finite_differences(formula: Formula, arrays: Sequence[Array], step: float) -> list[Array]:
    """Central differences of a scalar formula in each element of each float array."""
    graph = build(lambda *nodes: [formula(*nodes)], arrays)
    found = []
    for i, array in enumerate(arrays):
        if array.dtype.kind != "f":
            continue
        slopes = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[i][index] += sign * step
                ends.append(float(evaluate_graph(graph, moved)[0]))
            slopes[index] = (ends[0] - ends[1]) / (2 * step)
        found.append(slopes)
    return found


def check(formula: Formula, arrays: Sequence[Array], *, order: int = 1, step: float = 1e-5, rtol: float = 1e-6) -> None:
    """Reverse gradients equal finite differences, forward ones equal reverse ones; up to ``order`` derivatives."""

    def scalar(*nodes: Node) -> Node:
        return weighted_sum(formula(*nodes))

    arrays = [np.asarray(a) for a in arrays]
    got = run(gradient(scalar), arrays)
    want = finite_differences(scalar, arrays, step)
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * max(1.0, float(np.abs(w).max(initial=0))))
    check_forward(scalar, arrays, got, min(rtol, 1e-6) / 1e3 if rtol <= 1e-5 else rtol)
    if order > 1:

        def slope(*nodes: Node) -> Node:
            total = None
            for g in gradient(scalar)(*nodes):
                term = weighted_sum(g)
                total = term if total is None else MULTIPLY(total, term)
            assert total is not None
            return total

        check(slope, arrays, order=order - 1, step=step, rtol=rtol * 10)


def check_forward(scalar: Formula, arrays: Sequence[Array], gradients: Sequence[Array], rtol: float) -> None:
    """The tangent along fixed directions is the inner product of gradient and direction."""
    floats = [a for a in arrays if a.dtype.kind == "f"]
    directions = [np.sin(np.arange(a.size) * 2.1 + 1).reshape(a.shape) for a in floats]

    def function(*nodes: Node) -> list[Node]:
        wrt = [n for n in nodes if n.dtype.is_float]
        out = scalar(*nodes)
        (tangent,) = jvp([out], {w: constant(d, F64) for w, d in zip(wrt, directions, strict=True)})
        return [full_like(out, 0.0) if tangent is None else tangent]

    (got,) = run(function, arrays)
    want = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


__all__ = ["Array", "Formula", "build", "check", "current_table", "gradient", "run", "weighted_sum"]
