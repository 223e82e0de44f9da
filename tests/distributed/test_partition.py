"""data_parallel: what it gives on N ranks is what the step gives on one process; how much is communicated."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import distributed, tree
from mlc.artifact.exporting import recording
from mlc.compiler import kernel_codes
from mlc.distributed.world import pretended
from mlc.errors import ArgumentError, DifferentiationError, DistributedError, ShapeError, UnsupportedError
from mlc.ir.graph import COLLECTIVES, SHARDED_CALL, WHILE, Graph, evaluate_graph, evaluate_ranks, graphs_in
from mlc.ir.graph.verify import verify_graph
from mlc.ir.plan.interpret import NativeKernel, interpret_ranks
from mlc.passes.decompose import decompose
from mlc.passes.partition import partition
from mlc.passes.regions import run_inside

from .steps import BATCH, STEPS

X = np.ones((2, 4), np.float32)
GATHERS = ("statistics_of_the_batch", "rows_against_rows", "loops_and_branches", "contrasted_pairs",
           "microbatches_of_weighted_classes")  # fmt: skip
OF_EIGHT = ("rows_against_rows", "microbatches_of_weighted_classes")  # what is done with rows that all have numbers


def lowered(function: Any, named: dict[str, Any], batch: tuple[str, ...], ranks: int, **how: Any) -> Any:
    """The graph of one of ``ranks`` processes, and the arguments of each."""
    parallel = distributed.data_parallel(function, batch_argnames=batch, **how)
    of_ranks = [{k: rows(v, r, ranks) if k in batch else v for k, v in named.items()} for r in range(ranks)]
    with pretended(ranks):
        low = parallel.lower(**of_ranks[0])
    return low, [
        [np.asarray(x) for x in tree.leaves(((), {**own, "_rank": np.int64(r)}))] for r, own in enumerate(of_ranks)
    ]


def rows(x: np.ndarray, rank: int, ranks: int) -> np.ndarray:
    return np.split(x, ranks)[rank]


def collectives(graph: Graph) -> list[str]:
    found, work = [], [graph]
    while work:
        for node in work.pop().nodes:
            found += [node.op.name] if node.op in COLLECTIVES else []
            work += graphs_in(node)
    return sorted(found)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", STEPS)
def test_as_on_one_process(name: str, ranks: int) -> None:
    function, _, named, batch = STEPS[name]()
    low, arguments = lowered(function, named, batch, ranks)
    graph = low.graph
    verify_graph(graph)
    want = evaluate_graph(mlc.jit(function).lower(**named).graph, [np.asarray(x) for x in tree.leaves(((), named))])
    after = partition(run_inside(decompose, graph))
    verify_graph(after)
    assert not any(n.op is SHARDED_CALL for n in after.nodes)
    for found in (evaluate_ranks(graph, arguments), evaluate_ranks(after, arguments)):
        for rank in range(ranks):
            for got, wanted in zip(found[rank], want, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
            for got, first in zip(found[rank], found[0], strict=True):
                assert got.tobytes() == first.tobytes()  # all results are the same on all ranks
    if name not in GATHERS:
        assert set(collectives(after)) == {"all_reduce"}, "no value of the batch is gathered"


@pytest.mark.parametrize("name", [n for n in STEPS if n not in OF_EIGHT])
def test_batches_of_a_symbolic_size(name: str) -> None:
    """Compiled once, for any number of rows: the same as on one process, and as little communicated."""
    function, _, named, batch = STEPS[name]()
    size, ranks = mlc.dim("rows", 1, 9), 2
    specs = {
        k: tree.map(lambda a: mlc.ShapeDtype((size, *a.shape[1:]), a.dtype.name), v) if k in batch else v
        for k, v in named.items()
    }
    with pretended(ranks):
        graph = distributed.data_parallel(function, batch_argnames=batch).lower(**specs).graph
    after = partition(run_inside(decompose, graph))
    verify_graph(after)
    static = partition(run_inside(decompose, lowered(function, named, batch, ranks)[0].graph))
    assert collectives(after) == collectives(static)
    for count in (BATCH, BATCH - 4):
        some = {k: v[:count] if k in batch else v for k, v in named.items()}
        want = evaluate_graph(mlc.jit(function).lower(**some).graph, [np.asarray(x) for x in tree.leaves(((), some))])
        arguments = lowered(function, some, batch, ranks)[1]
        for found in (evaluate_ranks(graph, arguments), evaluate_ranks(after, arguments)):
            for got, wanted in zip(found[1], want, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


def test_rows_of_results_of_a_symbolic_size_in_code() -> None:
    """The plan, with compiled kernels: each rank's rows, counted over all of them."""
    step = distributed.data_parallel(
        lambda x: (x - mnp.mean(x), mnp.arange(x.shape[0])), batch_argnames="x", batch_results=True
    )
    with pretended(3):
        compiled = step.lower(mlc.ShapeDtype((mlc.dim("rows", 1, 9),), "f32")).compile().function
    for count in (1, 4):
        x = np.arange(3.0 * count, dtype=np.float32) ** 2
        given = [[rows(x, r, 3), np.int64(r)] for r in range(3)]
        kernels = [NativeKernel(code.address) for code in kernel_codes(compiled)]
        found = interpret_ranks(compiled.plan, kernels, compiled.constants, given)
        np.testing.assert_allclose(np.concatenate([f[0] for f in found]), x - x.mean(), rtol=1e-6, atol=1e-5)
        np.testing.assert_array_equal(np.concatenate([f[1] for f in found]), np.arange(3 * count))


