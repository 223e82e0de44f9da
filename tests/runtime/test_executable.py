"""Calls: types and symbols are checked, donated memory changes hands, lent memory is only borrowed."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from mlc.array import Array, asarray
from mlc.errors import ArgumentError, DeletedError, DTypeError, MlcError, ParseError, ShapeError
from mlc.ir.dims import Symbol, dim
from mlc.ir.plan import Copy, Plan, PlanInput, PlanOutput, byte_size, encode
from mlc.ir.types import BF16, DTYPES, F32, DType, TensorType
from mlc.runtime import Executable

from .conftest import Load
from .plans import BOUND, KERNELS, N, counter, overrun, place, stress, stress_expected, vector


def identity(*types: TensorType) -> Plan:
    """Copies every input to an output; needs no kernel."""
    symbols: dict[Symbol, None] = {}
    for t in types:
        symbols |= dict.fromkeys(s for n in t.shape if not isinstance(n, int) for s in n.symbols)
    inputs = tuple(PlanInput(f"x{i}", t) for i, t in enumerate(types))
    outputs = tuple(PlanOutput(f"y{i}", t) for i, t in enumerate(types))
    steps = tuple(Copy(place("output", i), place("input", i), byte_size(t)) for i, t in enumerate(types))
    return Plan("identity", tuple(symbols), inputs, outputs, (), 0, 0, (), steps)


def executable(plan: Plan) -> Executable:
    return Executable(encode(plan), [], [], None, Array)


def values(arrays: list[Array]) -> list[object]:
    return [a.tolist() for a in arrays]


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 100, BOUND])
def test_one_program_for_all_sizes(load: Load, n: int) -> None:
    x = np.arange(n, dtype=np.float32) % 7
    for leaves in ([asarray(x)], (x,), [np.repeat(x, 2)[::2]]):
        outputs = load(stress())(leaves)
        assert all(type(y) is Array for y in outputs)
        for y, expected in zip(outputs, stress_expected(x), strict=True):
            np.testing.assert_array_equal(np.asarray(y), expected)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 5), (1, 2, 3, 4, 5, 6)], ids=str)
def test_every_dtype_and_rank(dtype: DType, shape: tuple[int, ...]) -> None:
    host = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 3).astype(dtype.numpy)
    call = executable(identity(TensorType(shape, dtype)))
    for leaf in (host, asarray(host)):
        (out,) = call([leaf])
        assert (out.shape, out.dtype) == (shape, dtype)
        np.testing.assert_array_equal(np.asarray(out), host)


def test_symbols_in_several_shapes() -> None:
    n, m = dim("n", 0, 9), dim("m", 1, 9)
    call = executable(identity(TensorType((n, m), F32), TensorType((m, n * 2 + 1), F32)))
    out = call([np.ones((2, 3), np.float32), np.ones((3, 5), np.float32)])
    assert [y.shape for y in out] == [(2, 3), (3, 5)]
    with pytest.raises(ShapeError) as caught:
        call([np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)])
    assert str(caught.value) == "identity: input x1: expected f32[m,1+2*n], got f32[3,4]; axis 1 has 4, not 5"


def test_python_numbers_are_scalars() -> None:
    scalars = [TensorType((), DTYPES[name]) for name in ("f32", "f64", "i64", "u8", "bool", "i8")]
    out = executable(identity(*scalars))([1.5, 2, -3, 255, True, -128])
    assert values(out) == [1.5, 2.0, -3, 255, True, -128]
    call = executable(identity(TensorType((), DTYPES["u8"])))
    for number in (256, -1, 1 << 70):
        with pytest.raises(DTypeError, match="does not fit in u8"):
            call([number])
    with pytest.raises(ArgumentError, match=r"input x0: expected u8\[\], got an object of type float"):
        call([1.0])


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_numbers_as_half_floats_are_rounded_to_nearest(name: str) -> None:
    call = executable(identity(TensorType((), DTYPES[name])))
    chance = np.random.default_rng(0)
    numbers = chance.normal(size=2000) * 10.0 ** chance.integers(-10, 7, 2000)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.999, 65520, 2**-24, 2**-25, 2**-25 * 1.001]
    halves = [-(2**-14), 5e-324, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 2**-14 * (1 - 2**-12)]
    with np.errstate(over="ignore"):
        expected = np.array([*numbers, *edges, *halves]).astype(DTYPES[name].numpy)
    got = np.array([np.asarray(call([float(x)])[0]) for x in (*numbers, *edges, *halves)])
    np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64))


X = np.ones(4, np.float32)
WRONG: dict[str, tuple[type[MlcError], list[object]]] = {
    "counter: it takes 2 inputs, 1 were given": (ArgumentError, [X]),
    "counter: input other: expected f32[n], got f64[4]": (DTypeError, [X, np.ones(4)]),
    "counter: input state: expected f32[n], got f32[4,1]; the number of axes differs": (ShapeError, [X[:, None], X]),
    "counter: input other: expected f32[n], got f32[3]; axis 0 has 3, not 4": (ShapeError, [X, X[:3]]),
    "counter: input state: expected f32[n], got f32[2000]; axis 0 has 2000, n is in 0..1024": (
        ShapeError, [np.ones(2000, np.float32), X],
    ),
    "counter: input state: expected f32[n], got an object of type str": (ArgumentError, ["text", X]),
    "counter: input other: expected f32[n], got an object of type list": (ArgumentError, [X, [1.0]]),
    "counter: input other: expected f32[n], got bf16[4]": (DTypeError, [X, X.astype(ml_dtypes.bfloat16)]),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_wrong_leaves(load: Load, message: str) -> None:
    kind, leaves = WRONG[message]
    with pytest.raises(kind) as caught:
        load(counter())(leaves)
    assert str(caught.value) == message


def test_a_failed_call_keeps_its_inputs(load: Load) -> None:
    state = asarray(X)
    with pytest.raises(ShapeError):
        load(counter())([state, np.ones(3, np.float32)])
    assert not state.is_deleted() and not state.pinned
    assert state.tolist() == X.tolist()


def test_donated_memory_becomes_the_output(load: Load) -> None:
    call = load(counter())
    state = asarray(np.zeros(100, np.float32))
    address = state._address()
    for _ in range(5):
        before = state
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (state,) = call([state, np.zeros(100, np.float32)])
        assert before.is_deleted()
        assert state._address() == address
    assert state.tolist() == [5.0] * 100


def test_a_deleted_array_says_so(load: Load) -> None:
    call = load(counter())
    state = asarray(X)
    call([state, X])
    assert repr(state) == "Array(f32[4], deleted)"
    assert state.shape == (4,)
    first, second = (lambda a: call([a, X])), (lambda a: call([X, a]))
    for use in (np.asarray, Array.tolist, Array.__array__, list, copy_of, first, second):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(MlcError, match="donated"):
                use(state)
    with pytest.raises(DeletedError, match=r"input state: this array .*donated"):
        call([state, X])


def copy_of(array: Array) -> Array:
    return asarray(array, copy=True)


def test_donation_copies_what_is_in_use(load: Load) -> None:
    call = load(counter())
    state = asarray(X)
    view = np.asarray(state)
    with pytest.warns(UserWarning, match="counter: input state is donated, but is copied: it is in use elsewhere"):
        (out,) = call([state, X])
    assert (view.tolist(), values([out])) == ([1.0] * 4, [[2.0] * 4])
    assert not state.is_deleted()
    del view
    with pytest.warns(UserWarning, match="passed twice"):
        call([state, state])
    assert state.tolist() == [1.0] * 4
    with pytest.warns(UserWarning, match="its memory is lent"):
        call([X, X])
    with pytest.warns(UserWarning, match="its memory is borrowed"):
        call([asarray(X, copy=False), X])
    assert X.tolist() == [1.0] * 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            call([state, state])
        assert state.tolist() == [1.0] * 4
        call([state, X])
    assert state.is_deleted()


def test_lent_memory_is_given_back(load: Load) -> None:
    host = bytearray(16)
    load(counter(donated=False))([np.frombuffer(host, np.float32), X])
    host.append(1)  # BufferError while a buffer is exported


def test_constants_are_held_and_pinned() -> None:
    plan = replace(
        identity(TensorType((4,), F32)), constants=(replace(stress().constants[0], type=vector(4)),),
        steps=(Copy(place("output"), place("constant"), 16),),
    )  # fmt: skip
    weights = asarray(X)
    call = Executable(encode(plan), [], [weights], None, Array)
    assert weights.pinned
    assert values(call([X * 0])) == [[1.0] * 4]
    del call
    assert not weights.pinned
    for wrong, message in ((asarray([1.0]), r"constant c: expected f32\[4\], got f32\[1\]"), (3, "no array")):
        with pytest.raises(ArgumentError, match=message):
            Executable(encode(plan), [], [wrong], None, Array)
    with pytest.raises(ArgumentError, match="0 kernels and 1 constants, 0 and 0 were given"):
        Executable(encode(plan), [], [], None, Array)


def test_bf16_constants() -> None:
    host = np.array([0, 1.5, 2.5], ml_dtypes.bfloat16)
    pair = TensorType((2,), BF16)
    plan = replace(
        identity(pair), constants=(replace(stress().constants[0], type=pair),),
        steps=(Copy(place("output"), place("constant"), 4),),
    )  # fmt: skip
    for weights in (host[1:], asarray(host[1:]), asarray(host[1:], copy=False)):
        assert values(Executable(encode(plan), [], [weights], None, Array)([host[:2]])) == [[1.5, 2.5]]


def test_damaged_plans_are_refused() -> None:
    data = encode(counter())
    with pytest.raises(ParseError, match="checksum"):
        Executable(data[:-1] + b"\x01", [64] * len(KERNELS), [], None, Array)
    with pytest.raises(ParseError, match="begin"):
        Executable(b"", [], [], None, Array)
    with pytest.raises(ArgumentError, match="kernel scale has no address"):
        Executable(data, [0] * len(KERNELS), [], None, Array)


def test_a_step_that_fails_reports_and_leaves_the_pool_usable(load: Load) -> None:
    x = np.ones(1000, np.float32)
    for _ in range(20):
        with pytest.raises(MlcError, match="overrun: a step lies outside its buffer"):
            load(overrun())([x])
        np.testing.assert_array_equal(np.asarray(load(stress())([x])[1]), 2 * x)


def test_out_of_memory_is_an_error() -> None:
    huge = dim("k", 0, 1 << 40)
    plan = identity(TensorType((huge,), DTYPES["u8"]))
    plan = replace(plan, outputs=(PlanOutput("y", TensorType((huge * (1 << 45),), F32)),), steps=())
    with pytest.raises(MemoryError, match="f32"):
        executable(plan)([np.ones(10, np.uint8)])
    with pytest.raises(ShapeError, match="overflows"):
        larger = replace(plan, outputs=(PlanOutput("y", TensorType((huge * (1 << 60),), F32)),))
        executable(larger)([np.ones(50, np.uint8)])
    with pytest.raises(MemoryError, match="temporaries take"):
        executable(replace(identity(vector(1)), arena_bytes=1 << 55))([X[:1]])


def test_many_leaves() -> None:
    """More than fits on the stack."""
    call = executable(identity(*[vector(2)] * 300))
    leaves = [np.full(2, i, np.float32) for i in range(300)]
    assert values(call(leaves)) == [[i, i] for i in range(300)]


def test_calls_from_many_python_threads(load: Load) -> None:
    """Calls that find the pool busy run on their own thread, with the same results."""
    call = load(stress(N))
    failures: list[object] = []

    def work(seed: int) -> None:
        for i in range(200):
            x = np.arange(400 + seed + i, dtype=np.float32) % 5
            for y, expected in zip(call([asarray(x)]), stress_expected(x), strict=True):
                if not np.array_equal(np.asarray(y), expected):
                    failures.append((seed, i))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
