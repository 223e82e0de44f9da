"""jit and its stages: signatures, trees, static and donated arguments, nesting, symbolic sizes, text of every stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.compiler import Options, compile_function, link
from mlc.errors import ArgumentError, InternalError, MlcError, ParseError
from mlc.ir.graph.parser import parse_graph
from mlc.ir.kernel import parse_kernel, parse_kernels
from mlc.passes.runner import Pass, run_passes
from mlc.stages import STAGES

X = np.linspace(-2, 2, 33, dtype=np.float32)


def test_a_function_is_traced_once_for_each_signature() -> None:
    traces = []

    @mlc.jit
    def f(x, y):
        traces.append(x.shape)
        return x * y

    for n in (3, 4, 3):
        np.testing.assert_array_equal(np.asarray(f(X[:n], 2.0)), X[:n] * 2)
    f(X[:3].astype(np.float64), 2.0)
    f(X[:3], 2)
    assert len(traces) == 4  # f32[3], f32[4], f64[3], and a Python int


def test_numpy_arrays_and_mlc_arrays_of_one_type_share_code() -> None:
    traces = []

    @mlc.jit
    def f(x):
        traces.append(x.shape)
        return x + 1

    for x in (X, mnp.asarray(X), f(X), X[::-1], np.float32(3), mnp.asarray(np.float32(3))):
        np.testing.assert_array_equal(np.asarray(f(x)), np.asarray(x) + 1)
    assert len(traces) == 2


def test_numbers_are_traced_and_never_static() -> None:
    traces = []

    @mlc.jit
    def f(x, scale):
        traces.append(scale)
        return x * scale

    assert [float(f(np.float32(3), s)) for s in (1.0, 2.0, -4.5)] == [3.0, 6.0, -13.5]
    assert len(traces) == 1


def test_trees_go_in_and_come_out() -> None:
    @mlc.jit
    def f(params, *, offset):
        return {"sum": params["w"] + params["b"][0], "pair": (offset, None)}

    out = f({"w": X, "b": [X]}, offset=X)
    np.testing.assert_array_equal(np.asarray(out["sum"]), X + X)
    np.testing.assert_array_equal(np.asarray(out["pair"][0]), X)
    assert out["pair"][1] is None


def test_static_arguments_are_passed_as_they_are() -> None:
    @mlc.jit(static_argnames=("mode", "n"))
    def f(x, mode, n=2):
        return mnp.sum(x) if mode == "sum" else x * n

    np.testing.assert_allclose(float(f(X, "sum")), X.sum(), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(f(X, "scale", 3)), X * 3)
    np.testing.assert_array_equal(np.asarray(f(X, mode="scale")), X * 2)
    with pytest.raises(ArgumentError, match="hashable"):
        f(X, [1])


def test_unknown_names_are_refused_when_jit_is_applied() -> None:
    with pytest.raises(ArgumentError, match="no argument parms"):
        mlc.jit(lambda params: params, donate_argnames="parms")


def test_a_donated_array_is_updated_in_place() -> None:
    @mlc.jit(donate_argnames="x")
    def f(x):
        return x * 2

    a = mnp.asarray(X)
    before = np.asarray(a).__array_interface__["data"][0]
    del before  # a live view would pin the buffer
    b = f(a)
    assert a.is_deleted()
    np.testing.assert_array_equal(np.asarray(b), X * 2)
    plan = f.lower(mlc.ShapeDtype(X.shape, "f32")).compile().function.plan
    assert plan.inputs[0].donated_to == 0


def test_a_donated_array_with_a_later_reader_is_not_overwritten_too_early() -> None:
    """The update of w must wait for the product that reads the old w."""

    @mlc.jit(donate_argnames=("w", "v"))
    def f(w, v):
        new = w + v
        return new, w @ new, v - mnp.sum(w)

    rng = np.random.default_rng(0)
    w, v = (rng.normal(size=(5, 5)).astype(np.float32) for _ in range(2))
    got = f(mnp.asarray(w), mnp.asarray(v))
    np.testing.assert_allclose(np.asarray(got[0]), w + v, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(got[1]), w @ (w + v), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.asarray(got[2]), v - w.sum(), rtol=1e-5, atol=1e-5)


def test_jit_inside_jit_is_a_call_and_computes_the_same() -> None:
    inner = mlc.jit(lambda x: mnp.exp(x) + 1)
    outer = mlc.jit(lambda x: inner(inner(x)))
    text = outer.lower(X).as_text()
    assert "call" in text
    np.testing.assert_allclose(np.asarray(outer(X)), np.exp(np.exp(X.astype(float)) + 1) + 1, rtol=1e-5)


def test_a_symbolic_size_is_compiled_once_for_all_values() -> None:
    spec = mlc.ShapeDtype((mlc.dim("batch", 1, 64), 3), "f32")
    f = mlc.jit(lambda x: (mnp.mean(x), mnp.sum(x, axis=1), x * 2)).lower(spec).compile()
    rng = np.random.default_rng(0)
    for n in (1, 2, 17, 63, 64):
        x = rng.normal(size=(n, 3)).astype(np.float32)
        mean, rows, twice = f(x)
        np.testing.assert_allclose(float(mean), x.astype(float).mean(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.asarray(rows), x.astype(float).sum(1), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(twice), x * 2)
    with pytest.raises(mlc.MlcError, match="batch"):
        f(np.zeros((65, 3), np.float32))


def test_results_may_be_arguments_constants_and_the_same_value_twice() -> None:
    f = mlc.jit(lambda x: (x, mnp.ones((2,)), x + 1, x + 1, mnp.reshape(x, (3, 11))))
    x, ones, y, z, r = f(X)
    np.testing.assert_array_equal(np.asarray(x), X)
    np.testing.assert_array_equal(np.asarray(ones), [1, 1])
    np.testing.assert_array_equal(np.asarray(y), np.asarray(z))
    np.testing.assert_array_equal(np.asarray(r), X.reshape(3, 11))


def test_every_stage_prints_and_the_texts_parse_back() -> None:
    compiled = mlc.jit(lambda x: mnp.sum(mnp.exp(x) * 2)).lower(X).compile()
    texts = {stage: compiled.as_text(stage) for stage in STAGES}
    assert all(texts.values())
    assert str(parse_graph(texts["graph"])) == texts["graph"]
    assert str(parse_graph(texts["optimized"])) == texts["optimized"]
    for kernel in compiled.function.kernels:
        assert str(parse_kernel(str(kernel))) == str(kernel)
    assert "define" in texts["llvm"]
    with pytest.raises(ArgumentError, match="ptxx"):
        compiled.as_text("ptxx")


def test_stages_are_dumped_by_number(tmp_path: Path) -> None:
    graph = mlc.jit(lambda x: x * 2 + 1).lower(X).graph
    compile_function(graph, replace(Options.from_environment(), dump=tmp_path))
    (folder,) = tmp_path.iterdir()
    names = sorted(p.name for p in folder.iterdir())
    assert names[0] == "00-traced.graph"
    assert [n.split("-", 1)[1] for n in names[-5:]] == ["lowered.kernels", "plan.mlcp", "plan.txt", "llvm.ll", "asm.s"]
    parse_graph((folder / names[0]).read_text())


def test_the_text_of_several_kernels_is_read_back(tmp_path: Path) -> None:
    def f(x):
        y = mnp.exp(x @ x)
        return y / mnp.sum(y, axis=1, keepdims=True)

    compiled = mlc.jit(f).lower(mlc.ShapeDtype((8, 8))).compile()
    text = compiled.as_text("kernels")
    kernels = parse_kernels(text)
    assert len(kernels) > 1 and [str(k) for k in kernels] == [str(k) for k in compiled.function.kernels]
    assert parse_kernels("") == ()
    line = text.count("\n") + 3
    with pytest.raises(ParseError, match=f"line {line}: kernel"):
        parse_kernels(f"{text}\n\nkernel oops {{\n")
    with pytest.raises(ParseError, match="after the kernel"):
        parse_kernel(text)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MLC_SKIP", "simplify,fold", "no pass 'fold' can be left out.*\n.*simplify"),
        ("MLC_SKIP", "fuse", "no pass 'fuse' can be left out"),
        ("MLC_LLVM_OPT", "fast", "MLC_LLVM_OPT=fast is no level"),
        ("MLC_TARGET", "vax", "target 'vax' is not known"),
    ],
)
def test_a_flag_that_means_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(MlcError, match=words):
        mlc.jit(lambda x: x + 1).lower(X).compile()


def test_a_dump_folder_that_cannot_be_made_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    graph = mlc.jit(lambda x: x * 2).lower(X).graph
    with pytest.raises(mlc.MlcError, match="MLC_DUMP"):
        compile_function(graph, replace(Options.from_environment(), dump=tmp_path / "file"))


def test_equal_kernels_are_compiled_once() -> None:
    @mlc.jit
    def f(x, y):
        a = mnp.sum(x, axis=0)
        b = mnp.sum(y, axis=0)
        return mnp.sum(x + a, axis=1), mnp.sum(y + b, axis=1)

    plan = f.lower(mlc.ShapeDtype((8, 8)), mlc.ShapeDtype((8, 8))).compile().function.plan
    assert len(plan.kernels) < len(plan.steps)


def test_a_pass_that_breaks_a_graph_is_named() -> None:
    graph = mlc.jit(lambda x: x * 2).lower(X).graph

    def broken(g):
        raise ZeroDivisionError

    with pytest.raises(InternalError, match="pass broken failed"):
        run_passes(graph, (Pass("broken", broken),))


def test_same_bits_on_one_and_two_threads() -> None:
    from mlc.runtime import num_threads, set_num_threads

    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 257)).astype(np.float32)
    w = rng.normal(size=(257, 65)).astype(np.float32)
    f = mlc.jit(lambda x, w: (mnp.sum(x), mnp.sum(x, axis=0), mlc.nn.softmax(x @ w, axis=1)))
    before = num_threads()
    try:
        set_num_threads(1)
        one = [np.asarray(r).copy() for r in f(x, w)]
        set_num_threads(2)
        two = [np.asarray(r).copy() for r in f(x, w)]
    finally:
        set_num_threads(before)
    for a, b in zip(one, two, strict=True):
        assert a.tobytes() == b.tobytes()


def test_errors_at_a_call_leave_the_process_well() -> None:
    f = mlc.jit(lambda x: x + 1)
    with pytest.raises(mlc.MlcError):
        f("text")
    np.testing.assert_array_equal(np.asarray(f(X)), X + 1)


def test_an_options_object_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_TARGET", "x86-64-v3")
    options = Options.from_environment()
    assert options.target.name == "x86-64-v3"
    graph = mlc.jit(lambda x: mnp.exp(x)).lower(X).graph
    (got,) = link(compile_function(graph, options))([X])
    np.testing.assert_allclose(np.asarray(got), np.exp(X.astype(float)), rtol=3e-7)
    monkeypatch.setenv("MLC_TARGET", "z80")
    with pytest.raises(mlc.MlcError, match="z80"):
        Options.from_environment()


def test_a_donated_array_that_is_also_read_as_a_view_is_not_overwritten() -> None:
    f = mlc.jit(lambda x: x + mnp.sum(mnp.reshape(x, (11, 3)), axis=1)[2], donate_argnames="x")
    want = X + X.reshape(11, 3).sum(1)[2]
    np.testing.assert_allclose(np.asarray(f(mnp.asarray(X))), want, rtol=1e-5)
    g = mlc.jit(lambda x: mnp.ravel(x + mnp.reshape(x, (3, 2)).T), donate_argnames="x")
    y = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(np.asarray(g(mnp.asarray(y))), (y + y.reshape(3, 2).T).ravel())
