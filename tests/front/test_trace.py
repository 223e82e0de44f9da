"""Tracing: names, trees, weak numbers, captures, subtraces, locations and scopes."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import tree
from mlc.errors import ArgumentError, Notice, TracerError
from mlc.ir.graph import CALL, results_of
from mlc.ir.graph.evaluate import evaluate_graph
from mlc.ir.graph.node import Graph, Table
from mlc.ir.types import F32, TensorType
from mlc.tracing import ShapeDtype, as_node, composite, current_trace, subtrace, trace

from .harness import run, types


def test_parameters_have_the_users_names() -> None:
    def f(params: Any, x: Any, *rest: Any, scale: Any = 1.0) -> Any:
        return x

    spec = ShapeDtype((2,))
    traced = trace(f, [{"w": [spec, spec], "b": spec}, spec, spec], {"scale": 2.0})
    names = [p["name"] for p in traced.graph.parameters]
    assert names == ["params['b']", "params['w'][0]", "params['w'][1]", "x", "rest[0]", "scale"]
    assert traced.in_weak == (False,) * 5 + (True,)


def test_static_arguments_are_passed_as_they_are() -> None:
    def f(n: int, x: Any) -> Any:
        return x * n if isinstance(n, int) else None

    traced = trace(f, [], {"x": ShapeDtype(3)}, static={"n": 4})
    assert [p["name"] for p in traced.graph.parameters] == ["x"]
    assert [str(t) for t in traced.out_types] == ["f32[3]"]


def test_results_are_trees_of_values_constants_and_arguments() -> None:
    made = run(
        lambda x: {"same": x, "number": 2, "array": np.arange(3), "nothing": None, "list": [x + 1, 1.5]}, np.float32(3)
    )
    assert made["same"] == 3 and made["number"] == 2 and made["nothing"] is None
    np.testing.assert_array_equal(made["array"], [0, 1, 2])
    assert made["list"] == [4, 1.5]


def test_python_numbers_are_weak_and_traced() -> None:
    traced = trace(lambda x, y: (x + y, x * 2, y), [1, 2.5])
    assert [str(t) for t in traced.in_types] == ["i64[]", "f32[]"]
    assert [str(t) for t in traced.out_types] == ["f32[]", "i64[]", "f32[]"]
    assert traced.out_weak == (True, True, True)
    assert types(lambda x, y: x + y, ShapeDtype(2, "f16"), 2.5) == ["f16[2]"]
    assert types(lambda x: x + np.float32(1), ShapeDtype(2, "f16")) == ["f32[2]"]


def test_f64_data_stays_f64_with_one_notice_that_names_the_line() -> None:
    data = np.ones(3)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(2):
            traced = trace(lambda x: x + 1, [data])  # line of the notice
    assert [str(t) for t in traced.out_types] == ["f64[3]"]
    assert len(found) == 1 and issubclass(found[0].category, Notice)
    assert "# line of the notice" in str(found[0].message) and "f64[3]" in str(found[0].message)


def test_equal_expressions_are_one_node_with_all_their_locations() -> None:
    def f(x: Any) -> Any:
        a = mnp.exp(x)
        b = mnp.exp(x)
        return a + b

    graph = trace(f, [ShapeDtype(2)]).graph
    (node,) = [n for n in graph.nodes if n.op.name == "exponential"]
    assert [place.text for place in graph.locations(node)] == ["a = mnp.exp(x)", "b = mnp.exp(x)"]
    assert all(place.file.endswith("test_trace.py") for place in graph.locations(node))


def test_scopes_nest_and_end() -> None:
    def f(x: Any) -> Any:
        with mlc.scope("encoder"):
            with mlc.scope("layer0"):
                y = mnp.sin(x)
            z = mnp.cos(y)
        return mnp.tan(z)

    graph = trace(f, [ShapeDtype(2)]).graph
    scopes = {n.op.name: graph.locations(n)[0].scope for n in graph.nodes if n.operands}
    assert scopes == {"sine": "encoder/layer0", "cosine": "encoder", "tan": ""}


def test_a_function_of_mlc_has_the_users_line_and_not_its_own() -> None:
    def f(x: Any) -> Any:
        return mlc.nn.gelu(x)

    graph = trace(f, [ShapeDtype(2)]).graph
    assert {place.text for n in graph.nodes if n.operands for place in graph.locations(n)} == {"return mlc.nn.gelu(x)"}


def test_host_arrays_are_snapshots_and_one_constant_each() -> None:
    data = np.arange(1000, dtype=np.float32)
    traced = trace(lambda x: (x + data) * data, [ShapeDtype(1000)])
    assert sum(n.op.name == "constant" for n in traced.graph.nodes) == 1
    data[3] = 7
    (got,) = evaluate_graph(traced.graph, [np.zeros(1000, np.float32)])
    assert got[3] == 9.0


def test_values_of_the_outer_trace_are_captured_through_every_level() -> None:
    def call(function: Any, x: Any) -> Any:
        inner = trace(function, [x], capture=True)
        here = current_trace()
        operands = [as_node(v) for v in (x, *inner.captured)]
        node = CALL(*operands, callee=inner.graph)
        return type(x)(results_of(node)[0], here)

    def f(a: Any, b: Any) -> Any:
        return call(lambda x: call(lambda y: y * b + a, x) + b, a + 1)

    a, b = np.float32(3), np.float32(5)
    assert run(f, a, b) == (a + 1) * b + a + b
    inner = [n for n in trace(f, [a, b]).graph.nodes if n.op is CALL]
    assert len(inner) == 1 and len(inner[0].operands) == 3


def test_subtrace_adds_to_the_active_table() -> None:
    table = Table()
    with table.active():
        x = table.parameter(TensorType((3,), F32), "x")
        nodes, structure = subtrace(lambda v: {"y": v * 2, "z": v}, [x])
        again, _ = subtrace(lambda p: p["a"] * 2, [x], tree.structure(({"a": 0},)))
    assert nodes[1] is x and again[0] is nodes[0]
    assert tree.unflatten(structure, [1, 2]) == {"y": 1, "z": 2}
    np.testing.assert_array_equal(
        evaluate_graph(Graph("f", [x], [nodes[0]], table), [np.ones(3, np.float32)])[0], [2, 2, 2]
    )


def test_composites_share_their_decomposition_and_keep_options() -> None:
    def formula(x: Any, *, power: int) -> Any:
        return x**power, x + 1

    def f(x: Any) -> Any:
        first = composite("powers", formula, as_node(x), power=3)
        second = composite("powers", formula, as_node(x), power=2)
        return [type(x)(n, current_trace()) for n in (*first, *second)]

    got = run(f, np.float32(2))
    assert got == [8, 3, 4, 3]
    made = [n for n in trace(f, [ShapeDtype(())]).graph.nodes if n.op.name == "composite"]
    assert [n["options"]["power"] for n in made] == [3, 2] and made[0]["name"] == "powers"


def test_a_leaked_value_is_refused_in_another_trace_in_operators_and_outside() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x * 2)
        return x

    trace(f, [ShapeDtype(2)])
    for use in (lambda: trace(lambda y: y + kept[0], [ShapeDtype(2)]), lambda: kept[0] + 1, lambda: bool(kept[0])):
        with pytest.raises(TracerError, match=r"belongs to the trace of f, which has ended"):
            use()


def test_a_value_leaked_from_a_nested_function_is_found_at_the_end() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        fresh = current_trace().table.parameter(TensorType((), F32), "p")
        subtrace(lambda v: kept.append(v) or v, [fresh])
        return x + kept[0]

    with pytest.raises(TracerError, match="inside f, which has ended"):
        trace(f, [ShapeDtype(())])


def test_symbolic_shapes_pass_through() -> None:
    batch = mlc.dim("batch", 1, 64)
    spec = ShapeDtype((batch, 6))
    assert types(lambda x: x.reshape(-1, 2, 3), spec) == ["f32[batch,2,3]"]
    assert types(lambda x: x.reshape(x.shape[0] * 2, -1), spec) == ["f32[2*batch,3]"]
    assert types(lambda x: mnp.concat([x, x]), spec) == ["f32[2*batch,6]"]
    assert types(lambda x: x.mean(0) + x[:, 1:].sum(), spec) == ["f32[6]"]
    graph = trace(lambda x: (x.mean(0), x.argmax(0), mnp.arange(x.shape[0])), [spec]).graph
    for n in (1, 5):
        data = np.random.default_rng(n).standard_normal((n, 6)).astype(np.float32)
        mean, place, count = evaluate_graph(graph, [data])
        np.testing.assert_allclose(mean, data.astype(np.float64).mean(0), rtol=1e-6)
        np.testing.assert_array_equal(place, data.argmax(0))
        np.testing.assert_array_equal(count, np.arange(n))


def test_specs_refuse_bad_shapes() -> None:
    for bad in ((-1,), (1.5,), ("n",)):
        with pytest.raises(ArgumentError):
            ShapeDtype(bad)  # type: ignore[arg-type]


def test_import_mlc_is_light() -> None:
    front = "mlc.numpy, mlc.nn, mlc.optim, mlc.random"
    for imported, heavy in (("mlc", {"numpy", "ml_dtypes"}), (front, set())):
        unwanted = sorted(heavy | {"llvmlite", "networkx", "click"})
        script = f"import {imported}, sys; print([m for m in {unwanted} if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in mlc.__all__:
        if name not in ("export", "load"):  # of mlc.artifact
            assert getattr(mlc, name) is not None
    assert set(mlc.__all__) <= set(dir(mlc))


def test_numpy_memory_that_is_written_between_uses_is_read_each_time() -> None:
    def add_all(x: Any) -> Any:
        row = np.zeros(600, np.float32)  # larger than what is interned by its bytes
        for i in range(3):
            row[:] = 0
            row[i] = i + 1
            x = x + row
        return x

    got = np.asarray(mlc.jit(add_all)(np.zeros(600, np.float32)))
    assert (got[:4].tolist(), got[4:].any()) == ([1.0, 2.0, 3.0, 0.0], False)
