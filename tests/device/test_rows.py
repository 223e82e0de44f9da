"""Every op row on gpu:0: all that a program of it does is done there, but for the rows that ``place`` lists."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import mlc
import mlc.ir.graph as g
from mlc import devices
from mlc.ir.graph import OPS, Node
from mlc.ir.plan import CollectiveStart, Launch, walk_steps
from mlc.ir.types import BOOL, F32, I32, U32, TensorType
from mlc.passes.place import ON_HOST
from mlc.tracing import Tracer, as_node, current_trace
from tests.mock_cuda import MockDriver
from tests.rows.cases import CASES, Case

GROUPS = ((0, 1),)
X = (TensorType((4, 3), F32),)
OF_RANKS = {
    "all_reduce": Case(lambda x: g.all_reduce(x, "add", GROUPS), X),
    "all_gather": Case(lambda x: g.all_gather(x, GROUPS), X),
    "reduce_scatter": Case(lambda x: g.reduce_scatter(x, "add", GROUPS), X),
    "collective_broadcast": Case(lambda x: g.COLLECTIVE_BROADCAST(x, replica_groups=GROUPS), X),
}


def test_the_rows_that_run_on_the_host() -> None:
    assert set(OF_RANKS) == {op.name for op in ON_HOST}
    assert not set(CASES) & set(OF_RANKS)


@pytest.mark.parametrize("name", [*CASES, *OF_RANKS])
def test_where_a_row_runs(name: str, mock: MockDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned by ``mlc.jit(device="gpu:0")``, with nothing said of a row that goes to the CPU."""
    monkeypatch.setattr(devices, "nccl_version", lambda: 0)
    cases = [OF_RANKS[name]] if name in OF_RANKS else next(filter(None, map(CASES[name], (F32, U32, I32, BOOL))))
    cases = [c for c in cases if c.operands == cases[-1].operands] if OPS[name].elementwise else cases[:8]
    specs = [mlc.ShapeDtype(t.shape, t.dtype) for case in cases for t in case.operands]
    with warnings.catch_warnings():
        warnings.simplefilter("error", mlc.Notice)
        compiled: Any = mlc.jit(program_of(cases), device="gpu:0").lower(*specs).compile()
    steps = list(walk_steps(compiled.program.plan.steps))
    on_host = [s for s in steps if isinstance(s, CollectiveStart) or (isinstance(s, Launch) and not s.device)]
    assert [s.kind for s in on_host if isinstance(s, CollectiveStart)] == [name] * (OPS[name] in ON_HOST)
    assert len(on_host) == (OPS[name] in ON_HOST), on_host


def program_of(cases: list[Case]) -> Callable[..., Any]:
    """The formulas of all cases, one after the other."""

    def program(*arrays: Any) -> tuple[Any, ...]:
        nodes = iter([as_node(x) for x in arrays])
        results: list[Node] = [case.formula(*(next(nodes) for _ in case.operands)) for case in cases]
        return tuple(Tracer(r, current_trace()) for r in results)

    return program
