"""What LLVM's NVPTX back end emits runs, gives what NumPy gives, in the time that tests have, and assembles."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ptx.gemm import gemm
from tests.ptx.memory import Memory
from tests.ptx.mutate import mutations
from tests.ptx.nvptx import ptx
from tests.ptx.program import Program
from tests.ptx.support import raises

Array = Any
THREAD = """
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %b = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %b128 = mul i32 %b, 128
  %i32 = add i32 %b128, %t
  %i = sext i32 %i32 to i64
"""


def of_each(kind: str, result: str, steps: str, more: str = "") -> str:
    """IR of a kernel whose thread i computes %r of %x and %y, elements i of the first two buffers."""
    return f"""{more}
define ptx_kernel void @k(ptr addrspace(1) noalias readonly align 16 %xs,
                          ptr addrspace(1) noalias readonly align 16 %ys,
                          ptr addrspace(1) noalias align 16 %out, i64 %n) {{
entry:{THREAD}
  %inside = icmp slt i64 %i, %n
  br i1 %inside, label %work, label %end
work:
  %px = getelementptr {kind}, ptr addrspace(1) %xs, i64 %i
  %py = getelementptr {kind}, ptr addrspace(1) %ys, i64 %i
  %x = load {kind}, ptr addrspace(1) %px
  %y = load {kind}, ptr addrspace(1) %py
  {steps}
  %po = getelementptr {result}, ptr addrspace(1) %out, i64 %i
  store {result} %r, ptr addrspace(1) %po
  br label %end
end:
  ret void
}}"""


def apply(text: str, x: Array, y: Array, out: Any, level: int = 3) -> Array:
    memory, n = Memory(), len(x)
    target = memory.allocate(n * np.dtype(out).itemsize)
    arguments = [memory.place(x), memory.place(y), target, n]
    grid = (-(-n // 128), 1, 1)
    Program(ptx(text, level=level)).launch("k", grid=grid, block=(128, 1, 1), arguments=arguments, memory=memory)
    return memory.read(target, n * np.dtype(out).itemsize).view(out)


RNG = np.random.default_rng(3)
F, G = RNG.normal(0, 100, (2, 200)).astype(np.float32)
I, J = RNG.integers(-(2**62), 2**62, (2, 200))  # noqa: E741
J[J == 0] = 1
SWITCH = """switch i64 %m, label %other [i64 0, label %c0  i64 1, label %c1  i64 2, label %c2  i64 3, label %c3
                                           i64 4, label %c4  i64 5, label %c5]
c0: br label %meet
c1: br label %meet
c2: br label %meet
c3: br label %meet
c4: br label %meet
c5: br label %meet
other: br label %meet
meet: %r = phi i64 [%x, %c0], [%y, %c1], [77, %c2], [%m, %c3], [5, %c4], [-9, %c5], [1, %other]"""
HELPER = """define internal i64 @helper(i64 %a, i64 %b) noinline {
  %c = icmp sgt i64 %a, %b
  br i1 %c, label %l, label %r
l: ret i64 %a
r: %d = sub i64 %b, %a
  ret i64 %d
}"""
CALLS = "%h = call i64 @helper(i64 %x, i64 %y)\n%r = call i64 @helper(i64 %h, i64 9)"


def helper(a: Array, b: Array | int) -> Array:
    return np.where(a > b, a, b - a)


LOOP = """br label %head
head: %k = phi i64 [0, %work], [%k2, %latch]
  %s = phi i64 [0, %work], [%s2, %latch]
  %go = icmp slt i64 %k, %m
  br i1 %go, label %body, label %after
body: %odd = and i64 %k, 1
  %is = icmp eq i64 %odd, 0
  br i1 %is, label %even, label %latch
even: %big = icmp sgt i64 %s, 20
  br i1 %big, label %after, label %latch
latch: %s2 = phi i64 [%s, %even], [%sk, %body.1]
  %k2 = add i64 %k, 1
  br label %head
