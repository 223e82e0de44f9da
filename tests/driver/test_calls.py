"""Calls of jitted functions: trees of every kind, what is compiled anew, errors, threads, memory, and their speed."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlc
import mlc.numpy as mnp
from mlc import tree
from mlc.errors import ArgumentError, DTypeError, TracerError

Pair = namedtuple("Pair", "left right")


class Point(NamedTuple):
    y: Any
    x: Any = None


@dataclass(frozen=True)
class Frozen:
    b: Any
    a: Any


@dataclass(slots=True)
class Slotted:
    only: Any

    def __post_init__(self) -> None:
        if not isinstance(self.only, list):  # what tracers would not pass: flattening goes around it
            raise TypeError("only lists")


class Bag:
    def __init__(self, label: str, items: list[Any]) -> None:
        self.label, self.items = label, items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bag) and (self.label, self.items) == (other.label, other.items)


tree.register_node(Bag, lambda b: (b.items, b.label), lambda label, children: Bag(label, list(children)))

keys = st.text("abc", min_size=1, max_size=2)
trees = st.recursive(
    st.integers(0, 99) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(st.integers(-3, 3), inner, max_size=3)
        | st.lists(st.tuples(keys, inner), max_size=3).map(OrderedDict)
        | st.tuples(inner, inner).map(lambda p: Pair(*p))
        | st.tuples(inner, inner).map(lambda p: Point(*p))
        | st.tuples(inner, inner).map(lambda p: Frozen(*p))
        | st.lists(inner, max_size=2).map(Slotted)
        | st.builds(Bag, keys, st.lists(inner, max_size=2))
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees, trees)
def test_trees_come_back_as_they_were(one: Any, other: Any) -> None:
    """Twice: the first call is flattened for the trace too, the second by the binding alone."""
    identity = mlc.jit(lambda x, y: {"x": x, "y": y})
    for x, y in ((one, other), (tree.map(lambda n: n + 1, one), tree.map(lambda n: n + 1, other))):
        got = identity(x, y=y)
        assert tree.structure(got) == tree.structure({"x": x, "y": y})
        assert [int(leaf) for leaf in tree.leaves(got)] == tree.leaves({"x": x, "y": y})


def counted(function: Callable[..., Any], **options: Any) -> tuple[Any, list[int]]:
    traces: list[int] = []

    def inner(*args: Any, **kwargs: Any) -> Any:
        traces.append(1)
        return function(*args, **kwargs)

    inner.__signature__ = __import__("inspect").signature(function)  # type: ignore[attr-defined]
    return mlc.jit(inner, **options), traces


X = np.arange(4, dtype=np.float32)
SAME: dict[str, tuple[Any, Any]] = {
    "values": (X, X + 1),
    "NumPy and mlc": (X, mnp.asarray(X)),
    "strided": (X, np.arange(8, dtype=np.float32)[::2]),
    "the other byte order": (X, X.astype(">f4")),
    "numbers": (1.5, 2.5),
    "key order": ({"a": X, "b": 1.0}, {"b": 2.0, "a": X}),
    "equal keys": ({"key": X}, {"".join(["k", "ey"]): X}),
    "f32 scalar": (np.float32(1), np.float32(2)),
    "int subclasses": (3, __import__("enum").IntEnum("E", "one").one),
}  # fmt: skip
DIFFERENT: dict[str, tuple[Any, Any]] = {
    "shape": (X, X[:3]),
    "rank": (X, X[None]),
    "dtype": (X, X.astype(np.int32)),
    "number and array": (1.5, np.float32(1.5)),
    "int and float": (1, 1.0),
    "int and bool": (1, True),
    "keys": ({"a": X}, {"b": X}),
    "list and tuple": ([X], (X,)),
    "None": ((X, None), (X,)),
    "namedtuple and tuple": (Pair(X, 1), (X, 1)),
    "namedtuples": (Pair(X, 1), Point(X, 1)),
    "dict and OrderedDict": ({"a": X}, OrderedDict(a=X)),
    "order of an OrderedDict": (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    "nesting": ([[1], 2], [[1, 2]]),
    "aux of a registered type": (Bag("a", [1]), Bag("b", [1])),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_equal_signatures_share_code(name: str) -> None:
    f, traces = counted(lambda x: x)
    for x in (*SAME[name], *SAME[name]):
        f(x)
    assert len(traces) == 1


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_signature_is_compiled(name: str) -> None:
    f, traces = counted(lambda x: x)
    for x in (*DIFFERENT[name], *DIFFERENT[name]):
        f(x)
    assert len(traces) == 2


STATICS: list[tuple[Any, Any]] = [
    (1, 2), (1, 1.0), (1, True), (0.0, -0.0), ("a", "b"), (None, 0), ((1, 2), (1, 2.0)), ((1, (2,)), (1, 2)),
    ((0.0,), (-0.0,)), (len, max), (X.dtype, "f32"),
]  # fmt: skip


@pytest.mark.parametrize("one, other", STATICS)
def test_static_values_by_position_and_name(one: Any, other: Any) -> None:
    f, traces = counted(lambda x, n, y: (x, y), static_argnames="n")
    for n in (one, other, one, other):
        assert float(f(1.0, n, 2.0)[1]) == 2.0
    assert len(traces) == 2
    assert float(f(1.0, y=3.0, n=one)[1]) == 3.0 and float(f(x=1.0, n=other, y=4.0)[1]) == 4.0
    count = len(traces)
    f(1.0, y=3.0, n=other), f(y=2.0, x=1.0, n=one)
    assert len(traces) == count + 1 or len(traces) == count  # by name or by position may be one signature


def test_nan_as_a_static_value_is_one_value() -> None:
    f, traces = counted(lambda x, n: x, static_argnames="n")
    f(1.0, float("nan")), f(1.0, float("nan"))
    assert len(traces) == 1


def test_an_unhashable_static_argument() -> None:
    f = mlc.jit(lambda x, n: x, static_argnames="n")
    with pytest.raises(ArgumentError, match=r"static argument is not hashable.*\n?.*hint: pass it as an array"):
        f(1.0, [1])
    with pytest.raises(ArgumentError, match="not hashable"):
        f(1.0, n=([1],))


def test_wrong_calls_name_the_argument() -> None:
    f = mlc.jit(lambda x, y: x)
    for args, words in [(("text", 1), "argument x is a str"), ((1, b"bytes"), "argument y is a bytes")]:
        with pytest.raises(ArgumentError, match=words):
            f(*args)
    with pytest.raises(ArgumentError, match="missing a required argument"):
        f(1)
    with pytest.raises(ArgumentError, match="cannot be sorted"):
        f({1: 1, "a": 2}, 1)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ArgumentError, match="nested deeper"):
        f(endless, 1)
    f(1, 1)
    with pytest.raises(DTypeError, match=r"test_calls.py:\d+: [\s\S]*does not fit in i64"):
        f(1 << 70, 1)


def test_a_leaked_tracer_is_refused() -> None:
    kept: list[Any] = []
    f = mlc.jit(lambda x: x + 1)
    mlc.jit(lambda x: (kept.append(x), x)[1])(1.0)
    with pytest.raises(TracerError):
        f(kept[0])


def test_calls_while_another_thread_traces() -> None:
    f = mlc.jit(lambda x: x + 1)
    f(X)
    inside, go_on = threading.Event(), threading.Event()

    def slow(x: Any) -> Any:
        inside.set()
        go_on.wait(10)
        return x * 2

    thread = threading.Thread(target=lambda: mlc.jit(slow)(X))
    thread.start()
    assert inside.wait(10)
    np.testing.assert_array_equal(np.asarray(f(X)), X + 1)
    np.testing.assert_array_equal(np.asarray(f(X[:2].copy())), X[:2] + 1)
    go_on.set()
    thread.join()


def test_many_leaves_from_numpy() -> None:
    """More than fit on the stack; plain buffers point into themselves, so that growing must mend them."""
    values = [np.full(i % 3, i, np.float32) for i in range(300)]
    out = mlc.jit(lambda xs: [x + 1 for x in xs])(values)
    for x, y in zip(values, out, strict=True):
        np.testing.assert_array_equal(np.asarray(y), x + 1)


def test_calls_leave_no_references() -> None:
    f = mlc.jit(lambda t, n: {"a": t["x"], "b": [t["y"][0] * 2]}, static_argnames="n")
    x, key = mnp.asarray(X), "static value"
    argument = {"y": (x,), "x": np.ones(3, np.float32)}
    f(argument, key)
    before = [sys.getrefcount(o) for o in (x, argument, argument["x"], key, argument["y"])]
    for _ in range(20):
        f(argument, key)
        with pytest.raises(ArgumentError):
            f(argument, [])
        with pytest.raises(ArgumentError):
            f({"x": x, "y": object()}, key)
    assert [sys.getrefcount(o) for o in (x, argument, argument["x"], key, argument["y"])] == before


def test_a_function_that_holds_itself_is_collected() -> None:
    class Holder:
        def __init__(self) -> None:
            self.f = mlc.jit(lambda x, n: (x, self)[0], static_argnames="n")
            self.f(1.0, self.f)

    gone = weakref.ref(Holder())
    gc.collect()
    assert gone() is None


class Model:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    @mlc.jit(static_argnames="self")
    def apply(self, x: Any) -> Any:
        return x * self.scale


def test_methods() -> None:
    two, three = Model(2.0), Model(3.0)
    for model in (two, three, two):
        np.testing.assert_array_equal(np.asarray(model.apply(X)), X * model.scale)
    assert "multiply" in two.apply.lower(X).as_text()


def python_frames(call: Callable[[], object]) -> list[str]:
    """The functions of Python that run in a call, its own lambda aside: it is one of C where there is none."""
    call()
    frames: list[str] = []
    sys.setprofile(lambda frame, event, argument: frames.append(frame.f_code.co_qualname) if event == "call" else None)
    try:
        call()
    finally:
        sys.setprofile(None)
    return frames[1:]


def test_a_compiled_function_takes_every_size_in_its_bounds() -> None:
    spec = {"x": mlc.ShapeDtype((mlc.dim("n", 1, 100), 2), "f32"), "k": mlc.ShapeDtype((), "f16")}
    compiled = mlc.jit(lambda t, y: (t["x"] * y, t["k"])).lower(spec, mlc.ShapeDtype(())).compile()
    for n in (1, 5, 100, 5):
        x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
        for same in (x, mnp.asarray(x), x.astype(">f4"), np.asfortranarray(x)):
            got, k = compiled({"k": 1.5, "x": same}, 3)
            np.testing.assert_array_equal(np.asarray(got), x * 3)
            assert float(k) == 1.5
    with pytest.raises(ArgumentError, match="was compiled for arguments"):
        compiled({"x": x}, 3)
    with pytest.raises(mlc.MlcError, match=r"input t\['x'\]: expected f32\[n,2\], got f32\[101,2\]; axis 0 has 101"):
        compiled({"k": 1.5, "x": np.ones((101, 2), np.float32)}, 3)
    with pytest.raises(DTypeError, match=r"expected f32\[n,2\], got f64\[1,2\]"):
        compiled({"k": 1.5, "x": np.ones((1, 2))}, 3)
    with pytest.raises(ArgumentError, match="got an object of type str"):
        compiled({"k": 1.5, "x": "text"}, 3)


def test_a_call_of_a_compiled_function_costs_little() -> None:
    argument = {"k": mnp.asarray(1.5, "f16"), "x": mnp.ones((5, 2))}
    compiled = mlc.jit(lambda t, y: (t["x"] * y, t["k"])).lower(argument, 3).compile()
    assert python_frames(lambda: compiled(argument, 3)) == []


def test_a_call_runs_no_python() -> None:
    add = mlc.jit(lambda a, b: a + b)
    a, b = mnp.asarray(X), mnp.asarray(X)
    assert python_frames(lambda: add(a, b)) == []
    assert python_frames(lambda: add(X, X)) == []
    assert python_frames(lambda: add(a, 1.0)) == []
    leaves = {f"layer{i:02}": {"w": a, "b": b, "state": (a, b)} for i in range(15)}
    first = mlc.jit(lambda t: t["layer00"]["w"] + 1)
    assert python_frames(lambda: first(leaves)) == []
    assert python_frames(lambda: mlc.jit(lambda a: a)(a)), "a first call is traced in Python"
