"""LLVM IR text to PTX, without LLVM's pass manager: the text is finished when it comes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from mlc.codegen.compile import parse_for, set_llvm_options
from mlc.codegen.nvptx.emit import emit_module
from mlc.codegen.nvptx.intrinsics import check_intrinsics
from mlc.ir.kernel import Kernel
from mlc.ir.target import GpuTarget


def compile_ptx(kernels: Sequence[Kernel], target: GpuTarget) -> str:
    """The PTX of a module that has an entry for each kernel, named as the kernel is; kernels are lowered already.

    Raises what ``emit_module`` does.
    """
    return ptx_of(emit_module(kernels, target), target)


def ptx_of(llvm_text: str, target: GpuTarget) -> str:
    """The PTX of LLVM IR for NVPTX. Raises InternalError where LLVM refuses the text."""
    check_intrinsics(llvm_text, target)
    machine = _machine(target)
    return str(machine.emit_assembly(parse_for(machine, llvm_text)))


@cache
def _machine(target: GpuTarget) -> Any:
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    set_llvm_options()  # one process has one set: the text does not depend on what was compiled before
    found = binding.Target.from_triple(target.triple)
    return found.create_target_machine(cpu=target.cpu, features=target.features, opt=2)