after: %r = phi i64 [%s, %head], [-1, %even]"""


def loop(m: int) -> int:
    s = 0
    for k in range(m):
        if k % 2 == 0 and s > 20:
            return -1
        s += k if k % 2 else 0
    return s


LOOP = LOOP.replace("label %even, label %latch\neven", "label %even, label %body.1\nbody.1: %sk = add i64 %s, %k\n"
                    "  br label %latch\neven")  # fmt: skip
M = np.abs(I) % 16
CASES: dict[str, tuple[str, Array, Array, Any, Array]] = {
    "floats": (of_each("float", "float", """%d = fdiv float %x, %y
      %m = fmul float %d, 2.5
      %h = fptrunc float %m to half
      %hf = fpext half %h to float
      %r = fadd float %hf, %x"""), F, G, np.float32,
      ((F / G * np.float32(2.5)).astype(np.float16).astype(np.float32) + F)),
    "integers by constants": (of_each("i64", "i64", """%a = sdiv i64 %x, 1000003
      %c = urem i64 %y, 77
      %r = xor i64 %a, %c"""), I, J, np.int64,
      np.array([(abs(int(a)) // 1000003 * (1 if a > 0 else -1)) ^ (int(b) % 2**64 % 77) for a, b in
                zip(I, J, strict=True)])),
    "128 bits": (of_each("i64", "i64", """%a = sext i64 %x to i128
      %c = sext i64 %y to i128
      %p = mul i128 %a, 12345678901234567
      %s = sub i128 %p, %c
      %u = add i128 %s, 340282366920938463463374607431768211
      %h = lshr i128 %u, 64
      %r = trunc i128 %h to i64"""), I, J, np.int64,
      np.array([((int(a) * 12345678901234567 - int(b) + 340282366920938463463374607431768211) >> 64) % 2**64
                for a, b in zip(I, J, strict=True)], np.uint64).view(np.int64)),
    "a table of jumps": (of_each("i64", "i64", "%m = and i64 %x, 7\n" + SWITCH), I, J, np.int64,
      np.select([k == (I & 7) for k in range(6)], [I, J, 77, I & 7, 5, -9], 1)),
    "a call": (of_each("i64", "i64", CALLS, HELPER), I // 8, J // 8, np.int64, helper(helper(I // 8, J // 8), 9)),
    "divergent loops": (of_each("i64", "i64", "%m = and i64 %x, 15\n" + LOOP), M, J, np.int64,
      np.array([loop(int(m)) for m in M])),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", [0, 3])
def test_what_llvm_emits(case: str, level: int) -> None:
    text, x, y, out, want = CASES[case]
    np.testing.assert_array_equal(apply(text, x, y, out, level), want)


def test_a_hundred_thousand_elements_are_quick() -> None:
    text = of_each("float", "float", "%m = fmul float %x, 3.0\n%r = fadd float %m, %y")
    x, y = RNG.normal(size=(2, 100_000)).astype(np.float32)
    start = time.process_time()
    np.testing.assert_array_equal(apply(text, x, y, np.float32), x * np.float32(3) + y)
    assert time.process_time() - start < 1  # 0.1 s on a quiet machine


REDUCE = f"""@tile = internal addrspace(3) global [128 x float] poison, align 16
define ptx_kernel void @k(ptr addrspace(1) readonly %xs, ptr addrspace(1) %out) {{
entry:{THREAD}
  %px = getelementptr float, ptr addrspace(1) %xs, i64 %i
  %x = load float, ptr addrspace(1) %px
  %mine = getelementptr float, ptr addrspace(3) @tile, i32 %t
  store float %x, ptr addrspace(3) %mine
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  br label %head
head:
  %w = phi i32 [64, %entry], [%half, %next]
  %active = icmp ult i32 %t, %w
  br i1 %active, label %fold, label %next
fold:
  %o = add i32 %t, %w
  %theirs = getelementptr float, ptr addrspace(3) @tile, i32 %o
  %a = load float, ptr addrspace(3) %theirs
  %b2 = load float, ptr addrspace(3) %mine
  %s = fadd float %a, %b2
  store float %s, ptr addrspace(3) %mine
  br label %next
next:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %half = lshr i32 %w, 1
  %more = icmp ugt i32 %half, 0
  br i1 %more, label %head, label %last
last:
  %first = icmp eq i32 %t, 0
  br i1 %first, label %put, label %end
put:
  %total = load float, ptr addrspace(3) @tile
  %po = getelementptr float, ptr addrspace(1) %out, i32 %b
  store float %total, ptr addrspace(1) %po
  br label %end
end:
  ret void
}}"""


def reduce(text: str) -> Array:
    memory, x = Memory(), np.arange(512, dtype=np.float32)
    target = memory.allocate(16)
    arguments = [memory.place(x), target]
    Program(text).launch("k", grid=(4, 1, 1), block=(128, 1, 1), arguments=arguments, memory=memory)
    return memory.read(target, 16).view(np.float32) - x.reshape(4, 128).sum(1)


@pytest.mark.parametrize("level", [0, 3])
def test_a_reduction_needs_each_of_its_barriers(level: int) -> None:
    text = ptx(REDUCE, level=level)
    assert not reduce(text).any()
    found = list(mutations(text))
    assert len(found) >= 2
    for line, _, mutated in found:
        with raises("race") as error:
            reduce(mutated)
        assert error.value.line > line - 40 and "block" in error.value.thread


def multiply(text: str, n: int) -> tuple[Array, Array]:
    memory, (a, b) = Memory(), RNG.integers(-9, 9, (2, n, n)).astype(np.float32)
    target = memory.allocate(a.nbytes)
    arguments = [memory.place(a), memory.place(b), target, n]
    Program(text).launch("k", grid=(n // 64, n // 64, 1), block=(256, 1, 1), arguments=arguments, memory=memory)
    return memory.read(target, a.nbytes).view(np.float32).reshape(n, n), a @ b


def test_a_tiled_product_is_right_and_quick() -> None:
    text, start = ptx(gemm()), time.process_time()
    got, want = multiply(text, 128)
    np.testing.assert_array_equal(got, want)
    assert time.process_time() - start < 3  # 0.4 s on a quiet machine


def test_the_product_needs_both_of_its_barriers() -> None:
    found = list(mutations(ptx(gemm())))
    assert len(found) == 2
    for _, _, mutated in found:
        with raises("race"):
            multiply(mutated, 64)


@pytest.mark.skipif(shutil.which("ptxas") is None, reason="ptxas is not installed")
def test_the_texts_assemble(tmp_path: Path) -> None:
    source = tmp_path / "k.ptx"
    source.write_text(ptx(REDUCE))
    subprocess.run(["ptxas", "-arch=sm_80", str(source), "-o", str(tmp_path / "k.cubin")], check=True)
