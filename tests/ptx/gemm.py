"""IR of a matrix product in tiles of 64 x 64: 256 threads with 4 x 4 sums each, 16 of K at a time in shared memory."""

from __future__ import annotations

STEPS = 16
SUMS = [(i, j) for i in range(4) for j in range(4)]
START = """
@sa = internal addrspace(3) global [1024 x float] poison, align 16
@sb = internal addrspace(3) global [1024 x float] poison, align 16
define ptx_kernel void @k(ptr addrspace(1) noalias readonly align 16 %a, ptr addrspace(1) noalias readonly align 16 %b,
                          ptr addrspace(1) noalias align 16 %c, i32 %n) {
entry:
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %bx = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %by = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.y()
  %ty = lshr i32 %t, 4
  %tx = and i32 %t, 15
  %row0 = shl i32 %by, 6
  %col0 = shl i32 %bx, 6
  %tx4 = shl i32 %tx, 2
  %ty4 = shl i32 %ty, 2
  %ar = lshr i32 %t, 2
  %ak3 = and i32 %t, 3
  %ak = shl i32 %ak3, 2
  %arow = add i32 %row0, %ar
  %abase = mul i32 %arow, %n
  %bcol = add i32 %col0, %tx4
  %place = shl i32 %t, 2
  %psa = getelementptr float, ptr addrspace(3) @sa, i32 %place
  %psb = getelementptr float, ptr addrspace(3) @sb, i32 %place
  br label %loop
loop:
  %k = phi i32 [0, %entry], [%k2, %loop]
"""
FILL = """
  %ka = add i32 %k, %ak
  %ai = add i32 %abase, %ka
  %pa = getelementptr float, ptr addrspace(1) %a, i32 %ai
  %va = load <4 x float>, ptr addrspace(1) %pa, align 16
  store <4 x float> %va, ptr addrspace(3) %psa, align 16
  %kb = add i32 %k, %ty
  %bn = mul i32 %kb, %n
  %bi = add i32 %bn, %bcol
  %pb = getelementptr float, ptr addrspace(1) %b, i32 %bi
  %vb = load <4 x float>, ptr addrspace(1) %pb, align 16
  store <4 x float> %vb, ptr addrspace(3) %psb, align 16
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
"""
NEXT = """
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %k2 = add i32 %k, 16
  %more = icmp slt i32 %k2, %n
  br i1 %more, label %loop, label %done
done:
"""


def gemm() -> str:
    """C = A B for n x n row-major matrices, n a multiple of 64; the grid is (n / 64, n / 64) blocks of 256 threads."""
    phis = "\n".join(f"%s{i}{j} = phi float [0.0, %entry], [%s{i}{j}.{STEPS}, %loop]" for i, j in SUMS)
    steps = "".join(_step(q) for q in range(STEPS))
    stores = "".join(_row(i) for i in range(4))
    return f"{START}{phis}{FILL}{steps}{NEXT}{stores}ret void\n}}"


def _step(q: int) -> str:
    """Row q of the tile of B, column q of that of A."""
    lines = [f"%g.{q} = add i32 %tx4, {64 * q}"]
    lines += [f"%pg.{q} = getelementptr float, ptr addrspace(3) @sb, i32 %g.{q}"]
    lines += [f"%y.{q} = load <4 x float>, ptr addrspace(3) %pg.{q}, align 16"]
    for i in range(4):
        lines += [f"%r{i}.{q} = add i32 %ty4, {i}"]
        lines += [f"%e{i}.{q} = shl i32 %r{i}.{q}, 4"]
        lines += [f"%f{i}.{q} = add i32 %e{i}.{q}, {q}"]
        lines += [f"%p{i}.{q} = getelementptr float, ptr addrspace(3) @sa, i32 %f{i}.{q}"]
        lines += [f"%x{i}.{q} = load float, ptr addrspace(3) %p{i}.{q}"]
        lines += [f"%y{i}.{q} = extractelement <4 x float> %y.{q}, i32 {i}"]
    for i, j in SUMS:
        before = f"%s{i}{j}.{q}" if q else f"%s{i}{j}"
        lines += [f"%s{i}{j}.{q + 1} = call float @llvm.fma.f32(float %x{i}.{q}, float %y{j}.{q}, float {before})"]
    return "\n".join(lines) + "\n"


def _row(i: int) -> str:
    lines = [f"%or{i} = add i32 %ty4, {i}", f"%og{i} = add i32 %row0, %or{i}"]
    lines += [f"%on{i} = mul i32 %og{i}, %n", f"%oi{i} = add i32 %on{i}, %bcol"]
    for j in range(4):
        lines += [f"%oj{i}{j} = add i32 %oi{i}, {j}"]
        lines += [f"%po{i}{j} = getelementptr float, ptr addrspace(1) %c, i32 %oj{i}{j}"]
        lines += [f"store float %s{i}{j}.{STEPS}, ptr addrspace(1) %po{i}{j}"]
    return "\n".join(lines) + "\n"
