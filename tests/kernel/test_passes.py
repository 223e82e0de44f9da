"""Kernel passes: one golden that changes, one that must not, and the same numbers before and after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlc.errors import InternalError
from mlc.ir.kernel import Kernel, interpret_kernel, parse_kernel, print_kernel, verify_kernel
from mlc.ir.kernel.ops import TRANSCENDENTAL
from mlc.ir.target import SM_80, X86_64_V3, X86_64_V4
from mlc.passes.kernels import (
    expand_math,
    hoist_invariants,
    lower_kernel,
    remove_dead,
    share_common,
    unroll,
    widen,
)

Pass = Callable[[Kernel], Kernel]


def kernel(body: str, dtype: str = "f32") -> Kernel:
    """A kernel over x and y of 64 elements; lines of ``body`` are statements."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return parse_kernel(
        f"kernel @k sizes 1 {{\n  buffer %x {dtype}[64] strides [1] read\n"
        f"  buffer %y {dtype}[64] strides [1] readwrite\n"
        f"  scratch %s f32[64]\n  parallel (%i0 = 4 by 1) {{\n{lines}\n  }}\n}}\n"
    )


def results(k: Kernel) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=64).astype(k.buffers[0].dtype.numpy)
    y = np.zeros_like(x)
    interpret_kernel(k, [x, y], [3])
    return y


def changes(run: Pass, before: str, after: str, dtype: str = "f32") -> None:
    given, expected = kernel(before, dtype), kernel(after, dtype)
    got = run(given)
    verify_kernel(got)
    assert print_kernel(got) == print_kernel(expected)
    assert print_kernel(got) != print_kernel(given)
    np.testing.assert_array_equal(results(got), results(given))


def keeps(run: Pass, text: str) -> None:
    given = kernel(text)
    assert print_kernel(run(given)) == print_kernel(given)


def test_share_common() -> None:
    changes(
        share_common,
        """
        %0 = load %x[%i0] : f32
        %1 = load %x[%i0] : f32
        %2 = add %0, %1 : f32
        %3 = add %0, %0 : f32
        %4 = multiply %2, %3 : f32
        store %s[0] %4
        %5 = load %x[%i0] : f32
        %q0 = floordiv (%i0, 2)
        %q1 = floordiv (%i0, 2)
        %6 = load %s[0] : f32
        %7 = add %5, %6 : f32
        store %y[%i0*2 + %q0 - %q1] %7
        """,
        """
        %0 = load %x[%i0] : f32
        %1 = add %0, %0 : f32
        %2 = multiply %1, %1 : f32
        store %s[0] %2
        %q0 = floordiv (%i0, 2)
        %3 = load %s[0] : f32
        %4 = add %0, %3 : f32
        store %y[%i0*2] %4
        """,
    )


def test_share_common_keeps_loads_across_stores_that_may_alias() -> None:
    keeps(
        share_common,
        """
        %0 = load %x[%i0] : f32
        store %y[%i0] %0
        %1 = load %x[%i0] : f32
        %2 = add %0, %1 : f32
        loop %i1 = 0 to 4 step 1 {
          %3 = load %y[%i0*4 + %i1] : f32
          %4 = add %3, %2 : f32
          store %y[%i0*4 + %i1] %4
        }
        %5 = load %y[%i0*4] : f32
        %6 = subtract %0, %5 : f32
        %7 = subtract %5, %0 : f32
        %8 = add %6, %7 : f32
        store %y[%i0*4] %8
        """,
    )


def test_hoist_invariants() -> None:
    changes(
        hoist_invariants,
        """
        %0 = load %x[%i0] : f32
        loop %i1 = 0 to 4 step 1 {
          loop %i2 = 0 to 4 step 1 {
            %1 = add %0, %0 : f32
            %2 = splat %1 : f32x4
            %3 = index_value (%i1) : i64
            %4 = convert %3 : f32
            %5 = splat %4 : f32x4
            %6 = multiply %2, %5 : f32x4
            store %y[%i0*16 + %i1*4] %6
          }
        }
        """,
        """
        %0 = load %x[%i0] : f32
        %1 = add %0, %0 : f32
        %2 = splat %1 : f32x4
        loop %i1 = 0 to 4 step 1 {
          %3 = index_value (%i1) : i64
          %4 = convert %3 : f32
          %5 = splat %4 : f32x4
          %6 = multiply %2, %5 : f32x4
          loop %i2 = 0 to 4 step 1 {
            store %y[%i0*16 + %i1*4] %6
          }
        }
        """,
    )


