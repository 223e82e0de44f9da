"""Printing, parsing and verifying kernels."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest

from mlc.errors import ParseError, VerifyError
from mlc.ir import bits
from mlc.ir.kernel import Kernel, KernelBuilder, builder, index, parse_kernel, print_kernel, verify_kernel
from mlc.ir.kernel.data import Instruction, Loop
from mlc.ir.types import BF16, BOOL, DTYPES, F16, F32, F64, I8, I32, I64, U64, DType

TEXT = """\
kernel @softmax sizes 2 {
  buffer %x f32[%n0, %n1] strides [%n1, 1] read
  buffer %y f32[%n0, %n1] strides [%n1, 1] write noalias
  scratch %s f32[64]
  parallel (%i0 = %n0 by 4, %i1 = 2 by 1) {
    %q0 = min (%i0*4 + 4, %n0)
    loop %i2 = %i0*4 to %q0 step 1 {
      %0 = constant[-inf] : f32x16
      %3 = loop %i3 = 0 to %n1 step 16 unroll 2 carry (%1 = %0: f32x16) {
        %2 = tail_mask (%i3, %n1) : boolx16
        %4 = load %x[%i2, %i3] %2 : f32x16
        %5 = select %2, %4, %0 : f32x16
        %6 = maximum %1, %5 : f32x16
        yield %6
      }
      %7 = reduce.maximum %3 : f32
      %8 = splat %7 : f32x16
      store %s[0] %8
      %9 = compare.GE %8, %0 : boolx16
      %10 = shuffle[0, 16, 3] %8, %0 : f32x3
      %11 = extract[2] %10 : f32
      %12 = convert %11 : i64
      %q1 = index_of %12
      %13 = load %s[%q1] : f32
      store.nontemporal %y[%i2, %q1 - %i1] %13
    }
  }
}
"""


def numbered(text: str) -> str:
    return print_kernel(parse_kernel(text))


def test_text_is_read_back_exactly() -> None:
    canonical = numbered(TEXT)
    assert numbered(canonical) == canonical
    assert canonical.replace("%2 = loop", "%3 = loop").count("\n") == TEXT.count("\n")
    for piece in ("unroll 2 carry", "tail_mask (%i3, %n1) : boolx16", "store.nontemporal", "write noalias", "by 4"):
        assert piece in canonical


def test_names_do_not_matter_to_the_canonical_text() -> None:
    kernel = parse_kernel(TEXT)
    renamed = parse_kernel(TEXT.replace("%x", "%other").replace("%s[", "%heap[").replace("scratch %s", "scratch %heap"))
    assert print_kernel(kernel) != print_kernel(renamed)
    assert kernel.canonical_text() == renamed.canonical_text()
    assert kernel.canonical_text() == replace(kernel, name="another", _texts={}).canonical_text()
    assert kernel.canonical_text() != parse_kernel(TEXT.replace("-inf", "0.0")).canonical_text()
    parse_kernel(kernel.canonical_text())


def test_awkward_buffer_names_are_told_apart() -> None:
    b = KernelBuilder("k")
    names = ["a b", "a_b", "i3", "7", "", "x", "x"]
    buffers = [b.buffer(name, F32, (1,), access="readwrite") for name in names]
    with b.parallel((1, 1)):
        for m in buffers:
            b.store(m, (0,), b.load(m, (0,)))
    text = str(b.build())
    assert numbered(text) == text
    assert len({line.split()[1] for line in text.splitlines() if "buffer" in line}) == len(names)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_constants_keep_their_bits(dtype: DType) -> None:
    rng = np.random.default_rng(0)
    patterns = [0, 1, (1 << dtype.bits) - 1, 1 << (dtype.bits - 1)]
    patterns += [int(v) for v in rng.integers(0, 1 << dtype.bits, 200, dtype=np.uint64)]
    if dtype.is_float:
        infinity = {F16: 0x7C00, BF16: 0x7F80, F32: 0x7F800000, F64: 0x7FF << 52}[dtype]
        patterns += [infinity, infinity + 1, infinity | 1 << (dtype.bits - 1), infinity * 2 - infinity + 77]
    b = KernelBuilder("constants")
    x = b.buffer("x", dtype, (1,), access="write")
    with b.parallel((1, 1)):
        for bits in patterns:
            b.store(x, (0,), b.constant_bits(bits, dtype))
    parsed = parse_kernel(str(b.build()))
    found = [s.attribute for s in parsed.body if isinstance(s, Instruction) and s.op == "constant"]
    assert found == patterns


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("maximum %1, %5", "maximum %1, %7", "no value is called %7", 13),
        ("maximum %1, %5", "maximum %1, %2", "operand types differ: f32x16, boolx16", 13),
        ("maximum %1, %5", "maximun %1, %5", "'maximun' is no operation", 13),
        ("reduce.maximum %3", "reduce.subtract %3", "subtract is none of", 16),
        ("store %s[0] %8", "store %x[0, 0] %8", "x is read-only", 18),
        ("store %s[0] %8", "store %s[0, 0] %8", "2 indices for rank 1", 18),
        ("store %s[0] %8", "store %z[0] %8", "no memory is called %z", 18),
        ("%q1 - %i1", "%q1 - %i3", "index variable", 25),
        ("%q1 - %i1] %13", "%q1 - %i1] %13, %mask", "no value is called %mask", 25),
        ("store.nontemporal", "store.temporal", "no such kind temporal", 25),
        ("yield %6", "yield %2", "a carried f32x16", 9),
        ("[0, 16, 3]", "[0, 32, 3]", "a lane lies outside 0..31", 20),
        ("constant[-inf]", "constant[minus]", "'minus' is no constant of f32", 8),
        ("f32x3", "f33x3", "'f33x3' is no type", 20),
        ("step 16", "step 0", "step 0 is not positive", 9),
        ("%13 = load %s[%q1] : f32\n", "%13 = load %y[%i2, %q1] : f32\n", "y is write-only", 24),
        ("parallel", "serial", "expected 'parallel', found 'serial'", 5),
        ("  }\n}\n", "  }\n", "expected '}', found ''", 27),
    ],
)
def test_errors_name_the_line(old: str, new: str, message: str, line: int) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises(ParseError) as caught:
        parse_kernel(TEXT.replace(old, new))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"line {line}: ")


def test_damaged_text_is_refused_or_read_but_never_breaks_the_parser() -> None:
    rng = np.random.default_rng(1)
    for _ in range(600):
        at, length = int(rng.integers(len(TEXT))), int(rng.integers(1, 6))
        damaged = (
            TEXT[:at] + "".join(rng.choice(list("%0i[]{},=x-*f3 "), size=int(rng.integers(3)))) + TEXT[at + length :]
        )
        try:
            kernel = parse_kernel(damaged)
        except ParseError:
            continue
        assert isinstance(kernel, Kernel)


def test_the_builder_names_the_broken_constraint() -> None:
    b = KernelBuilder("k", sizes=1)
    x = b.buffer("x", F32, (b.sizes[0], 8))
    t = b.buffer("t", F32, (8, b.sizes[0]), strides=(1, 8), access="readwrite")
    with pytest.raises(VerifyError, match="outside of the parallel loop"):
        b.constant(0.0, F32)
    with b.parallel((b.sizes[0], 1)) as (i,):
        v, w = b.load(x, (i, 0)), b.constant(1, I32)
        for message, write in {
            "operand types differ: f32, i32": lambda: b.op("add", v, w),
            "is not defined on f32": lambda: b.op("and", v, v),
            "x is read-only": lambda: b.store(x, (i, 0), v),
            "stride is not 1": lambda: b.load(t, (0, i), lanes=4),
            "1 indices for rank 2": lambda: b.load(x, (i,)),
            "mask bool for 4 lanes": lambda: b.load(x, (i, 0), lanes=4, mask=b.tail_mask(0, 1, 1)),
            "300 does not fit i8": lambda: b.constant(300, I8),
            "lane 1 outside f32": lambda: b.extract(v, 1),
            "widths differ": lambda: b.bitcast(v, I64),
            "bool has no bit pattern": lambda: b.bitcast(b.compare("EQ", v, v), I8),
            "outside of a loop": lambda: b.yield_(v),
            "divisor 0 is not positive": lambda: b.floordiv(i, 0),
            "f32 is no integer scalar": lambda: b.index_of(v),
        }.items():
            with pytest.raises(VerifyError, match=message):
                write()
    with pytest.raises(VerifyError, match="exactly one"), b.parallel((1, 1)):
        pass


def test_the_verifier_checks_what_passes_make() -> None:
    kernel = parse_kernel(TEXT)
    loop = kernel.body[1]
    assert isinstance(loop, Loop)
    inner = loop.body[1]
    assert isinstance(inner, Loop)
    for message, broken in {
        "is defined twice": replace(loop, body=(*loop.body, loop.body[0])),
        "is not visible here": replace(loop, body=loop.body[1:]),
        "differ in number": replace(loop, body=(loop.body[0], replace(inner, yields=()), *loop.body[2:])),
    }.items():
        with pytest.raises(VerifyError, match=message):
            verify_kernel(kernel.with_body((kernel.body[0], broken)))


def test_scratch_is_laid_out_in_lines() -> None:
    b = KernelBuilder("k")
    for shape, dtype in (((3,), F32), ((5, 7), F64), ((1,), BOOL), ((2,), U64)):
        b.scratch("s", dtype, shape)
    with b.parallel((1, 1)):
        pass
    kernel = b.build()
    assert kernel.scratch_offsets == (0, 64, 384, 448)
    assert kernel.scratch_bytes == 512


@pytest.mark.parametrize("module", (builder, index, bits), ids=lambda m: m.__name__)
def test_examples(module) -> None:  # type: ignore[no-untyped-def]
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
