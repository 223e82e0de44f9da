"""Kernels to PTX: LLVM IR for NVPTX, checked intrinsics, PTX text, and cubins where ptxas is found."""

from mlc.codegen.nvptx.compile import compile_ptx, ptx_of
from mlc.codegen.nvptx.emit import block_threads, dynamic_shared_bytes, emit_module

__all__ = ["block_threads", "compile_ptx", "dynamic_shared_bytes", "emit_module", "ptx_of"]
