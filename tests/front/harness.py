"""Trace a function and evaluate its graph on NumPy arrays: what the front end means, without the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlc import tree
from mlc.ir.graph.evaluate import evaluate_graph
from mlc.ir.graph.verify import verify_graph
from mlc.tracing import trace


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The tree of results of ``function`` for these arrays and numbers."""
    traced = trace(function, args, kwargs)
    verify_graph(traced.graph)
    leaves = tree.leaves((args, kwargs))
    arrays = [np.asarray(x, p.dtype.numpy) for x, p in zip(leaves, traced.graph.parameters, strict=True)]
    return tree.unflatten(traced.out_tree, evaluate_graph(traced.graph, arrays))


def types(function: Callable[..., Any], *specs: Any) -> list[str]:
    """The types of the results, printed."""
    return [str(t) for t in trace(function, specs).out_types]
