"""Runs a function with control flow in every way there is, and compares with what it should give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import mlc
from mlc import tree
from mlc.compiler import Options, compile_function
from mlc.ir.graph import evaluate_graph, parse_graph, print_graph, resources_of, verify_graph
from mlc.ir.target import host_target
from tests.fuzz.walk import Walk


def check(function: Callable[..., Any], args: Sequence[Any], want: Any, rtol: float = 1e-12) -> None:
    """Evaluator, compiled code and its Plan walked by unlucky teams give ``want``, the latter the same bits."""
    lowered = mlc.jit(function).lower(*args)
    graph = lowered.traced.graph
    verify_graph(graph)
    assert parse_graph(print_graph(graph), resources_of(graph)).fingerprint == graph.fingerprint
    arrays = [np.asarray(x) for x in tree.flatten(tuple(args))[0]]
    arrays = [a.astype(p.dtype.numpy) for a, p in zip(arrays, graph.parameters, strict=True)]
    wanted = [np.asarray(w) for w in tree.flatten(want)[0]]
    compared = [evaluate_graph(graph, arrays), [np.asarray(x) for x in tree.flatten(mlc.jit(function)(*args))[0]]]
    walk = Walk(compile_function(graph, Options(host_target(), verify=True)))
    walked = [walk.run(arrays, order) for order in ((0,), (0, 1, 2), (2, 1, 0))]
    for results in (*compared, *walked):
        for got, w in zip(results, wanted, strict=True):
            np.testing.assert_allclose(got, w, rtol=rtol, atol=rtol)
    for results in walked:
        for got, other in zip(results, compared[1], strict=True):
            assert got.tobytes() == other.tobytes()
