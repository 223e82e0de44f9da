"""Random programs cut among ranks: whatever rows they have, each rank's part means what the whole program means."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mlc.ir.graph import REPLICATED, SHARDED_CALL, Graph, Node, Table, evaluate_ranks, results_of, verify_graph
from mlc.ir.graph.collective import RANK_TYPE, local_type
from mlc.ir.types import TensorType
from mlc.passes.decompose import decompose
from mlc.passes.partition import partition
from mlc.passes.regions import run_inside

from ..fuzz.programs import program

RANKS = 2
GROUPS = (tuple(range(RANKS)),)


def cut(callee: Graph, seed: int) -> Graph:
    """The program on parameters, some of which are cut along an axis that divides; its results are cut or whole."""
    rng = np.random.default_rng(seed)

    def any_axis(type: TensorType) -> int:
        axes = [i for i, n in enumerate(type.shape) if isinstance(n, int) and n and n % RANKS == 0]
        return int(rng.choice([REPLICATED, *axes, *axes]))

    ins = tuple(any_axis(p.tensor) for p in callee.parameters)
    outs = tuple(any_axis(r.tensor) if rng.random() < 0.3 else REPLICATED for r in callee.results)
    table = Table()
    with table.active():
        parts = [
            table.parameter(local_type("test", p.tensor, axis, RANKS), f"p{i}")
            for i, (p, axis) in enumerate(zip(callee.parameters, ins, strict=True))
        ]
        rank = table.parameter(RANK_TYPE, "rank")
        call: Node = SHARDED_CALL(
            *parts, rank, callee=callee, in_shardings=ins, out_shardings=outs, replica_groups=GROUPS
        )
        return Graph("cut", (*parts, rank), results_of(call), table)


def arguments(call: Node, arrays: list[Any]) -> list[list[Any]]:
    columns = [
        [x] * RANKS if axis == REPLICATED else np.split(x, RANKS, axis)
        for x, axis in zip(arrays, call["in_shardings"], strict=True)
    ]
    return [[*row, np.int64(rank)] for rank, row in enumerate(zip(*columns, strict=True))]


def static(start: int, count: int) -> list[tuple[int, Graph, list[Any]]]:
    """The first programs from ``start`` on that have no symbolic sizes."""
    made = ((seed, *program(seed, ("fusion",))) for seed in itertools.count(start))
    fitting = ((s, g, a) for s, g, a in made if not g.symbols and all(p.tensor.is_static for p in g.parameters))
    return list(itertools.islice(fitting, count))


@pytest.mark.parametrize("start", range(0, 4000, 1000))
def test_random_programs(start: int) -> None:
    moved = 0
    for seed, callee, arrays in static(start, 12):
        graph = cut(callee, seed)
        (call,) = [n for n in graph.nodes if n.op is SHARDED_CALL]
        after = run_inside(partition, run_inside(decompose, graph))
        verify_graph(after)
        moved += str(after).count("all_")
        given = arguments(call, arrays)
        for got, want in zip(evaluate_ranks(after, given), evaluate_ranks(graph, given), strict=True):
            for i, (x, y) in enumerate(zip(got, want, strict=True)):
                close = np.allclose if y.dtype.kind not in "iub" else np.array_equal
                how = {"rtol": tolerance(y), "atol": tolerance(y), "equal_nan": True} if close is np.allclose else {}
                with np.errstate(all="ignore"):
                    assert close(wide(x), wide(y), **how), f"program {seed}, result {i}: {x} is not {y}\n{graph}"
    assert moved > 5


def wide(x: Any) -> Any:
    return x if x.dtype.kind in "iub" else x.astype(np.float64)


def tolerance(x: Any) -> float:
    return {8: 1e-9, 4: 2e-3, 2: 0.1}[x.dtype.itemsize]
