"""Each check with a kernel that has the mistake, and one that is the same but for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ptx.support import kernel, raises, run

Array = Any
HERE = "mul.wide.s32 %rd70, %r1, 4; add.s64 %rd71, %rd0, %rd70; add.s64 %rd72, %rd1, %rd70;"
MINE = f"""{HERE} shl.b32 %r10, %r0, 2; mov.u32 %r11, tile; add.s32 %r12, %r11, %r10; xor.b32 %r13, %r10, 4;
  add.s32 %r14, %r11, %r13; xor.b32 %r15, %r10, 128; add.s32 %r16, %r11, %r15;"""
PUT = f"{MINE} st.shared.b32 [%r12], %r0;"
COPY = f"{MINE} cp.async.ca.shared.global [%r12], [%rd71], 4;"
END = "st.global.b32 [%rd72], %r20;"
NEAR, FAR = "ld.shared.b32 %r20, [%r14];", "ld.shared.b32 %r20, [%r16];"
LESS = "setp.lt.u32 %p1, %r0, 16;"
BYTE = f"{PUT} mov.u32 %r11, tile; add.s32 %r12, %r11, %r0; bar.sync 0;"  # each thread its own
# name: kind of error, with the mistake, without it
PAIRS: dict[str, tuple[str, str, str]] = {
    "outside": ("out_of_bounds", f"{HERE} ld.global.b32 %r20, [%rd71+4]; {END}",
    f"{HERE} ld.global.b32 %r20, [%rd71+0]; {END}"),
    "before": ("out_of_bounds", f"{HERE} ld.global.b32 %r20, [%rd71+-4]; {END}",
    f"{HERE} ld.global.b32 %r20, [%rd71]; {END}"),
    "outside, shared": ("out_of_bounds", f"{PUT} ld.shared.b32 %r20, [%r12+256]; {END}",
    f"{PUT} ld.shared.b32 %r20, [%r12]; {END}"),
    "misaligned": ("misaligned", f"{HERE} ld.global.v2.b32 {{%r20, %r21}}, [%rd0+4]; {END}",
                   f"{HERE} ld.global.v2.b32 {{%r20, %r21}}, [%rd0+8]; {END}"),
    "nobody wrote global": ("uninitialised", f"{HERE} ld.global.b32 %r20, [%rd72]; {END}",
                            f"{HERE} st.global.b32 [%rd72], %r0; ld.global.b32 %r20, [%rd72]; {END}"),
    "nobody wrote shared": ("uninitialised", f"{MINE} {NEAR} {END}", f"{PUT} bar.sync 0; {NEAR} {END}"),
    "half is written": ("uninitialised", f"{MINE} mov.u16 %rs1, 7; st.shared.b16 [%r12], %rs1; "
                                         f"ld.shared.b32 %r20, [%r12]; {END}",
                        f"{MINE} mov.u16 %rs1, 7; st.shared.b16 [%r12], %rs1; st.shared.b16 [%r12+2], %rs1; "
                        f"ld.shared.b32 %r20, [%r12]; {END}"),
    "a register of some": ("uninitialised", f"{HERE} {LESS} @%p1 mov.u32 %r20, 1; {END}",
                           f"{HERE} {LESS} @%p1 mov.u32 %r20, 1; @!%p1 mov.u32 %r20, 2; {END}"),
    "undefined, moved": ("uninitialised",
    f"{HERE} {LESS} @%p1 mov.u32 %r20, 1; mov.b32 %r21, %r20; mov.b32 %r20, %r21; {END}",
                         f"{HERE} mov.u32 %r20, 1; mov.b32 %r21, %r30; {END}"),
    "read after write": ("race", f"{PUT} {NEAR} {END}", f"{PUT} bar.sync 0; {NEAR} {END}"),
    "write after read": ("race", f"{PUT} bar.sync 0; {NEAR} st.shared.b32 [%r12], %r20; {END}",
                         f"{PUT} bar.sync 0; {NEAR} bar.sync 0; st.shared.b32 [%r12], %r20; {END}"),
    "both write": ("race", f"{MINE} st.shared.b32 [tile], %r0; mov.u32 %r20, 1; {END}",
                   f"{MINE} setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.b32 [tile], %r0; mov.u32 %r20, 1; {END}"),
    "another warp": ("race", f"{PUT} bar.warp.sync -1; {FAR} {END}", f"{PUT} bar.warp.sync -1; {NEAR} {END}"),
    "bytes of a word": ("race", f"{MINE} mov.u16 %rs1, 7; shr.u32 %r17, %r0, 1; add.s32 %r17, %r17, %r11; "
                                f"st.shared.b8 [%r17], %rs1; "
                        f"mov.u32 %r20, 1; {END}",
                        f"{MINE} mov.u16 %rs1, 7; add.s32 %r17, %r0, %r11; st.shared.b8 [%r17], %rs1; "
                        f"mov.u32 %r20, 1; {END}"),
    "bytes of a word, read before": ("race", f"{BYTE} xor.b32 %r13, %r12, 1; ld.shared.b8 %rs1, [%r13]; "
                                             f"st.shared.b8 [%r12], %rs1; mov.u32 %r20, 1; {END}",
                                     f"{BYTE} ld.shared.b8 %rs1, [%r12]; st.shared.b8 [%r12], %rs1; "
                                     f"mov.u32 %r20, 1; {END}"),
    "plain beside atomic": ("race", f"{HERE} atom.global.add.u32 %r20, [%rd0], 1; ld.global.b32 %r20, [%rd0]; {END}",
                            f"{HERE} atom.global.add.u32 %r20, [%rd0], 1; "
                            f"ld.relaxed.gpu.global.b32 %r20, [%rd0]; {END}"),
    "a barrier of some": ("divergent_barrier",
    f"{PUT} {LESS} @%p1 bra $over; bar.sync 0;\n$over: mov.u32 %r20, 1; {END}",
                          f"{PUT} {LESS} @%p1 bra $over; add.u32 %r10, %r10, 1;\n$over: bar.sync 0; "
                          f"mov.u32 %r20, 1; {END}"),
    "a guarded barrier": ("divergent_barrier", f"{PUT} {LESS} @%p1 bar.sync 0; mov.u32 %r20, 1; {END}",
                          f"{PUT} setp.lt.u32 %p1, %r0, 64; @%p1 bar.sync 0; mov.u32 %r20, 1; {END}"),
    "a barrier after exit": ("divergent_barrier", f"{PUT} {LESS} @%p1 exit; bar.sync 0; {NEAR} {END}",
                             f"{PUT} {LESS} bar.sync 0; @%p1 exit; {NEAR} {END}"),
    "a mask of others": ("divergent_barrier", f"{HERE} shfl.sync.bfly.b32 %r20, %r0, 1, 31, 0xFFFF; {END}",
                         f"{HERE} shfl.sync.bfly.b32 %r20, %r0, 1, 31, -1; {END}"),
    "members elsewhere": ("divergent_barrier",
    f"{PUT} {LESS} @%p1 bra $over; shfl.sync.bfly.b32 %r20, %r0, 1, 31, -1;\n$over: bar.sync 0; {END}",
                          f"{PUT} {LESS} @%p1 bra $over; activemask.b32 %r21; "
                          f"shfl.sync.bfly.b32 %r20, %r0, 1, 31, %r21; bra.uni $on;\n"
                          f"$over: shfl.sync.bfly.b32 %r20, %r0, 2, 31, %r40;\n$on: bar.sync 0; {END}".replace("%r40",
                          "0xFFFF")
                          .replace(LESS, "and.b32 %r22, %r0, 31; setp.lt.u32 %p1, %r22, 16;")),
    "no wait": ("uninitialised", f"{COPY} cp.async.commit_group; ld.shared.b32 %r20, [%r12]; {END}",
                f"{COPY} cp.async.commit_group; cp.async.wait_group 0; ld.shared.b32 %r20, [%r12]; {END}"),
    "no commit": ("uninitialised", f"{COPY} cp.async.wait_group 0; ld.shared.b32 %r20, [%r12]; {END}",
                  f"{COPY} cp.async.wait_all; ld.shared.b32 %r20, [%r12]; {END}"),
    "a group still open": ("uninitialised",
    f"{COPY} cp.async.commit_group; cp.async.wait_group 1; ld.shared.b32 %r20, [%r12]; {END}",
                           f"{COPY} cp.async.commit_group; cp.async.commit_group; cp.async.wait_group 1; "
                           f"ld.shared.b32 %r20, [%r12]; {END}"),
    "others' copies": ("race", f"{COPY} cp.async.wait_all; {NEAR} {END}",
    f"{COPY} cp.async.wait_all; bar.sync 0; {NEAR} {END}"),
    "a copy onto what is read": ("race", f"{PUT} bar.sync 0; "
                                         f"{NEAR} cp.async.ca.shared.global [%r12], [%rd71], 4; {END}",
                                 f"{PUT} bar.sync 0; {NEAR} bar.sync 0; "
                                 f"cp.async.ca.shared.global [%r12], [%rd71], 4; {END}"),
    "a constant": ("unknown_instruction", f"{HERE} wgmma.fence.sync.aligned; mov.u32 %r20, 1; {END}",
    f"{HERE} membar.gl; mov.u32 %r20, 1; {END}"),
    "local memory": ("uninitialised", f"{HERE} ld.local.b32 %r20, [stack]; {END}",
                     f"{HERE} st.local.b32 [stack], %r0; ld.local.b32 %r20, [stack]; {END}"),
    "for ever": ("deadlock", "$again: bra.uni $again;", "bra.uni $again;\n$again:"),
    "rounding": ("unknown_instruction", "mov.f32 %f1, 0f3F800000; add.rz.f32 %f2, %f1, %f1;",
    "mov.f32 %f1, 0f3F800000; add.rn.f32 %f2, %f1, %f1;"),
}  # fmt: skip
SHARED = ".shared .align 16 .b8 tile[256]; .local .align 4 .b8 stack[4];"


@pytest.mark.parametrize("name", PAIRS)
def test_a_mistake_is_named_and_its_absence_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.ptx.machine.LIMIT", 1000)
    kind, wrong, right = PAIRS[name]
    x, out = np.zeros(64, np.uint32), np.empty(64, np.uint32)
    with raises(kind) as found:
        run(kernel(wrong, shared=SHARED), x, out=out, threads=64)
    error = found.value
    assert error.line and error.kernel == "k" and error.instruction
    assert error.thread or kind in ("deadlock", "unknown_instruction")
    run(kernel(right, shared=SHARED), x, out=out, threads=64)


def test_blocks_are_not_ordered() -> None:
    """One block reads what another wrote: no barrier in a launch orders them."""
    for other, kind in ((32, "race"), (1, "")):
        body = f"""{HERE} st.global.b32 [%rd72], %r1; bar.sync 0; xor.b32 %r10, %r1, {other};
          mul.wide.s32 %rd73, %r10, 4; add.s64 %rd74, %rd1, %rd73; ld.global.b32 %r11, [%rd74];"""
        x, out = np.zeros(64, np.uint32), np.empty(64, np.uint32)
        if kind:
            with raises(kind) as found:
                run(kernel(body), x, out=out, blocks=2)
            assert found.value.thread == "thread (0, 0, 0) of block (0, 0, 0)"
        else:
            run(kernel(body), x, out=out, blocks=2)


def test_atomics_of_many_threads_add_up() -> None:
    body = f"atom.global.add.u32 %r10, [%rd0], 1; red.global.max.u32 [%rd0+4], %r1; {HERE} st.global.b32 [%rd72], %r10;"
    got = run(kernel(body), np.zeros(2, np.uint32), out=np.empty(64, np.uint32), blocks=2)
    np.testing.assert_array_equal(np.sort(got), np.arange(64))
