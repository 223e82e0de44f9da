"""Every op row: compiled code means what the evaluator says, wrong operands are refused, the gradient is right."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest

from mlc.compiler import Options, compile_function, link
from mlc.errors import MlcError
from mlc.ir.graph import OPS, Graph, Node, Table, evaluate_graph
from mlc.ir.graph.tolerance import Expected, expected
from mlc.ir.target import Target
from mlc.ir.types import DTYPES, F64, DType, TensorType, TupleType
from mlc.passes.runner import PIPELINES, run_passes
from tests.codegen.native import TARGETS
from tests.rows.cases import CASES, ELSEWHERE, EVERY, Array, Case
from tests.transforms.check import check

STEPS = {"bitcast_convert"}  # of floats are no function of a real number: the derivative is 0 by definition
SMOOTH = sorted(name for name, op in OPS.items() if name in CASES and op.jvp is not None and name not in STEPS)


def test_every_row_has_cases() -> None:
    assert set(CASES) | set(ELSEWHERE) == set(OPS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("name", CASES)
def test_compiled(name: str, target: Target) -> None:
    tried = 0
    for dtype in EVERY:
        row = evaluated(name, dtype)
        if row is None:
            continue
        compiled = compile_function(row.optimized, Options(target), pipeline=())
        for i, (got, want) in enumerate(zip(link(compiled)(row.arrays), row.wanted, strict=True)):
            want.check(np.asarray(got), f"{name} {dtype} {target.name}: result {i}")
        tried += 1
    assert tried


@dataclass(frozen=True)
class Row:
    """All cases of a row for an element type: after the passes, which are those of every target, and its meaning."""

    optimized: Graph
    arrays: list[Array]
    wanted: list[Expected]


@lru_cache(maxsize=2 * len(EVERY))
def evaluated(name: str, dtype: DType) -> Row | None:
    cases = CASES[name](dtype)
    if not cases:
        return None
    graph, arrays = together(name, cases, np.random.default_rng(zlib.crc32(f"{name} {dtype}".encode())))
    (passes,) = {PIPELINES[t.name] for t in TARGETS}
    optimized, _ = run_passes(graph, passes, verify=True)
    wanted = expected(graph, arrays)
    for i, (got, want) in enumerate(zip(evaluate_graph(graph, arrays), wanted, strict=True)):
        want.check(got, f"{name} {dtype} evaluated: result {i}")
    return Row(optimized, arrays, wanted)


def together(name: str, cases: list[Case], rng: np.random.Generator) -> tuple[Graph, list[Array]]:
    """One program of all cases, so that it is compiled once."""
    table, parameters, results, arrays = Table(), list[Node](), list[Node](), list[Array]()
    with table.active():
        for case in cases:
            mine = [table.parameter(t, f"p{len(parameters) + i}") for i, t in enumerate(case.operands)]
            parameters += mine
            arrays += case.arrays(rng)
            results.append(case.formula(*mine))
        return Graph(name, parameters, results, table), arrays


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient(name: str) -> None:
    """Reverse and forward derivatives against central differences in f64, away from kinks and poles."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for case in CASES[name](F64):
        if not any(t.dtype == F64 for t in case.operands):
            continue
        arrays = [gentle(rng, t) for t in case.operands]
        if sum(a.size for a in arrays) > 80 or not gives_f64(case):
            continue
        check(case.formula, arrays, rtol=1e-5)


def gentle(rng: np.random.Generator, type: TensorType) -> Array:
    shape = [n for n in type.shape if isinstance(n, int)]
    if not type.dtype.is_float:
        return rng.integers(0, 2, shape).astype(type.dtype.numpy)
    return np.asarray(rng.uniform(0.25, 0.45, shape) + 0.01 * np.arange(int(np.prod(shape))).reshape(shape) % 0.2)


def gives_f64(case: Case) -> bool:
    table = Table()
    with table.active():
        found = case.formula(*(table.parameter(t) for t in case.operands))
    return not isinstance(found.type, TupleType) and found.dtype == F64


@pytest.mark.parametrize("name", [n for n in CASES if OPS[n].arity])
def test_the_type_rule_refuses_a_wrong_number_of_operands(name: str) -> None:
    op, table = OPS[name], Table()
    attributes = dict.fromkeys(op.attributes)
    with table.active(), pytest.raises(MlcError, match=rf"{name}: takes {op.arity} operands, was given"):
        op(*[table.parameter(TensorType((3,), F64)) for _ in range((op.arity or 0) + 1)], **attributes)


@pytest.mark.parametrize("name", [n for n in CASES if OPS[n].elementwise and (OPS[n].arity or 0) > 1])
def test_the_type_rule_names_both_types(name: str) -> None:
    """Shapes that differ, and element types that differ."""
    op = OPS[name]
    for case in [c for dtype in EVERY for c in CASES[name](dtype) if len(c.operands[0].shape) == 2][:2]:
        last = case.operands[-1]
        other = next(t for t in DTYPES.values() if t != last.dtype)
        for wrong in (TensorType((4, 4), last.dtype), last.with_dtype(other)):
            table = Table()
            with table.active(), pytest.raises(MlcError) as caught:
                case.formula(*(table.parameter(t) for t in (*case.operands[:-1], wrong)))
            said = str(caught.value)
            assert name in said and str(wrong) in said and str(case.operands[-2]) in said, (op, said)


def test_results_are_typed() -> None:
    """What the rule says is what the evaluator gives."""
    rng = np.random.default_rng(5)
    for name, cases in CASES.items():
        for dtype in EVERY:
            for case in cases(dtype)[:3]:
                graph, arrays = together(name, [case], rng)
                (got,) = evaluate_graph(graph, arrays)
                (node,) = graph.results
                assert got.shape == node.shape and got.dtype == node.dtype.numpy, (name, dtype)
