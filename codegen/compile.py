"""LLVM IR text to object code or assembly, without LLVM's pass manager: the text is finished when it comes."""

from __future__ import annotations

from functools import cache
from typing import Any

from mlc.errors import InternalError, ParseError
from mlc.ir.target import Target


def compile_object(llvm_text: str, target: Target, optimize: int = 0) -> bytes:
    """Position-independent object code; depends on no other symbol.

    ``optimize`` 1 to 3 runs LLVM's pass pipeline of that level first, to measure what it would win; 0 does not.
    Raises InternalError where LLVM refuses the text.
    """
    module, machine = _parse(llvm_text, target, optimize)
    return bytes(machine.emit_object(module))


def assembly(llvm_text: str, target: Target, optimize: int = 0) -> str:
    """The assembly of the same code."""
    module, machine = _parse(llvm_text, target, optimize)
    return str(machine.emit_assembly(module))


def check_llvm(llvm_text: str) -> None:
    """Raises ParseError with LLVM's words where text from elsewhere is no LLVM IR that verifies."""
    from llvmlite import binding

    try:
        binding.parse_assembly(llvm_text).verify()
    except RuntimeError as error:
        raise ParseError(f"LLVM refuses the text: {' '.join(str(error).split())}") from error


def assemble(assembly_text: str, target: Target) -> bytes:
    """Object code of what ``assembly`` printed. LLVM ends the process, with its own message, for other text."""
    from llvmlite import binding

    machine = _machine(target)
    binding.initialize_native_asmparser()
    quoted = assembly_text.replace("\\", "\\5C").replace('"', "\\22")
    module = binding.parse_assembly("\n".join(f'module asm "{line}"' for line in quoted.splitlines()))
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    return bytes(machine.emit_object(module))


def parse_for(machine: Any, llvm_text: str) -> Any:
    """LLVM's module of a text that is ours, for a target machine. Raises InternalError where LLVM refuses it."""
    from llvmlite import binding

    try:
        module = binding.parse_assembly(llvm_text)
        module.verify()
    except RuntimeError as error:
        raise InternalError(f"codegen: LLVM refuses the text: {error}\n{llvm_text}") from error
    module.data_layout = str(machine.target_data)
    return module


def _parse(llvm_text: str, target: Target, optimize: int) -> tuple[Any, Any]:
    from llvmlite import binding

    machine = _machine(target)
    module = parse_for(machine, llvm_text)
    if optimize:
        options = binding.create_pipeline_tuning_options(speed_level=optimize)
        builder = binding.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
    return module, machine


@cache
def set_llvm_options() -> None:
    """What is set for all of a process, and for all targets."""
    from llvmlite import binding

    # Addresses come hoisted: LLVM's loop strength reduction wins nothing and is a third of the compile time.
    binding.set_option("mlc", "-disable-lsr")
    # From both ends: scheduled from below alone, a tile that fills the registers may spill all of its sums.
    binding.set_option("mlc", "-misched-prera-direction=bidirectional")


@cache
def _machine(target: Target) -> Any:
    """Code generation at level 2: level 1 is no faster to compile and level 0 gives a third of the speed."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    set_llvm_options()
    found = binding.Target.from_triple(target.triple)
    options = {"cpu": target.cpu, "features": target.features, "opt": 2}
    return found.create_target_machine(**options, reloc="pic", codemodel="small")  # constants relative to the code