def test_one_all_reduce_a_parameter_and_one_for_the_loss() -> None:
    function, _, named, batch = STEPS["dense_dropout_adam"]()
    after = partition(run_inside(decompose, lowered(function, named, batch, 2)[0].graph))
    assert collectives(after) == ["all_reduce"] * 5


def test_gradients_of_a_loop_are_added_up_behind_it() -> None:
    function, _, named, batch = STEPS["recurrent_scan"]()
    after = partition(run_inside(decompose, lowered(function, named, batch, 2)[0].graph))
    loops = [n for n in after.nodes if n.op is WHILE]
    assert len(loops) >= 2 and not any(collectives(g) for n in loops for g in graphs_in(n))
    assert collectives(after) == ["all_reduce"] * len(collectives(after))


def test_rows_of_results() -> None:
    def step(w: Any, x: Any) -> Any:
        y = x @ w
        return {"y": y, "total": mnp.sum(y), "both": (y * 2.0, mnp.arange(BATCH))}

    named = {"w": np.eye(3), "x": np.arange(24.0).reshape(BATCH, 3)}
    wanted = {"y": True, "total": False, "both": True}
    low, arguments = lowered(step, named, ("x",), 4, batch_results=wanted)
    after = partition(run_inside(decompose, low.graph))
    assert collectives(after) == ["all_reduce"]
    for rank, found in enumerate(evaluate_ranks(after, arguments)):
        own = rows(named["x"], rank, 4)
        for got, want in zip(found, (own * 2, [2 * rank, 2 * rank + 1], 24 * 23 / 2, own), strict=True):
            np.testing.assert_array_equal(got, want)


def test_integers_are_exact_in_any_order() -> None:
    """Sums of integer-valued f32 have no rounding: the same bits as one process, for each order of folding."""
    rng = np.random.default_rng(1)

    def step(w: Any, x: Any, y: Any) -> Any:
        return w - mnp.permute_dims(x, (1, 0)) @ (x @ w - y)

    named = {
        "w": rng.integers(-3, 4, (5, 2)),
        "x": rng.integers(-3, 4, (BATCH, 5)),
        "y": rng.integers(-3, 4, (BATCH, 2)),
    }
    named = {k: v.astype(np.float32) for k, v in named.items()}
    low, arguments = lowered(step, named, ("x", "y"), 4)
    want = named["w"] - named["x"].T @ (named["x"] @ named["w"] - named["y"])
    after = partition(run_inside(decompose, low.graph))
    for order in ("linear", "recursive_halving", "ring"):
        for found in evaluate_ranks(after, arguments, order=order):
            assert found[0].tobytes() == want.astype(np.float32).tobytes()


