"""Kernels of every class of instructions give what NumPy gives; what is wrong in a kernel is seen and named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ptx.errors import PtxError
from tests.ptx.program import Program
from tests.ptx.memory import Memory
from tests.ptx.mutate import mutations

Array = Any
HEAD = ".version 7.0\n.target sm_80\n.address_size 64\n"


def kernel(body: str, buffers: int = 2, shared: str = "") -> str:
    """An entry whose parameters are pointers %rd0, %rd1, ... and then a size in %rd<buffers>, with %tid.x in %r0 and its global number in %r1."""
    count = buffers + 1
    parameters = ",\n".join(f".param .u64 p{i}" for i in range(count))
    loads = "\n".join(f"ld.param.u64 %rd{i}, [p{i}];" for i in range(count))
    return f"""{HEAD}
    .visible .entry k({parameters}) {{
      .reg .pred %p<20>; .reg .b16 %rs<40>; .reg .b32 %r<80>; .reg .b64 %rd<80>; .reg .f32 %f<40>; .reg .f64 %fd<20>;
      {shared}
      {loads}
      mov.u32 %r0, %tid.x;
      mov.u32 %r2, %ctaid.x;
      mov.u32 %r3, %ntid.x;
      mad.lo.s32 %r1, %r2, %r3, %r0;
      {body}
      ret;
    }}"""


def run(text: str, *arrays: Array, out: Array, blocks: int = 1, threads: int = 32, size: int | None = None) -> Array:
    memory = Memory()
    addresses = [memory.place(x) for x in arrays]
    target = memory.allocate(out.nbytes)
    count = len(out) if size is None else size
    arguments = [*addresses, target, count]
    Program(text).launch("k", grid=(blocks, 1, 1), block=(threads, 1, 1), arguments=arguments, memory=memory)
    return memory.read(target, out.nbytes).view(out.dtype).reshape(out.shape)


def each(formula: str, type: str, width: int, inputs: int = 1, out: str = "") -> str:
    """Thread i computes ``formula`` of %a, %b, %c (elements i of the inputs) into %d, element i of the output."""
    register = {"f32": "%f", "f64": "%fd"}.get(type, {2: "%rs", 4: "%r", 8: "%rd"}[width])
    base, kind = 20 if type not in ("f32", "f64") else 5, f"b{8 * width}"
    text = [f"mul.wide.s32 %rd70, %r1, {width};"]
    for i in range(inputs):
        text += [f"add.s64 %rd71, %rd{i}, %rd70;", f"ld.global.{kind} {register}{base + i}, [%rd71];"]
    names = {f"%{letter}": f"{register}{base + i}" for i, letter in enumerate("abc")}
    body = formula
    for name, found in names.items():
        body = body.replace(name + ",", found + ",").replace(name + ";", found + ";")
    to = {"f32": "%f", "f64": "%fd"}.get(
        out or type, "%r" if (out or type)[1:] == "32" else "%rd" if (out or type)[1:] == "64" else "%rs"
    )
    size = {"f": 4, "r": 4}.get(to[1:2], 4) if to in ("%f", "%r") else 2 if to == "%rs" else 8
    target = f"{to}12" if to in ("%f", "%fd") else f"{to}30"
    text += [body.replace("%d", target).replace(target + "y", "%dy"), f"mul.wide.s32 %rd70, %r1, {size};",
             f"add.s64 %rd72, %rd{inputs}, %rd70;", f"st.global.b{8 * size} [%rd72], {target};"]  # fmt: skip
    return kernel("\n".join(text), inputs + 1)


RNG = np.random.default_rng(7)
N = 64


def floats(dtype: Any = np.float32) -> Array:
    x = RNG.normal(0, 10, N).astype(dtype)
    x[:6] = [0, -0.0, np.inf, -np.inf, np.nan, 1e-40]
    return x


def ints(dtype: Any) -> Array:
    limits = np.iinfo(dtype)
    x = RNG.integers(limits.min, limits.max, N, dtype=dtype, endpoint=True)
    x[:4] = [0, 1, limits.max, limits.min]
    return x


F, G, H = floats(), floats()[::-1].copy(), floats()
I, J, K = ints(np.int32), ints(np.int32)[::-1].copy(), ints(np.int32)
U, V = ints(np.uint32), ints(np.uint32)[::-1].copy()
L, M = ints(np.int64), ints(np.int64)[::-1].copy()
SMALL = (RNG.integers(0, 40, N)).astype(np.uint32)
CASES: list[tuple[str, str, tuple[Array, ...], Any, str]] = [
    ("add.rn.f32 %d, %a, %b;", "f32", (F, G), lambda a, b: a + b, ""),
    ("fma.rn.f32 %d, %a, %b, %c;", "f32", (F, G, H), lambda a, b, c: (a.astype(np.longdouble) * b + c).astype(np.float32), ""),
    ("div.rn.f32 %d, %a, %b;", "f32", (F, G), lambda a, b: a / b, ""),
    ("sqrt.rn.f32 %d, %a;", "f32", (F,), np.sqrt, ""),
    ("max.f32 %d, %a, %b;", "f32", (F, G), np.fmax, ""),
    ("min.NaN.f32 %d, %a, %b;", "f32", (F, G), np.minimum, ""),
    ("ex2.approx.ftz.f32 %d, %a;", "f32", (F,), lambda a: np.exp2(a.astype(np.float64)).astype(np.float32), ""),
    ("add.rn.f32 %d, %a, 0f3F800000;", "f32", (F,), lambda a: a + np.float32(1), ""),
    ("abs.f32 %d, %a;", "f32", (F,), np.abs, ""),
    ("neg.f32 %d, %a;", "f32", (F,), np.negative, ""),
    ("cvt.rn.f32.s32 %d, %a;", "b32", (I,), lambda a: a.astype(np.float32), "f32"),
    ("cvt.rzi.s32.f32 %d, %a;", "f32", (np.nan_to_num(F, posinf=1e20, neginf=-1e20),),
     lambda a: np.clip(np.trunc(a.astype(np.float64)), -(2**31), 2**31 - 1).astype(np.int32), "s32"),
    ("cvt.rni.f32.f32 %d, %a;", "f32", (F,), np.rint, "f32"),
    ("add.s32 %d, %a, %b;", "s32", (I, J), lambda a, b: a + b, ""),
    ("mul.lo.s32 %d, %a, %b;", "s32", (I, J), lambda a, b: a * b, ""),
    ("mul.hi.s32 %d, %a, %b;", "s32", (I, J), lambda a, b: ((a.astype(np.int64) * b) >> 32).astype(np.int32), ""),
    ("mul.wide.s32 %d, %a, %b;", "s32", (I, J), lambda a, b: a.astype(np.int64) * b, "s64"),
    ("mad.lo.s32 %d, %a, %b, %c;", "s32", (I, J, K), lambda a, b, c: a * b + c, ""),
    ("sub.s64 %d, %a, %b;", "s64", (L, M), lambda a, b: a - b, ""),
    ("mul.hi.u64 %d, %a, %b;", "u64", (L.view(np.uint64), M.view(np.uint64)),
     lambda a, b: np.array([int(x) * int(y) >> 64 for x, y in zip(a, b, strict=True)], np.uint64), ""),
    ("shl.b32 %d, %a, %b;", "b32", (U, SMALL), lambda a, b: np.where(b > 31, 0, a << np.minimum(b, 31)), ""),
    ("shr.s32 %d, %a, %b;", "s32", (I, SMALL.view(np.int32)), lambda a, b: a >> np.minimum(b, 31), ""),
    ("and.b32 %d, %a, %b;", "b32", (U, V), np.bitwise_and, ""),
    ("not.b32 %d, %a;", "b32", (U,), np.invert, ""),
    ("lop3.b32 %d, %a, %b, %c, 150;", "b32", (U, V, SMALL), lambda a, b, c: a ^ b ^ c, ""),
    ("prmt.b32 %d, %a, %b, 0x5410;", "b32", (U, V), lambda a, b: (a & 0xFFFF) | (b << np.uint32(16)), ""),
    ("bfe.u32 %d, %a, 4, 8;", "u32", (U,), lambda a: (a >> np.uint32(4)) & np.uint32(255), ""),
    ("bfi.b32 %d, %a, %b, 8, 4;", "b32", (U, V), lambda a, b: (b & ~np.uint32(0xF00)) | ((a & np.uint32(15)) << np.uint32(8)), ""),
    ("popc.b32 %d, %a;", "b32", (U,), lambda a: np.bitwise_count(a).astype(np.uint32), ""),
    ("clz.b32 %d, %a;", "b32", (U,), lambda a: np.array([32 - int(v).bit_length() for v in a], np.uint32), ""),
    ("min.s32 %d, %a, %b;", "s32", (I, J), np.minimum, ""),
    ("shf.l.wrap.b32 %d, %a, %b, 13;", "b32", (U, V), lambda a, b: (b << np.uint32(13)) | (a >> np.uint32(19)), ""),
    ("add.rn.f64 %d, %a, %b;", "f64", (floats(np.float64), floats(np.float64)), lambda a, b: a + b, ""),
    ("cvt.rn.f32.f64 %d, %a;", "f64", (floats(np.float64),), lambda a: a.astype(np.float32), "f32"),
    ("setp.lt.f32 %p1, %a, %b;\nselp.f32 %d, %a, %b, %p1;", "f32", (F, G), lambda a, b: np.where(a < b, a, b), ""),
    ("setp.gtu.f32 %p1, %a, %b;\nselp.u32 %d, 1, 0, %p1;", "f32", (F, G), lambda a, b: (~(a <= b)).astype(np.uint32), "u32"),
    ("setp.ne.s32 %p1, %a, 0;\n@%p1 div.s32 %d, %b, %a;\n@!%p1 mov.b32 %d, -1;", "s32", (np.where(I == -1, 3, I), J),
     lambda a, b: np.where(a == 0, -1, np.trunc(b / np.where(a == 0, 1, a).astype(np.longdouble))).astype(np.int32), ""),
]  # fmt: skip


@pytest.mark.parametrize("formula, type, inputs, rule, out", CASES, ids=[c[0].split(" %")[0] for c in CASES])
def test_formula(formula: str, type: str, inputs: tuple[Array, ...], rule: Any, out: str) -> None:
    with np.errstate(all="ignore"):
        want = np.asarray(rule(*inputs))
    width = inputs[0].itemsize
    got = run(each(formula, type, width, len(inputs), out), *inputs, out=np.empty(N, want.dtype), blocks=2)
    np.testing.assert_array_equal(got, want)


def test_halves_are_rounded_to_nearest_even() -> None:
    body = """mul.wide.s32 %rd70, %r1, 4; add.s64 %rd71, %rd0, %rd70; ld.global.b32 %f1, [%rd71];
    cvt.rn.bf16.f32 %rs1, %f1; cvt.rn.f16.f32 %rs2, %f1; mov.b32 %r5, {%rs1, %rs2};
    add.s64 %rd72, %rd1, %rd70; st.global.b32 [%rd72], %r5;"""
    got = run(kernel(body), F, out=np.empty(N, np.uint32), blocks=2).view(np.uint16).reshape(N, 2)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got[:, 1].view(np.float16), F.astype(np.float16))
    wide = (got[:, 0].astype(np.uint32) << 16).view(np.float32)
    finite = np.isfinite(F)
    assert (np.abs(wide - F)[finite] <= np.abs(F[finite]) * 2.0**-8 + 1e-40).all() and np.isnan(wide[4])


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
        with pytest.raises(PtxError, match="race"):
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
    body = """mul.wide.s32 %rd70, %r1, 16; add.s64 %rd71, %rd0, %rd70; ld.global.nc.v4.f32 {%f1, %f2, %f3, %f4}, [%rd71];
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
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f2, %f3, %f4, %f5}, {%r30, %r31, %r32, %r33}, {%r34, %r35}, {%f1, %f1, %f1, %f1};
    shr.u32 %r40, %r0, 2; and.b32 %r41, %r0, 3; mul.lo.s32 %r42, %r40, 8; shl.b32 %r43, %r41, 1; add.s32 %r44, %r42, %r43;
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
        with pytest.raises(PtxError, match="race" if "bar" in what else "uninitialised"):
            run(text, a, b, out=np.empty((16, 8), np.float32))