def test_hoist_keeps_loads_conditions_and_what_varies() -> None:
    keeps(
        hoist_invariants,
        """
        %0 = load %x[%i0] : f32
        %1 = constant[1] : i64
        %q0 = index_of %1
        loop %i1 = 0 to %q0 step 1 {
          %2 = add %0, %0 : f32
          store %y[%i0] %2
        }
        %3 = loop %i2 = 0 to 4 step 1 carry (%4 = %0: f32) {
          %5 = load %x[0] : f32
          %6 = add %4, %5 : f32
          yield %6
        }
        store %y[%i0 + 8] %3
        """,
    )


def test_remove_dead() -> None:
    changes(
        remove_dead,
        """
        %0 = load %x[%i0] : f32
        %1 = add %0, %0 : f32
        %q0 = floordiv (%i0, 2)
        %2, %3 = loop %i1 = 0 to 4 step 1 carry (%4 = %0: f32, %5 = %1: f32) {
          %6 = add %4, %4 : f32
          %7 = add %5, %4 : f32
          yield %6, %7
        }
        loop %i2 = 0 to 4 step 1 {
          %8 = load %x[%i2 + %q0] : f32
        }
        store %y[%i0] %2
        """,
        """
        %0 = load %x[%i0] : f32
        %1 = loop %i1 = 0 to 4 step 1 carry (%2 = %0: f32) {
          %3 = add %2, %2 : f32
          yield %3
        }
        store %y[%i0] %1
        """,
    )


def test_remove_dead_keeps_what_a_later_iteration_needs() -> None:
    keeps(
        remove_dead,
        """
        %0 = load %x[%i0] : f32
        %1, %2 = loop %i1 = 0 to 4 step 1 carry (%3 = %0: f32, %4 = %0: f32) {
          %5 = add %4, %4 : f32
          store %s[%i1] %4
          yield %4, %5
        }
        store %y[%i0] %1
        """,
    )


def test_unroll_in_full() -> None:
    changes(
        unroll,
        """
        %0 = load %x[%i0] : f32
        %1 = loop %i1 = 1 to 6 step 2 unroll full carry (%2 = %0: f32) {
          %3 = load %x[%i0 + %i1] : f32
          %4 = add %2, %3 : f32
          yield %4
        }
        store %y[%i0] %1
        """,
        """
        %0 = load %x[%i0] : f32
        %1 = load %x[%i0 + 1] : f32
        %2 = add %0, %1 : f32
        %3 = load %x[%i0 + 3] : f32
        %4 = add %2, %3 : f32
        %5 = load %x[%i0 + 5] : f32
        %6 = add %4, %5 : f32
        store %y[%i0] %6
        """,
    )


def test_unroll_in_part() -> None:
    changes(
        unroll,
        """
        %0 = load %x[%i0] : f32
        %1 = loop %i1 = 0 to 7 step 1 unroll 3 carry (%2 = %0: f32) {
          %3 = load %x[%i1] : f32
          %4 = add %2, %3 : f32
          yield %4
        }
        store %y[%i0] %1
        """,
        """
        %0 = load %x[%i0] : f32
        %1 = loop %i1 = 0 to 6 step 3 carry (%2 = %0: f32) {
          %3 = load %x[%i1] : f32
          %4 = add %2, %3 : f32
          %5 = load %x[%i1 + 1] : f32
          %6 = add %4, %5 : f32
          %7 = load %x[%i1 + 2] : f32
          %8 = add %6, %7 : f32
          yield %8
        }
        %9 = loop %i2 = 6 to 7 step 1 carry (%10 = %1: f32) {
          %11 = load %x[%i2] : f32
          %12 = add %10, %11 : f32
          yield %12
        }
        store %y[%i0] %9
        """,
    )


def test_unroll_keeps_unmarked_loops_and_refuses_what_varies() -> None:
    text = "loop %i1 = 0 to %n0 step 1 {\n  %0 = load %x[%i1] : f32\n  store %y[%i1] %0\n}"
    keeps(unroll, text)
    with pytest.raises(InternalError, match="cannot be unrolled in full"):
        unroll(kernel(text.replace("step 1", "step 1 unroll full")))