def test_alone_it_is_the_function() -> None:
    @distributed.data_parallel(batch_argnames="x")
    @mlc.jit(donate_argnames="w", static_argnames="times")
    def step(w: Any, x: Any, times: int) -> Any:
        """What it does."""
        return w + mnp.sum(x, axis=0) * times

    assert step.__doc__ == "What it does." and step.__name__ == "step"
    w = mnp.ones(2)
    assert step(w, np.ones((4, 2), np.float32), times=3).tolist() == [13.0, 13.0]
    assert w.is_deleted()
    assert not any(n.op is SHARDED_CALL for n in step.lower(np.ones(2), np.ones((4, 2)), times=2).graph.nodes)


def test_the_step_means_one_process_inside() -> None:
    def step(x: Any) -> Any:
        assert distributed.size() == 1 and distributed.rank() == 0
        return mlc.all_reduce(mnp.sum(x)) / distributed.size()

    low, arguments = lowered(step, {"x": np.arange(8.0)}, ("x",), 2)
    assert [r[0] for r in evaluate_ranks(low.graph, arguments)] == [28.0, 28.0]


def test_within_a_jitted_loop_of_steps() -> None:
    parallel = distributed.data_parallel(lambda w, x: w - 0.1 * mnp.mean(x * w, axis=0), batch_argnames="x")

    def train(w: Any, x: Any) -> Any:
        return mlc.fori_loop(0, 3, lambda i, w: parallel(w, x), w)

    x, w = np.random.default_rng(2).normal(size=(8, 3)), np.ones(3)
    with pretended(2):
        graphs = [mlc.jit(train).lower(w, rows(x, 0, 2)).graph]
    after = run_inside(partition, run_inside(decompose, graphs[0]))
    for found in evaluate_ranks(after, [[w, rows(x, r, 2)] for r in range(2)]):
        np.testing.assert_allclose(found[0], evaluate_graph(mlc.jit(train).lower(w, x).graph, [w, x])[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "said", "call"),
    [
        (ArgumentError, "has no array argument z", lambda: distributed.data_parallel(lambda x: x, batch_argnames="z")),
        (DifferentiationError, "not differentiated", lambda: mlc.grad(lambda x: mnp.sum(parallel(2)(x)))(np.ones(2))),
    ],
)  # fmt: skip
def test_errors(kind: type[Exception], said: str, call: Any) -> None:
    with pretended(2), pytest.raises(kind, match=said):
        call()


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("said", "hint", "call"),
    [
        ("x is f32\\[\\], which has no rows", "a sample in each row", lambda: parallel(2).lower(1.0)),
        ("batch_results does not begin", "", lambda: parallel(2, (True, True)).lower(np.ones((2, 2)))),
        ("is a function of data_parallel already", "apply it once",
         lambda: distributed.data_parallel(parallel(2), batch_argnames="x")),
        ("the world has the axes data, not model", "axes=",
         lambda: distributed.data_parallel(lambda x: x, batch_argnames="x", axis="model").lower(X)),
        ("missing a required argument: 'x'", "it is <lambda>\\(x\\)$", lambda: parallel(2).lower()),
        ("missing a required argument: 'x'", "it is <lambda>\\(x\\)$", lambda: parallel(2)()),
        ("multiple values for argument 'x'", "it is <lambda>\\(x\\)$", lambda: mlc.jit(parallel(2)).lower(X, x=X)),
    ],
)  # fmt: skip
def test_wrong_steps_are_refused_alike_alone_and_among_others(said: str, hint: str, call: Any, ranks: int) -> None:
    with pretended(ranks), pytest.raises(ArgumentError, match=said) as caught:
        call()
    assert re.search(hint, caught.value.hint or "")


def test_what_is_compiled_ahead_is_called_as_the_function() -> None:
    def step(x: Any, times: int) -> Any:
        return x * times + mnp.arange(x.shape[0], dtype="f32")

    function = mlc.jit(step, static_argnames="times")
    parallel = distributed.data_parallel(function, batch_argnames="x", batch_results=True)
    x = np.array([3, 4], np.float32)
    for ranks in (1, 2):  # as no value goes from rank to rank, it runs in a world that is pretended
        with pretended(ranks):
            compiled = parallel.lower(mlc.ShapeDtype((2,)), times=10).compile()
            assert compiled(x).tolist() == [30.0, 41.0]
            with pytest.raises(ArgumentError) as caught:
                compiled(x, x)
            assert "for arguments TreeDef(((*,), {})), called with TreeDef(((*, *), {}))" in caught.value.message


