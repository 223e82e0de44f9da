"""The plan: barriers where steps conflict and nowhere else, results written where they belong, donated memory."""

from __future__ import annotations

import numpy as np

import mlc
import mlc.numpy as mnp
from mlc.ir.plan import BufferRef, Copy, Plan
from mlc.passes.hazards import Access, Hazards

X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)


def read(ref: BufferRef, nbytes: int = 64) -> Access:
    return ref, "read", nbytes


def write(ref: BufferRef, nbytes: int = 64) -> Access:
    return ref, "write", nbytes


def arena(offset: int) -> BufferRef:
    return BufferRef("arena", 0, offset)


def test_parallel_steps_wait_for_what_they_read_and_overwrite() -> None:
    hazards = Hazards({})
    assert not hazards.touch([write(arena(0))], serial=False)
    assert not hazards.touch([write(arena(64))], serial=False)
    assert hazards.touch([read(arena(64)), write(BufferRef("output", 0, 0))], serial=False)
    assert not hazards.touch([read(arena(0))], serial=False)  # the barrier was for both
    assert hazards.touch([write(arena(32), 40)], serial=False)


def test_serial_steps_wait_for_parallel_ones_and_never_for_each_other() -> None:
    hazards = Hazards({})
    assert not hazards.touch([write(arena(0))], serial=True)
    assert not hazards.touch([read(arena(0)), write(arena(64))], serial=True)
    assert hazards.touch([read(arena(64)), write(arena(128))], serial=False)
    assert not hazards.touch([write(arena(192))], serial=True)
    assert hazards.touch([read(arena(128))], serial=True)


def test_a_donated_input_is_its_output() -> None:
    hazards = Hazards({0: 1})
    assert not hazards.touch([read(BufferRef("input", 0, 0)), read(BufferRef("input", 1, 0))], serial=False)
    assert not hazards.touch([write(BufferRef("output", 0, 0))], serial=False)
    assert hazards.touch([write(BufferRef("output", 1, 0))], serial=False)


def test_ranges_of_bytes_are_told_apart() -> None:
    """Against a set of bytes."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        hazards, written = Hazards({}), set[int]()
        for begin, count in rng.integers(0, 30, (12, 2)).tolist():
            touched = set(range(begin, begin + count))
            assert hazards.touch([write(arena(begin), count)], serial=False) == bool(touched & written)
            written = touched if touched & written else touched | written


def plan_of(function: object, *args: object, donate: str = "") -> Plan:
    plan: Plan = mlc.jit(function, donate_argnames=donate or ()).lower(*args).compile().function.plan
    return plan


def test_small_steps_one_after_another_need_no_barrier() -> None:
    plan = plan_of(lambda x: x - mnp.sum(x - mnp.sum(x, axis=0), axis=0), X)
    assert len(plan.steps) >= 3 and not any(s.barrier for s in plan.steps)


def test_reshaped_results_are_written_in_place() -> None:
    def f(x):
        y = mnp.tanh(x)
        return mnp.reshape(y, (24,)), mnp.reshape(mnp.sum(y, axis=1), (2, 2))

    plan = plan_of(f, X)
    assert not any(isinstance(s, Copy) for s in plan.steps)
    flat, sums = mlc.jit(f)(X)
    np.testing.assert_allclose(np.asarray(flat), np.tanh(X).ravel(), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(sums), np.tanh(X).sum(1).reshape(2, 2), rtol=1e-5, atol=1e-6)


def test_one_value_under_two_shapes_is_computed_once_and_copied_once() -> None:
    def f(x):
        y = mnp.tanh(x)
        return y, mnp.reshape(y, (24,)), y

    plan = plan_of(f, X)
    assert [type(s).__name__ for s in plan.steps] == ["Launch", "Copy", "Copy"]
    want = np.tanh(X)
    for got, shape in zip(mlc.jit(f)(X), ((4, 6), (24,), (4, 6)), strict=True):
        np.testing.assert_allclose(np.asarray(got), want.reshape(shape), rtol=1e-6)


def test_a_donated_array_updated_under_another_shape_is_updated_in_place() -> None:
    def f(x, rows):
        return mnp.reshape(mnp.reshape(x, (24,)) * 2 + rows, (4, 6)), mnp.sum(x)

    rows = np.arange(24, dtype=np.float32)
    assert plan_of(f, X, rows, donate="x").inputs[0].donated_to == 0
    x = mnp.array(X)
    address = x._address()
    got, total = mlc.jit(f, donate_argnames="x")(x, rows)
    assert got._address() == address
    np.testing.assert_array_equal(np.asarray(got), X * 2 + rows.reshape(4, 6))
    np.testing.assert_allclose(float(total), X.sum(), atol=1e-5)


def test_two_results_of_a_kernel_never_share_the_operand_that_dies_there() -> None:
    def f(x):
        y = x @ x.T
        m = mnp.mean(y)  # y waits for it, and dies in the kernel that computes a and b
        a, b = mnp.exp(y - m), mnp.exp(m - y)
        return a @ b, b @ a

    for s in plan_of(f, X).steps:
        written = [ref for ref in getattr(s, "operands", ())[-2:] if ref.space == "arena"]
        assert len(set(written)) == len(written), s
    y = X.astype(np.float64) @ X.T
    a, b = np.exp(y - y.mean()), np.exp(y.mean() - y)
    for got, want in zip(mlc.jit(f)(X), (a @ b, b @ a), strict=True):
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-5)
