"""Kernels to LLVM IR text, to object code, to callable addresses."""

from mlc.codegen.compile import assemble, assembly, check_llvm, compile_object
from mlc.codegen.emit import emit_llvm
from mlc.codegen.load import LoadedObject, load_object

__all__ = ["LoadedObject", "assemble", "assembly", "check_llvm", "compile_object", "emit_llvm", "load_object"]
