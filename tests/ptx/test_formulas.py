"""Every arithmetic instruction gives what NumPy, or exact arithmetic, gives."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.ptx.support import kernel, run

Array = Any


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
I, J, K = ints(np.int32), ints(np.int32)[::-1].copy(), ints(np.int32)  # noqa: E741
U, V = ints(np.uint32), ints(np.uint32)[::-1].copy()
L, M = ints(np.int64), ints(np.int64)[::-1].copy()
SMALL = (RNG.integers(0, 40, N)).astype(np.uint32)
X = RNG.normal(0, 3, N).astype(np.float32)
P, Q = RNG.normal(0, 10, (2, N))
XS, YS = (np.array(v, np.float32).view(np.uint64) for v in RNG.normal(0, 3, (2, 2 * N)))
BF = (RNG.normal(0, 10, N).astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def pairs(first: Array, second: Array) -> Array:
    """Two f32 in each 64 bits, the first in the lower half."""
    return np.ascontiguousarray(np.stack([first, second], 1).astype(np.float32)).view(np.uint64)[:, 0]


def of_pairs(rule: Any) -> Any:
    """``rule`` of the numbers in pairs of f32."""

    def formula(*packed: Array) -> Array:
        found = rule(*(x.view(np.float32) for x in packed))
        return found.astype(np.float32).view(np.uint64)

    return formula


def of_halves(dtype: Any, rule: Any) -> Any:
    return lambda *packed: rule(*(x.view(dtype) for x in packed)).view(np.uint32)


def from_bf16(raw: Array) -> Array:
    return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)


MIXED = (("add", lambda a, b: (from_bf16(a) + b.view(np.float32)).view(np.uint32)),
         ("sub", lambda a, b: (from_bf16(a) - b.view(np.float32)).view(np.uint32)))  # fmt: skip


def flushed(x: Array) -> Array:
    return np.where(np.abs(x) < 2.0**-126, np.copysign(0, x), x)


def sign(x: int) -> int:
    return int(x > 0) - int(x < 0)


def exact(rule: Any, a: Array, b: Array) -> Array:
    """In Python's integers, wrapped."""
    found = [rule(int(x), int(y)) % 2**64 for x, y in zip(a, b, strict=True)]
    return np.array(found, np.uint64).view(np.int64)


def fused(a: Array, b: Array, c: Array) -> Array:
    """In fractions, rounded once."""
    return np.array([float(Fraction(x) * Fraction(y) + Fraction(z)) for x, y, z in zip(a, b, c, strict=True)])


