"""LLVM IR becomes PTX as the compiler's back end makes it, for kernels that tests write in IR."""

from __future__ import annotations

import functools

import llvmlite.binding as llvm

HEAD = """target triple = "nvptx64-nvidia-cuda"
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.tid.y()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.y()
declare i32 @llvm.nvvm.shfl.sync.bfly.i32(i32, i32, i32, i32)
declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)
declare float @llvm.fma.f32(float, float, float)
"""


@functools.cache
def ptx(body: str, cpu: str = "sm_80", level: int = 3) -> str:
    """The PTX of the definitions in ``body``."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(HEAD + body)
    module.verify()
    target = llvm.Target.from_triple("nvptx64-nvidia-cuda")
    found: str = target.create_target_machine(cpu=cpu, opt=level).emit_assembly(module)
    return found
