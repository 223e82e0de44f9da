"""The hardest kernels that the language must carry, written by hand: they parse, verify, print alike, run, are right.

Those of GPUs parse, verify and print alike; what breaks their rules is named.
"""

from __future__ import annotations

import numpy as np
import pytest

from mlc.errors import ParseError
from mlc.ir.kernel import interpret_kernel, parse_kernel
from mlc.ir.target import X86_64_V4_DOT, Target, host_runs
from tests.codegen.native import TARGETS, run

from .golden_kernels import CPU, GOLDENS, GPU, Case

ALL = [*TARGETS, X86_64_V4_DOT] if host_runs(X86_64_V4_DOT) else TARGETS
SIZES = {
    "gemm_avx512": [(1, 1, 1), (12, 8, 32), (29, 13, 50), (25, 9, 33), (3, 0, 5), (0, 4, 4)],
    "gemm_bf16": [(1, 1, 1), (29, 7, 2), (12, 4, 1)],
    "gemm_int8": [(1, 1, 1), (29, 7, 2), (12, 4, 1)],
    "conv3x3_nhwc": [(1,), (2,)],
    "lstm_cell": [(1, 5, 7), (8, 9, 40), (6, 4, 16)],
}


def is_right(case: Case, arrays: list[np.ndarray]) -> None:
    for found, want in zip(arrays[-len(case.expected) :], case.expected, strict=True):
        np.testing.assert_allclose(found, want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", [*CPU, *GPU])
def test_text(name: str) -> None:
    text = (GOLDENS / f"{name}.txt").read_text()
    kernel = parse_kernel(text)
    assert kernel.name == name
    assert str(kernel) == text
    assert parse_kernel(kernel.canonical_text()).canonical_text() == kernel.canonical_text()


@pytest.mark.parametrize(("name", "sizes"), [(n, s) for n, many in SIZES.items() for s in many], ids=str)
def test_numbers(name: str, sizes: tuple[int, ...]) -> None:
    case = CPU[name](*sizes)
    interpreted = [a.copy() for a in case.arrays]
    interpret_kernel(case.kernel, interpreted, case.sizes)
    is_right(case, interpreted)
    for target in ALL:
        compiled = [a.copy() for a in case.arrays]
        run(case.kernel, compiled, case.sizes, target)
        is_right(case, compiled)


@pytest.mark.parametrize("target", ALL, ids=lambda t: t.name)
@pytest.mark.parametrize("name, sizes", [("gemm_avx512", (61, 300, 71)), ("gemm_bf16", (61, 150, 3)),
                                         ("gemm_int8", (61, 75, 3)), ("lstm_cell", (33, 50, 72))])  # fmt: skip
def test_larger_numbers(name: str, sizes: tuple[int, ...], target: Target) -> None:
    """Compiled only; sums of hundreds of numbers."""
    case = CPU[name](*sizes)
    run(case.kernel, case.arrays, case.sizes, target)
    for found, want in zip(case.arrays[-len(case.expected) :], case.expected, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


BROKEN = [
    ("gemm_sm80", "fragment(16 x 16, bf16, a)", "fragment(8 x 16, bf16, a)", "do not fit|no matrix unit|does not fit"),
    ("gemm_sm80", "async_copy[16]", "async_copy[12]", "copies 4, 8 or 16 bytes, not 12"),
    ("gemm_sm80", "shared %a_tile bf16[3, 64, 32]", "scratch %a_tile bf16[3, 64, 32]", "swizzle 64 is none"),
    ("gemm_sm80", "swizzle 64", "swizzle 48", "swizzle 48 is none of 32, 64, 128"),
    ("gemm_sm80", "%i2 = 128 by 1 block", "%i2 = 128 by 1", "shared memory without the axes of a block"),
    ("gemm_sm80", "%i2 = 128 by 1 block", "%i2 = %n0 by 1 block", "is not a static number by 1"),
    ("gemm_sm90a", "registers 40", "registers 41", "41 registers: a multiple of 8 from 24 to 240"),
    ("gemm_sm90a", "role.setup %i2 in 0 to 1", "role.setup %i2 in 0 to 385", "threads 0 to 385 of 384"),
    ("gemm_sm90a", "role.setup %i2", "role.setup %i1", "is no axis of a block"),
    ("gemm_sm90a", "64 x 256, f32", "64 x 260, f32", "a multiple of 8"),
    ("gemm_sm90a", "shared %full u64", "shared %full u32", "a barrier is a u64"),
    ("gemm_sm90a", " tensor_map box [128, 64] swizzle 128", "", "a is no tensor map"),
    ("gemm_sm90a", "mma_wait[0]", "mma_wait", "takes"),
]


@pytest.mark.parametrize("name, good, bad, message", BROKEN, ids=lambda x: x if len(x) < 30 else "")
def test_what_breaks_a_rule_is_named(name: str, good: str, bad: str, message: str) -> None:
    text = (GOLDENS / f"{name}.txt").read_text()
    assert good in text
    with pytest.raises(ParseError, match=message):
        parse_kernel(text.replace(good, bad))