def fused_bf16(a: Array, b: Array, c: Array) -> Array:
    """The nearest of the bf16 numbers around the exact result, ties to even."""
    wide = [(x.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(float) for x in (a, b, c)]
    found = []
    for x, y, z in zip(*wide, strict=True):
        want = Fraction(x) * Fraction(y) + Fraction(z)
        low = int(np.float32(float(want)).view(np.uint32)) >> 16
        near = [
            (abs(Fraction(float(np.uint32(k << 16).view(np.float32))) - want), k & 1, k)
            for k in (low - 1, low, low + 1)
        ]
        found.append(min(near)[2])
    return np.array(found, np.uint16)


def replicated(a: Array, b: Array) -> Array:
    """Bytes of prmt by 0x0F8C: byte 4's sign, byte 0's, byte 7's, and byte 0."""
    ones = np.uint32(255)
    top = np.where(b >> np.uint32(31), ones, 0) << np.uint32(16)
    low = np.where((b >> np.uint32(7)) & np.uint32(1), ones, 0) | np.where(
        (a >> np.uint32(7)) & np.uint32(1), ones, 0
    ) << np.uint32(8)
    return (low | top | (a & ones) << np.uint32(24)).astype(np.uint32)


def truncated(a: Array) -> Array:
    """To s64: saturated, and NaN the smallest."""
    whole = [
        -(2**63) if x != x else min(max(int(x), -(2**63)), 2**63 - 1) if np.isfinite(x) else sign(x) * 2**63 for x in a
    ]
    return np.array([min(v, 2**63 - 1) for v in whole], np.int64)


CASES: list[tuple[str, str, tuple[Array, ...], Any, str]] = [
    ("add.rn.f32 %d, %a, %b;", "f32", (F, G), lambda a, b: a + b, ""),
    ("fma.rn.f32 %d, %a, %b, %c;", "f32", (F, G, H),
     lambda a, b, c: (a.astype(np.longdouble) * b + c).astype(np.float32), ""),
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
    ("bfi.b32 %d, %a, %b, 8, 4;", "b32", (U, V),
     lambda a, b: (b & ~np.uint32(0xF00)) | ((a & np.uint32(15)) << np.uint32(8)), ""),
    ("popc.b32 %d, %a;", "b32", (U,), lambda a: np.bitwise_count(a).astype(np.uint32), ""),
    ("clz.b32 %d, %a;", "b32", (U,), lambda a: np.array([32 - int(v).bit_length() for v in a], np.uint32), ""),
    ("min.s32 %d, %a, %b;", "s32", (I, J), np.minimum, ""),
    ("shf.l.wrap.b32 %d, %a, %b, 13;", "b32", (U, V),
     lambda a, b: (b << np.uint32(13)) | (a >> np.uint32(19)), ""),
    ("add.rn.f64 %d, %a, %b;", "f64", (floats(np.float64), floats(np.float64)), lambda a, b: a + b, ""),
    ("cvt.rn.f32.f64 %d, %a;", "f64", (floats(np.float64),), lambda a: a.astype(np.float32), "f32"),
    ("setp.lt.f32 %p1, %a, %b;\nselp.f32 %d, %a, %b, %p1;", "f32", (F, G), lambda a, b: np.where(a < b, a, b), ""),
    ("setp.gtu.f32 %p1, %a, %b;\nselp.u32 %d, 1, 0, %p1;", "f32", (F, G),
     lambda a, b: (~(a <= b)).astype(np.uint32), "u32"),
    ("setp.ne.s32 %p1, %a, 0;\n@%p1 div.s32 %d, %b, %a;\n@!%p1 mov.b32 %d, -1;", "s32", (np.where(I == -1, 3, I), J),
     lambda a, b: np.where(a == 0, -1, np.trunc(b / np.where(a == 0, 1, a).astype(np.longdouble))).astype(np.int32),
     ""),
    ("div.u32 %d, %a, %b;", "u32", (U, V), lambda a, b: np.where(b == 0, 2**32 - 1, a // np.maximum(b,
         1)).astype(np.uint32), ""),
    ("div.s64 %d, %a, %b;", "s64", (L, M), lambda a, b: exact(lambda x,
         y: abs(x) // abs(y) * sign(x * y) if y else -1, a, b), ""),
    ("rem.s64 %d, %a, %b;", "s64", (L, M), lambda a, b: exact(lambda x, y: abs(x) % abs(y) * sign(x) if y else x, a,
         b), ""),
    ("mul.hi.s64 %d, %a, %b;", "s64", (L, M), lambda a, b: exact(lambda x, y: x * y >> 64, a, b), ""),
    ("bfe.s32 %d, %a, 20, 20;", "s32", (I,), lambda a: a >> 20, ""),
    ("bfe.s32 %d, %a, 3, 7;", "s32", (I,), lambda a: a << 22 >> 25, ""),
    ("bfe.u64 %d, %a, 60, 9;", "u64", (L.view(np.uint64),), lambda a: a >> np.uint64(60), ""),
    ("brev.b32 %d, %a;", "b32", (U,), lambda a: np.array([int(f"{v:032b}"[::-1], 2) for v in a], np.uint32), ""),
    ("clz.b64 %r31, %a; cvt.u64.u32 %d, %r31;", "b64", (L.view(np.uint64),),
     lambda a: np.array([64 - int(v).bit_length() for v in a], np.uint64), ""),
    ("dp4a.s32.s32 %d, %a, %b, %c;", "s32", (I, J, K),
     lambda a, b, c: (a.view(np.int8).reshape(-1, 4).astype(np.int32) * b.view(np.int8).reshape(-1, 4)).sum(1,
     dtype=np.int32) + c, ""),
    ("shf.r.clamp.b32 %d, %a, %b, 32;", "b32", (U, V), lambda a, b: b, ""),
    ("shr.u32 %d, %a, 40;", "u32", (U,), lambda a: a * 0, ""),
    ("add.sat.s32 %d, %a, %b;", "s32", (I, J), lambda a, b: np.clip(a.astype(np.int64) + b, -(2**31),
         2**31 - 1).astype(np.int32), ""),
    ("add.cc.u32 %r31, %a, %a; addc.u32 %d, %b, %b;", "u32", (U, V), lambda a, b: b + b + (a >> np.uint32(31)), ""),
    ("sub.cc.u32 %r31, %a, %b; subc.u32 %d, %b, %a;", "u32", (U, V), lambda a, b: b - a - (a < b), ""),
    ("prmt.b32 %d, %a, %b, 0x0F8C;", "b32", (U, V), lambda a, b: replicated(a, b), ""),
    ("cvt.rzi.s64.f32 %d, %a;", "f32", (F,), lambda a: truncated(a), "s64"),
    ("cvt.sat.u8.s32 %rs31, %a; cvt.s32.u16 %d, %rs31;", "s32", (I,), lambda a: np.clip(a, 0, 255), ""),
    ("cvt.s8.s32 %rs31, %a; cvt.s32.s8 %d, %rs31;", "s32", (I,), lambda a: a.astype(np.int8).astype(np.int32), ""),
    ("cvt.rna.tf32.f32 %r31, %a; and.b32 %r32, %r31, 8191; mov.b32 %d, %r32;", "f32", (X,), lambda a: np.zeros(N,
         np.uint32), "u32"),
    ("testp.subnormal.f32 %p1, %a; selp.u32 %d, 1, 0, %p1;", "f32", (F,),
     lambda a: ((a != 0) & (np.abs(a) < 2.0**-126)).astype(np.uint32), "u32"),
    ("add.rn.ftz.f32 %d, %a, 0f00000001;", "f32", (F,), lambda a: np.where(np.abs(a) < 2.0**-126, np.copysign(0,
         a) + 0, a), ""),
    ("fma.rn.f64 %d, %a, %b, %c;", "f64", (P, Q, -P * Q), lambda a, b, c: fused(a, b, c), ""),
    ("fma.rn.f64 %d, %a, %b, %c;", "f64", (P * 1e-200, Q * 1e-115, P * 1e-315), lambda a, b, c: fused(a, b, c), ""),
    ("fma.rn.bf16 %d, %a, %b, %c;", "bf16", (BF, BF[::-1].copy(), BF[::-7].copy().repeat(8)[:N]),
     lambda a, b, c: fused_bf16(a, b, c), ""),
    ("add.rn.f32x2 %d, %a, %b;", "b64", (XS, YS), of_pairs(lambda a, b: a + b), ""),
    ("sub.rn.ftz.f32x2 %d, %a, %b;", "b64", (pairs(X, X * 2.0**-125), pairs(X[::-1], X * 1.125 * 2.0**-125)),
     of_pairs(lambda a, b: flushed(flushed(a) - flushed(b))), ""),
    ("mul.rn.f32x2 %d, %a, %b;", "b64", (XS, YS), of_pairs(lambda a, b: a * b), ""),
    ("fma.rn.f32x2 %d, %a, %b, %c;", "b64", (XS, YS, of_pairs(lambda a, b: -a * b)(XS, YS)),
     of_pairs(lambda a, b, c: fused(*(x.astype(float) for x in (a, b, c)))), ""),
    ("mov.b64 {%r31, %r32}, %a; mov.b64 %rd75, {%r32, %r31}; add.rn.f32x2 %d, %rd75, %b;", "b64", (XS, YS),
     of_pairs(lambda a, b: a.reshape(N, 2)[:, ::-1].ravel() + b), ""),
    *((f"mov.b32 {{%rs31, %rs32}}, %a; {op}.rn.f32.bf16 %d, %rs31, %b;", "b32",
       (BF.astype(np.uint32), X.view(np.uint32)), rule, "") for op, rule in MIXED),
    ("mov.b32 {%rs31, %rs32}, %a; fma.rn.f32.f16 %d, %rs31, %rs32, %b;", "b32",
     (X.astype(np.float16).repeat(2).view(np.uint32), X.view(np.uint32)),
     lambda a, b: fused(*(v.astype(float) for v in (a.view(np.float16)[::2], a.view(np.float16)[1::2],
         b.view(np.float32)))).astype(np.float32).view(np.uint32), ""),
    ("add.s16x2 %d, %a, %b;", "b32", (U, V), of_halves(np.int16, np.add), ""),
    ("min.s16x2 %d, %a, %b;", "b32", (U, V), of_halves(np.int16, np.minimum), ""),
    ("min.relu.s32 %d, %a, %b;", "s32", (I, J), lambda a, b: np.maximum(np.minimum(a, b), 0), ""),
    ("max.relu.s16x2 %d, %a, %b;", "b32", (U, V), of_halves(np.int16, lambda a, b: np.maximum(np.maximum(a, b), 0)),
     ""),
    ("max.u16x2 %d, %a, %b;", "b32", (U, V), of_halves(np.uint16, np.maximum), ""),
    ("sin.approx.f32 %d, %a;", "f32", (X,), lambda a: np.sin(a.astype(np.float64)).astype(np.float32), ""),
    ("tanh.approx.f32 %d, %a;", "f32", (X,), lambda a: np.tanh(a.astype(np.float64)).astype(np.float32), ""),
    ("copysign.f32 %d, %a, %b;", "f32", (F, G), lambda a, b: np.copysign(b, a), ""),
    ("setp.lt.and.f32 %p1|%p2, %a, %b, %p0; selp.f32 %d, %a, %b, %p2;".replace("%p0", "1"), "f32", (F, G),
     lambda a, b: np.where(a < b, b, a), ""),
    ("set.gt.u32.f32 %d, %a, %b;", "f32", (F, G), lambda a, b: np.where(a > b, 2**32 - 1, 0).astype(np.uint32), "u32"),
    ("slct.f32.s32 %d, %a, %b, -1;", "f32", (F, G), lambda a, b: b, ""),
    ("mov.b32 {%rs31, _}, %a; mov.b32 {_, %rs32}, %b; mov.b32 %d, {%rs32, %rs31};", "b32", (U, V),
     lambda a, b: (b >> np.uint32(16)) | (a << np.uint32(16)), ""),
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
    assert (np.abs(wide[finite] - F[finite]) <= np.abs(F[finite]) * 2.0**-8 + 1e-40).all() and np.isnan(wide[4])
