"""Instructions of warps and matrix units, in every mode, against NumPy on the fragments that the ISA draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ptx.memory import Memory
from tests.ptx.program import Program
from tests.ptx.support import HEAD, kernel, raises, run

Array = Any
RNG = np.random.default_rng(11)
X = RNG.integers(-1000, 1000, 64).astype(np.int32)
LANE = np.arange(32)
HERE = (
    "mul.wide.s32 %rd70, %r1, 4; add.s64 %rd71, %rd0, %rd70; add.s64 %rd72, %rd1, %rd70; ld.global.b32 %r10, [%rd71];"
)
W = X.reshape(2, 32)
CASES: dict[str, tuple[str, Array]] = {
    "shfl.sync.up.b32 %r20, %r10, 3, 0, -1;": ("up", W[:, np.where(LANE >= 3, LANE - 3, LANE)]),
    "shfl.sync.down.b32 %r20, %r10, 3, 31, -1;": ("down", W[:, np.where(LANE < 29, LANE + 3, LANE)]),
    "shfl.sync.idx.b32 %r20, %r10, 5, 31, -1;": ("idx", W[:, LANE * 0 + 5]),
    "shfl.sync.idx.b32 %r20, %r10, 5, 6175, -1;": ("idx of 8", W[:, LANE // 8 * 8 + 5]),
    "shfl.sync.down.b32 %r20, %r10, 2, 7199, -1;": ("down of 4", W[:, np.where(LANE % 4 < 2, LANE + 2, LANE)]),
    "redux.sync.add.s32 %r20, %r10, -1;": ("add", W.sum(1, keepdims=True)),
    "redux.sync.max.s32 %r20, %r10, -1;": ("max", W.max(1, keepdims=True)),
    "setp.gt.s32 %p1, %r10, 0; vote.sync.ballot.b32 %r20, %p1, -1;": (
        "ballot", ((W > 0).astype(np.int64) << LANE).sum(1, keepdims=True)),
    "setp.gt.s32 %p1, %r10, 5000; vote.sync.any.pred %p2, %p1, -1; selp.b32 %r20, 1, 0, %p2;": ("any", W[:, :1] * 0),
    "setp.lt.s32 %p1, %r10, 5000; vote.sync.all.pred %p2, %p1, -1; selp.b32 %r20, 1, 0, %p2;": (
        "all", W[:, :1] * 0 + 1),
    "and.b32 %r11, %r10, 1; match.any.sync.b32 %r20, %r11, -1;": (
        "match", (((W[:, :, None] & 1) == (W[:, None] & 1)).astype(np.int64) << LANE).sum(2)),
}  # fmt: skip


@pytest.mark.parametrize("body", CASES, ids=[name for name, _ in CASES.values()])
def test_exchanges_in_a_warp(body: str) -> None:
    want = np.broadcast_to(CASES[body][1], (2, 32)).astype(np.uint32).view(np.int32)
    got = run(kernel(f"{HERE} {body} st.global.b32 [%rd72], %r20;"), X, out=np.empty(64, np.int32), threads=64)
    np.testing.assert_array_equal(got.reshape(2, 32), want)


# type of A and B, k, elements of a register, type of C, registers of C
SHAPES = [("f16", 16, "f32"), ("f16", 8, "f32"), ("f16", 16, "f16"), ("bf16", 16, "f32"), ("tf32", 8, "f32"),
          ("tf32", 4, "f32"), ("s8", 32, "s32"), ("u8", 16, "s32")]  # fmt: skip
STORED = {"f16": np.float16, "tf32": np.float32, "s8": np.int8, "u8": np.uint8, "f32": np.float32, "s32": np.int32}


def raw(x: Array, type: str) -> Array:
    """As registers of 32 bits along the last axis."""
    if type == "bf16":
        halves = (x.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        return np.ascontiguousarray(halves).view(np.uint32)
    return np.ascontiguousarray(x.astype(STORED[type])).view(np.uint32)


@pytest.mark.parametrize("type, k, of_c", SHAPES)
def test_matrix_products(type: str, k: int, of_c: str) -> None:
    """Fragments as the ISA draws them: lane 4 g + t has rows g, g + 8 of A, column g of B, columns 2t, 2t + 1 of C."""
    low = 0 if type == "u8" else -8
    a, b, c = RNG.integers(low, 8, (16, k)), RNG.integers(low, 8, (k, 8)), RNG.integers(-8, 8, (16, 8))
    g, t = LANE // 4, LANE % 4
    each = {"f16": 2, "bf16": 2, "tf32": 1, "s8": 4, "u8": 4}[type]
    groups = k // (4 * each)  # of columns that one register of each lane covers
    columns = [(t * each + 4 * each * h)[:, None] + np.arange(each) for h in range(groups)]
    of_a = [raw(a[(g + 8 * r)[:, None], col], type) for col in columns for r in range(2)]
    of_b = [raw(b[col, g[:, None]], type) for col in columns]
    pairs = (2 * t)[:, None] + np.arange(2)
    rows = [raw(c[(g + 8 * r)[:, None], pairs], of_c) for r in range(2)]
    fragments = np.concatenate([*of_a, *of_b, *rows], 1)
    names = [f"%r{20 + i}" for i in range(fragments.shape[1])]
    loads = "\n".join(f"ld.global.b32 {r}, [%rd71+{4 * i}];" for i, r in enumerate(names))
    na, nb, nc = len(of_a), len(of_b), fragments.shape[1] - len(of_a) - len(of_b)
    d = [f"%r{60 + i}" for i in range(nc)]
    stores = "\n".join(f"st.global.b32 [%rd72+{4 * i}], {r};" for i, r in enumerate(d))
    lists = [", ".join(x) for x in (d, names[:na], names[na : na + nb], names[na + nb :])]
    body = f"""mul.wide.s32 %rd70, %r1, {4 * len(names)}; add.s64 %rd71, %rd0, %rd70;
      mul.wide.s32 %rd70, %r1, {4 * nc}; add.s64 %rd72, %rd1, %rd70; {loads}
      mma.sync.aligned.m16n8k{k}.row.col.{of_c}.{type}.{type}.{of_c} {{{"}, {".join(lists)}}}; {stores}"""
    got = run(kernel(body), fragments, out=np.empty((32, nc), np.uint32)).view(STORED[of_c]).reshape(32, 2, 2)
    for r in range(2):
        np.testing.assert_array_equal(got[:, r], (a @ b + c)[(g + 8 * r)[:, None], pairs])


@pytest.mark.parametrize("trans", ["", ".trans"])
def test_matrices_stored_and_loaded_are_the_same(trans: str) -> None:
    body = f"""mul.wide.s32 %rd70, %r1, 16; add.s64 %rd71, %rd0, %rd70; add.s64 %rd72, %rd1, %rd70;
      ld.global.v4.b32 {{%r20, %r21, %r22, %r23}}, [%rd71]; shl.b32 %r10, %r0, 4; mov.u32 %r11, tile;
      add.s32 %r12, %r10, %r11;
      stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 [%r12], {{%r20, %r21, %r22, %r23}};
      bar.sync 0;
      ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r30, %r31, %r32, %r33}}, [%r12];
      st.global.v4.b32 [%rd72], {{%r30, %r31, %r32, %r33}};"""
    x = RNG.integers(0, 2**32, (32, 4), dtype=np.uint32)
    text = kernel(body, shared=".shared .align 16 .b8 tile[512];")
    np.testing.assert_array_equal(run(text, x, out=np.empty((32, 4), np.uint32)), x)
    with raises("race"):
        run(text.replace("bar.sync 0;", ""), x, out=np.empty((32, 4), np.uint32))


def test_copies_of_fewer_bytes_are_filled_with_zeros() -> None:
    body = """mul.wide.s32 %rd70, %r1, 16; add.s64 %rd71, %rd0, %rd70; add.s64 %rd72, %rd1, %rd70;
      shl.b32 %r10, %r0, 4; mov.u32 %r11, dyn; add.s32 %r12, %r10, %r11; and.b32 %r13, %r0, 15;
      cp.async.cg.shared.global [%r12], [%rd71], 16, %r13; cp.async.wait_all;
      ld.shared.v4.b32 {%r20, %r21, %r22, %r23}, [%r12]; st.global.v4.b32 [%rd72], {%r20, %r21, %r22, %r23};"""
    x = RNG.integers(1, 255, (32, 16), dtype=np.uint8)
    text = kernel(body).replace(HEAD, HEAD + ".extern .shared .align 16 .b8 dyn[];\n")
    got = run(text, x, out=np.empty((32, 16), np.uint8), shared=512)
    np.testing.assert_array_equal(got, np.where(np.arange(16) < LANE[:, None] % 16, x, 0))
    with raises("out_of_bounds"):
        run(text, x, out=np.empty((32, 16), np.uint8), shared=496)


def test_variables_of_a_module_live_as_long_as_its_memory() -> None:
    table = ".const .align 4 .b32 table[4] = {7, -1, 0x10, 3};\n.global .align 4 .b32 total;\n"
    body = """mov.u64 %rd10, table; mul.wide.u32 %rd11, %r0, 4; add.s64 %rd12, %rd10, %rd11; ld.const.b32 %r10, [%rd12];
      atom.global.add.u32 %r11, [total], %r10; setp.ne.u32 %p1, %r0, 3; @%p1 bra $out;
      ld.relaxed.gpu.global.b32 %r12, [total]; st.global.b32 [%rd0], %r12; $out:"""
    memory, program = Memory(), Program(kernel(body, 1, functions=table))
    out = memory.allocate(4)
    for times in (1, 2):
        program.launch("k", grid=(1, 1, 1), block=(4, 1, 1), arguments=[out, 0], memory=memory)
        assert memory.array(out, 4).view(np.uint32)[0] == 25 * times
    with raises("launch"):
        program.launch("k", grid=(1, 1, 1), block=(4, 1, 1), arguments=[out], memory=memory)
    with raises("launch"):
        program.launch("k", grid=(1, 1, 1), block=(2048, 1, 1), arguments=[out, 0], memory=memory)


@pytest.mark.parametrize(
    "text", ["", ".entry k(", ".version 7.0 .entry k() { add.s32 %r1 %r2; }", ".entry k() { ? }", "nop"]
)
def test_what_is_no_ptx_is_named_with_its_line(text: str) -> None:
    if not text:
        assert not Program(text).module.kernels
        return
    with raises("syntax") as found:
        Program(f"\n{text}")
    assert found.value.line == 2