ADDRESS = "mul.wide.s32 %rd70, %r1, 4; add.s64 %rd71, %rd0, %rd70; add.s64 %rd72, %rd1, %rd70;"
WRONG = {
    "out_of_bounds": f"{ADDRESS} ld.global.b32 %r10, [%rd71+4]; st.global.b32 [%rd72], %r10;",
    "misaligned": f"{ADDRESS} ld.global.b32 %r10, [%rd71+2]; st.global.b32 [%rd72], %r10;",
    "uninitialised": f"{ADDRESS} ld.global.b32 %r10, [%rd72]; st.global.b32 [%rd72], %r10;",
    "race": f"{ADDRESS} st.global.b32 [%rd1], %r0;",
    "divergent_barrier": "setp.lt.u32 %p1, %r0, 8; @%p1 bra $out; bar.sync 0;\n$out:",
    "unknown_instruction": "wgmma.fence.sync.aligned;",
    "deadlock": "$again: bra.uni $again;",
}


@pytest.mark.parametrize("kind", WRONG)
def test_mistakes_are_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.ptx.machine.LIMIT", 1000)
    text = kernel(WRONG[kind])
    with pytest.raises(PtxError) as found:
        run(text, np.arange(32, dtype=np.uint32), out=np.empty(32, np.uint32))
    assert found.value.kind == kind and found.value.line > 0
    assert kind == "deadlock" or text.split("\n")[found.value.line - 1].strip()


