"""Kernels to PTX: LLVM IR for NVPTX, checked intrinsics, PTX text, and cubins where ptxas is found."""

from mlc.codegen.nvptx.compile import compile_ptx, ptx_of
from mlc.codegen.nvptx.emit import emit_module
from mlc.codegen.nvptx.ptxas import Cubin, Usage, assemble_ptx, find_ptxas

__all__ = ["Cubin", "Usage", "assemble_ptx", "compile_ptx", "emit_module", "find_ptxas", "ptx_of"]
