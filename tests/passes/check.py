"""Compare a pass's input and output: as text with a golden, and as numbers on random inputs."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import numpy as np

from mlc.ir.dims import Dim
from mlc.ir.graph import Graph
from mlc.ir.graph.evaluate import evaluate_graph
from mlc.ir.graph.parser import parse_graph
from mlc.ir.graph.verify import verify_graph
from mlc.ir.types import TensorType


def check_golden(run: Callable[[Graph], Graph], before: str, after: str) -> None:
    """``run`` turns one text into the other, and both compute the same."""
    graph = parse_graph(dedent(before))
    result = run(graph)
    verify_graph(result)
    assert str(result) == str(parse_graph(dedent(after)))  # parsed, so that goldens need not number nodes alike
    check_same_meaning(graph, result)


def check_unchanged(run: Callable[[Graph], Graph], text: str) -> None:
    """``run`` gives the very graph it was given."""
    graph = parse_graph(dedent(text))
    assert run(graph) is graph


def check_same_meaning(before: Graph, after: Graph, seed: int = 0, rtol: float = 1e-6) -> None:
    """Both graphs give the same numbers on random arrays, symbolic sizes bound to a value within their bounds."""
    rng = np.random.default_rng(seed)
    sizes = {s.name: int(rng.integers(s.lower, min(s.upper, 9) + 1)) for s in before.symbols}
    arrays = [random_array(rng, p.tensor, sizes) for p in before.parameters]
    for want, got in zip(evaluate_graph(before, arrays), evaluate_graph(after, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


def random_array(rng: np.random.Generator, t: TensorType, sizes: dict[str, int]) -> np.ndarray:
    shape = tuple(n.evaluate(sizes) if isinstance(n, Dim) else n for n in t.shape)
    if t.dtype.is_float:
        return rng.normal(size=shape).astype(t.dtype.numpy)
    if t.dtype.kind == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(-5 if t.dtype.kind == "int" else 0, 6, shape).astype(t.dtype.numpy)


def dedent(text: str) -> str:
    return textwrap.dedent(text).strip()