@pytest.mark.parametrize("copies", (2, 3, 4))
@pytest.mark.parametrize("step", (1, 3))
def test_unroll_by_run_time_sizes(copies: int, step: int) -> None:
    text = (
        f"loop %i1 = 1 to %n0*5 - 11 step {step} unroll {copies} {{\n  %0 = load %x[%i1] : f32\n  store %y[%i1] %0\n}}"
    )
    given = kernel(text)
    done = unroll(given)
    assert "unroll" not in print_kernel(done)
    for n in range(12):
        x = np.arange(64, dtype=np.float32) + 1
        before, after = np.zeros(64, np.float32), np.zeros(64, np.float32)
        interpret_kernel(given, [x, before], [n])
        interpret_kernel(done, [x, after], [n])
        np.testing.assert_array_equal(before, after)


def test_widen() -> None:
    changes(
        lambda k: widen(k, X86_64_V3),
        """
        %0 = load %x[%i0*16] : f16x16
        %1 = add %0, %0 : f16x16
        %2 = reduce.add %1 : f16
        store %y[%i0] %2
        """,
        """
        %0 = load %x[%i0*16] : f16x16
        %1 = convert %0 : f32x16
        %2 = convert %0 : f32x16
        %3 = add %1, %2 : f32x16
        %4 = convert %3 : f16x16
        %5 = convert %4 : f32x16
        %6 = reduce.add %5 : f32
        %7 = convert %6 : f16
        store %y[%i0] %7
        """,
        "f16",
    )


def test_a_gpu_converts_bf16_itself() -> None:
    text = "%0 = load %x[%i0] : bf16\n{0}store %y[%i0] {1}"
    wide = "%1 = convert %0 : f32\n%2 = convert %0 : f32\n%3 = add %1, %2 : f32\n%4 = convert %3 : bf16\n"
    given = text.format("%1 = add %0, %0 : bf16\n", "%1")
    changes(lambda k: widen(k, SM_80), given, text.format(wide, "%4"), "bf16")


def test_widen_keeps_f32() -> None:
    keeps(lambda k: widen(k, X86_64_V3), "%0 = load %x[%i0] : f32\n%1 = add %0, %0 : f32\nstore %y[%i0] %1")


def test_expand_math() -> None:
    given = kernel("%0 = load %x[%i0*16] : f32x16\n%1 = abs %0 : f32x16\n%2 = rsqrt %1 : f32x16\nstore %y[%i0*16] %2")
    expected = kernel(
        """
        %0 = load %x[%i0*16] : f32x16
        %1 = abs %0 : f32x16
        %2 = constant[1.0] : f32x16
        %3 = sqrt %1 : f32x16
        %4 = divide %2, %3 : f32x16
        store %y[%i0*16] %4
        """
    )
    assert print_kernel(expand_math(given)) == print_kernel(expected)
    np.testing.assert_allclose(results(expected), results(given), rtol=2.0**-22)


def test_expand_math_keeps_what_machines_have() -> None:
    keeps(expand_math, "%0 = load %x[%i0] : f32\n%1 = sqrt %0 : f32\nstore %y[%i0] %1")


@pytest.mark.parametrize("name", sorted(TRANSCENDENTAL))
@pytest.mark.parametrize("dtype", ("f32", "f64", "f16", "bf16"))
def test_lowered_kernels_mean_the_same(name: str, dtype: str) -> None:
    operands = "%0, %0" if name in ("atan2", "power") else "%0"
    text = f"%0 = load %x[%i0*16] : {dtype}x16\n%1 = {name} {operands} : {dtype}x16\nstore %y[%i0*16] %1"
    given = kernel(text, dtype)
    done = lower_kernel(given, X86_64_V4)
    verify_kernel(done)
    assert f" {name} " not in print_kernel(done)
    with np.errstate(all="ignore"):
        epsilon = {"f32": 2.0**-22, "f64": 2.0**-51, "f16": 2.0**-10, "bf16": 2.0**-7}[dtype]
        np.testing.assert_allclose(results(done).astype(np.float64), results(given).astype(np.float64), rtol=epsilon)
