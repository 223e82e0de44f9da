"""Kernels of shared memory, warps and matrix units give what NumPy gives, and need each of their barriers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ptx.mutate import mutations
from tests.ptx.support import kernel, raises, run

Array = Any
RNG = np.random.default_rng(7)
F = RNG.normal(0, 10, 64).astype(np.float32)

REDUCE = """
      mul.wide.s32 %rd10, %r1, 4; add.s64 %rd11, %rd0, %rd10; ld.global.f32 %f1, [%rd11];
      shl.b32 %r10, %r0, 2; mov.u32 %r11, tile; add.s32 %r12, %r11, %r10;
      st.shared.f32 [%r12], %f1;
      bar.sync 0;
      mov.u32 %r13, 64;
    $loop:
      setp.ge.u32 %p1, %r0, %r13;
      @%p1 bra $skip;
      shl.b32 %r14, %r13, 2; add.s32 %r15, %r12, %r14;
      ld.shared.f32 %f2, [%r15]; ld.shared.f32 %f3, [%r12];
      add.rn.f32 %f4, %f2, %f3; st.shared.f32 [%r12], %f4;
    $skip:
      bar.sync 0;
      shr.u32 %r13, %r13, 1;
      setp.ne.u32 %p2, %r13, 0;
      @%p2 bra $loop;
      setp.ne.u32 %p3, %r0, 0;
      @%p3 bra $end;
      ld.shared.f32 %f5, [tile]; mul.wide.s32 %rd12, %r2, 4; add.s64 %rd13, %rd1, %rd12; st.global.f32 [%rd13], %f5;
    $end:
