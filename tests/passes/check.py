"""Compare a pass's input and output: as text with a golden, and as numbers on random inputs."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import numpy as np

from mlc.ir.dims import Dim
from mlc.ir.graph import REPLICATED, SHARDED_CALL, Graph, Node, evaluate_ranks, graphs_in
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
    ranks = arguments_of_ranks(before, rng, sizes)
    for one, other in zip(evaluate_ranks(before, ranks), evaluate_ranks(after, ranks), strict=True):
        for want, got in zip(one, other, strict=True):
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


def arguments_of_ranks(graph: Graph, rng: np.random.Generator, sizes: dict[str, int]) -> list[list[np.ndarray]]:
    """Random arrays for every rank of the world that the graph is for, one rank where it has no collectives.

    They differ from rank to rank, but for what a sharded call has to be given the same of; its last operand is the rank.
    """
    nodes = all_nodes(graph)
    count = max([sum(map(len, n["replica_groups"])) for n in nodes if "replica_groups" in n.attributes], default=1)
    calls = [n for n in graph.nodes if n.op is SHARDED_CALL]
    same = {o for n in calls for o, axis in zip(n.operands, n["in_shardings"], strict=False) if axis == REPLICATED}
    numbers = {n.operands[-1] for n in calls}
    columns = []
    for p in graph.parameters:
        own = [random_array(rng, p.tensor, sizes) for _ in range(1 if p in same else count)]
        columns.append([np.asarray(r, np.int64) if p in numbers else own[r % len(own)] for r in range(count)])
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(count)]


def all_nodes(graph: Graph) -> list[Node]:
    """Those of inner graphs, too."""
    found, work = list[Node](), [graph]
    while work:
        for node in work.pop().nodes:
            found.append(node)
            work.extend(graphs_in(node))
    return found


def random_array(rng: np.random.Generator, t: TensorType, sizes: dict[str, int]) -> np.ndarray:
    shape = tuple(n.evaluate(sizes) if isinstance(n, Dim) else n for n in t.shape)
    if t.dtype.is_float:
        return rng.normal(size=shape).astype(t.dtype.numpy)
    if t.dtype.kind == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(-5 if t.dtype.kind == "int" else 0, 6, shape).astype(t.dtype.numpy)


def dedent(text: str) -> str:
    return textwrap.dedent(text).strip()