def test_the_end_of_a_world_is_no_matter_of_arguments() -> None:
    with pretended(2):
        compiled = mlc.jit(lambda x: mlc.all_reduce(x)).lower(np.float32(1)).compile()
        with pytest.raises(DistributedError, match="has joined no world") as caught:
            compiled(np.float32(1))
    assert caught.value.hint is None and "test_partition.py" in str(caught.value.location)


def test_no_artifact_is_of_one_process_among_several() -> None:
    spec = mlc.ShapeDtype((2,))
    step = parallel(2)
    for ranks in (1, 2):
        with pretended(ranks), recording() as exports:
            refused = pytest.raises(UnsupportedError, match="step is cut among the processes of this world")
            with refused if ranks == 2 else contextlib.nullcontext():
                mlc.export("step", mlc.jit(lambda x: step(x)), spec)
            assert len(exports) == (ranks == 1)


def parallel(ranks: int, batch_results: Any = False) -> Any:
    return distributed.data_parallel(lambda x: x * 2.0, batch_argnames="x", batch_results=batch_results)


def test_worlds_have_named_axes() -> None:
    with pretended(6, {"data": 3, "model": 2}) as world:
        assert world.groups("data") == ((0, 2, 4), (1, 3, 5))
        assert world.groups("model") == ((0, 1), (2, 3), (4, 5))
        assert world.groups() == world.groups(("data", "model")) == ((0, 1, 2, 3, 4, 5),)
        assert (distributed.size("data"), distributed.size("model"), distributed.rank("model")) == (3, 2, 0)
        with pytest.raises(ArgumentError, match="the world has the axes data, model, not pipe"):
            mlc.all_reduce(1.0, axis="pipe")
        graph = mlc.jit(lambda x: mlc.all_reduce(x, "mean", axis="model")).lower(np.ones(2)).graph
    found = evaluate_ranks(graph, [[np.full(2, float(r))] for r in range(6)])
    assert [f[0][0] for f in found] == [0.5, 0.5, 2.5, 2.5, 4.5, 4.5]


def test_along_one_axis_of_the_world_each_group_has_its_batch() -> None:
    parallel = distributed.data_parallel(lambda x: (mnp.mean(x), x - mnp.mean(x)), batch_argnames="x", axis="data",
                                         batch_results=(False, True))  # fmt: skip
    with pretended(4, {"data": 2, "model": 2}):
        graph = parallel.lower(np.ones((3, 2))).graph
    x = [np.random.default_rng(rank).normal(size=(3, 2)) for rank in range(4)]
    places = [0, 0, 1, 1]  # along data
    given = [[own, np.int64(place)] for own, place in zip(x, places, strict=True)]
    after = partition(run_inside(decompose, graph))
    for found in (evaluate_ranks(graph, given), evaluate_ranks(after, given)):
        for rank in range(4):
            mean = np.mean([x[rank], x[(rank + 2) % 4]])
            np.testing.assert_allclose(found[rank][0], mean, rtol=1e-12)
            np.testing.assert_allclose(found[rank][1], x[rank] - mean, rtol=1e-12, atol=1e-15)


def test_sizes_that_are_known_at_run_time() -> None:
    with pretended(2):
        low = mlc.jit(lambda x: (mlc.all_reduce(x), distributed.all_gather(x))).lower(
            mlc.ShapeDtype((mlc.dim("n", 1, 9), 2))
        )
    plan = low.compile().function.plan
    x = [np.full((3, 2), rank + 1.0, np.float32) for rank in range(2)]
    found = interpret_ranks(plan, low.compile().function.kernels, [], [[v] for v in x])
    for total, both in found:
        assert total.tolist() == [[3.0, 3.0]] * 3
        assert both.tolist() == np.concatenate(x).tolist()