"""
TILE = ".shared .align 16 .b8 tile[512];"


def test_a_block_reduction_in_shared_memory() -> None:
    x = RNG.integers(-50, 50, 512).astype(np.float32)
    got = run(kernel(REDUCE, shared=TILE), x, out=np.empty(4, np.float32), blocks=4, threads=128)
    np.testing.assert_array_equal(got, x.reshape(4, 128).sum(1))


def test_every_barrier_of_the_reduction_is_needed() -> None:
    text, x = kernel(REDUCE, shared=TILE), np.ones(128, np.float32)
    found = list(mutations(text))
    assert [what for _, what, _ in found] == ["bar.sync 0;", "bar.sync 0;"]
    for _, _, mutated in found:
        with raises("race"):
            run(mutated, x, out=np.empty(1, np.float32), threads=128)


def test_shuffles_sum_a_warp() -> None:
    steps = "".join(
        f"shfl.sync.bfly.b32 %r20, %f1, {d}, 31, -1; mov.b32 %f2, %r20; add.rn.f32 %f1, %f1, %f2;\n"
        for d in (16, 8, 4, 2, 1)
    )
    body = f"""mul.wide.s32 %rd70, %r1, 4; add.s64 %rd71, %rd0, %rd70; ld.global.f32 %f1, [%rd71];
    {steps} add.s64 %rd72, %rd1, %rd70; st.global.f32 [%rd72], %f1;"""
    x = RNG.integers(-50, 50, 96).astype(np.float32)
    got = run(kernel(body), x, out=np.empty(96, np.float32), threads=96)
    np.testing.assert_array_equal(got, np.repeat(x.reshape(3, 32).sum(1), 32))


def test_divergent_threads_meet_again() -> None:
    """A loop of as many rounds as the thread's number, then a shuffle of all."""
    body = """mov.u32 %r10, 0; mov.u32 %r11, 0;
    $again: setp.ge.u32 %p1, %r10, %r0; @%p1 bra $done; add.u32 %r11, %r11, %r10; add.u32 %r10, %r10, 1; bra.uni $again;
    $done: shfl.sync.down.b32 %r12|%p2, %r11, 1, 31, -1; selp.b32 %r13, %r12, 7, %p2;
    mul.wide.s32 %rd70, %r1, 4; add.s64 %rd72, %rd1, %rd70; st.global.b32 [%rd72], %r13;"""
    want = np.array([i * (i - 1) // 2 for i in range(1, 32)] + [7], np.uint32)
    np.testing.assert_array_equal(run(kernel(body), F, out=np.empty(32, np.uint32)), want)


def test_vectors_of_16_bytes_and_local_memory() -> None:
    body = """mul.wide.s32 %rd70, %r1, 16; add.s64 %rd71, %rd0, %rd70;
    ld.global.nc.v4.f32 {%f1, %f2, %f3, %f4}, [%rd71];
    mov.u64 %rd20, stack; st.local.v2.f32 [%rd20], {%f4, %f3}; ld.local.f32 %f5, [%rd20+4];
    add.s64 %rd72, %rd1, %rd70; st.global.v4.f32 [%rd72], {%f5, %f4, %f2, %f1};"""
    x = RNG.normal(size=(32, 4)).astype(np.float32)
    got = run(kernel(body, shared=".local .align 16 .b8 stack[16];"), x, out=np.empty((32, 4), np.float32))
    np.testing.assert_array_equal(got, x[:, [2, 3, 1, 0]])


MMA = """
    shl.b32 %r10, %r0, 4; mov.u32 %r11, a; add.s32 %r12, %r11, %r10;
    mul.wide.s32 %rd10, %r0, 16; add.s64 %rd11, %rd0, %rd10;
    cp.async.cg.shared.global [%r12], [%rd11], 16;
    setp.lt.u32 %p1, %r0, 16; @!%p1 bra $over;
    mov.u32 %r13, b; add.s32 %r14, %r13, %r10; add.s64 %rd12, %rd1, %rd10;
    cp.async.ca.shared.global [%r14], [%rd12], 16;
  $over:
    cp.async.commit_group;
    cp.async.wait_group 0;
    bar.sync 0;
    and.b32 %r15, %r0, 15; shr.u32 %r16, %r0, 4; shl.b32 %r17, %r15, 5; shl.b32 %r18, %r16, 4; add.s32 %r19, %r17, %r18;
    add.s32 %r20, %r11, %r19; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r30, %r31, %r32, %r33}, [%r20];
    shl.b32 %r21, %r15, 4; mov.u32 %r22, b; add.s32 %r23, %r22, %r21;
    ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r34, %r35}, [%r23];
    mov.f32 %f1, 0f3F800000;
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
      {%f2, %f3, %f4, %f5}, {%r30, %r31, %r32, %r33}, {%r34, %r35}, {%f1, %f1, %f1, %f1};
    shr.u32 %r40, %r0, 2; and.b32 %r41, %r0, 3; mul.lo.s32 %r42, %r40, 8; shl.b32 %r43, %r41, 1;
    add.s32 %r44, %r42, %r43;
    mul.wide.s32 %rd20, %r44, 4; add.s64 %rd21, %rd2, %rd20;
    st.global.v2.f32 [%rd21], {%f2, %f3}; st.global.v2.f32 [%rd21+256], {%f4, %f5};
"""
TILES = ".shared .align 16 .b8 a[512]; .shared .align 16 .b8 b[256];"


def product() -> tuple[Array, Array, Array]:
    a, b = RNG.integers(-8, 8, (16, 16)).astype(np.float32), RNG.integers(-8, 8, (16, 8)).astype(np.float32)
    halves = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in (a, b)]
    return halves[0], halves[1], a @ b + 1


def test_a_product_by_matrix_units() -> None:
    a, b, want = product()
    np.testing.assert_array_equal(run(kernel(MMA, 3, TILES), a, b, out=np.empty((16, 8), np.float32)), want)


def test_every_wait_of_the_product_is_needed() -> None:
    a, b, _ = product()
    found = list(mutations(kernel(MMA, 3, TILES)))
    assert len(found) == 3
    for _, what, text in found:
        with raises("race" if "bar" in what else "uninitialised"):
            run(text, a, b, out=np.empty((16, 8), np.float32))