def test_a_register_that_some_threads_never_wrote() -> None:
    body = f"setp.lt.u32 %p1, %r0, 8; @%p1 mov.u32 %r10, 1; {ADDRESS} st.global.b32 [%rd72], %r10;"
    with pytest.raises(PtxError, match="uninitialised.*%r10"):
        run(kernel(body), np.zeros(32, np.uint32), out=np.empty(32, np.uint32))


def test_atomics_of_many_threads_add_up() -> None:
    body = "atom.global.add.u32 %r10, [%rd0], 1; mul.wide.s32 %rd70, %r1, 4; add.s64 %rd72, %rd1, %rd70; st.global.b32 [%rd72], %r10;"
    got = run(kernel(body), np.zeros(1, np.uint32), out=np.empty(64, np.uint32), blocks=2)
    np.testing.assert_array_equal(np.sort(got), np.arange(64))


def test_blocks_are_not_ordered() -> None:
    """One block reads what another wrote: no barrier in a launch orders them."""
    body = f"{ADDRESS} st.global.b32 [%rd72], %r1; bar.sync 0; xor.b32 %r10, %r1, 32; mul.wide.s32 %rd73, %r10, 4; add.s64 %rd74, %rd1, %rd73; ld.global.b32 %r11, [%rd74];"
    with pytest.raises(PtxError, match="race"):
        run(kernel(body), np.zeros(64, np.uint32), out=np.empty(64, np.uint32), blocks=2)