def test_collectives_of_one_process_are_what_they_are_given() -> None:
    x = {"a": np.arange(3.0), "b": np.float32(2)}
    for call in (mlc.all_reduce, distributed.all_gather, distributed.reduce_scatter, distributed.broadcast):
        given = {"a": x["a"]} if call is not mlc.all_reduce else x
        found = call(given)
        assert {k: np.asarray(v).tolist() for k, v in found.items()} == {
            k: np.asarray(v).tolist() for k, v in given.items()
        }
    with contextlib.suppress(ArgumentError):
        distributed.init()
        distributed.init()  # a second time is nothing


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("kind", "said", "call"),
    [
        (ArgumentError, "all_reduce: 'median' is no op", lambda: mlc.all_reduce(X, "median")),
        (ArgumentError, "all_reduce: \\['sum'\\] is no op", lambda: mlc.all_reduce(X, ["sum"])),
        (ArgumentError, "has the axes data, not model", lambda: mlc.all_reduce(X, axis="model")),
        (ArgumentError, "has the axes data, not 3", lambda: mlc.all_reduce(X, axis=3)),
        (ShapeError, "all_reduce: and of f32\\[2,4\\], which is no integer", lambda: mlc.all_reduce(X, "and")),
        (ShapeError, "all_gather: axis 7 is outside of operand f32\\[2,4\\]",
         lambda: distributed.all_gather(X, dimension=7)),
        (ShapeError, "all_gather: axis -3 is outside", lambda: distributed.all_gather(X, dimension=-3)),
        (ShapeError, "all_gather: axis 0 is outside of operand f32\\[\\]", lambda: distributed.all_gather(1.0)),
        (ArgumentError, "all_gather: axis 'rows' is no integer", lambda: distributed.all_gather(X, dimension="rows")),
        (ArgumentError, "reduce_scatter: 'mean' is no op", lambda: distributed.reduce_scatter(X, "mean")),
        (ShapeError, "reduce_scatter: xor of f32\\[2,4\\]", lambda: distributed.reduce_scatter(X, "xor")),
        (ShapeError, "reduce_scatter: axis 5 is outside", lambda: distributed.reduce_scatter(X, dimension=5)),
        (ArgumentError, "broadcast: root is 2, there are ranks", lambda: distributed.broadcast(X, 2)),
        (ArgumentError, "broadcast: root is 'a', there are ranks", lambda: distributed.broadcast(X, "a")),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_alike_alone_and_among_others(
    kind: type[Exception], said: str, call: Any, ranks: int
) -> None:
    with pretended(ranks), pytest.raises(kind, match=said):
        mlc.jit(lambda: call()).lower()
    if ranks == 1:
        with pytest.raises(kind, match=said):
            call()


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_mean_of_integers_is_a_float(ranks: int) -> None:
    """As that of mlc.numpy.mean, in every world."""
    given = [{"a": np.array([1, 2 + r]), "b": np.bool_(r == 0), "c": np.full(2, 2.0 + r)} for r in range(ranks)]
    with pretended(ranks):
        graph = mlc.jit(lambda x: mlc.all_reduce(x, "mean")).lower(given[0]).graph
    want = {k: np.mean([g[k] for g in given], axis=0) for k in given[0]}
    for found in evaluate_ranks(graph, [tree.leaves(g) for g in given]):
        for got, (name, expected) in zip(found, want.items(), strict=True):
            assert got.dtype == ("float64" if name == "c" else "float32")
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "reduce_scatter", "broadcast"])
def test_errors_say_what_the_user_called(name: str) -> None:
    """Not the function of ours that runs it: outside of a trace, the same words as inside."""

    def call() -> Any:
        return getattr(distributed, name)({"a": "words"})

    for given in (call, mlc.jit(call)):
        with pytest.raises(ArgumentError) as caught:
            given()
        assert re.match(rf"{name}: (argument )?x\['a'\] is a str", caught.value.message), caught.value.message


def test_notices_say_what_the_user_called() -> None:
    with pytest.warns(match=r"\nall_reduce: argument x, f64\[3\], is f64"):
        mlc.all_reduce(np.arange(3.0))
    with pytest.raises(ArgumentError, match="\nscan: argument init is a str"):
        mlc.scan(lambda carry, x: (carry, x), "words", np.arange(3))
