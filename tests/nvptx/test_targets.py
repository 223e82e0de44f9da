"""GPU targets: data that LLVM's NVPTX back end and CUDA's tables agree with."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest

from mlc.ir.target import GPU_TARGETS, STATIC_SHARED_BYTES, GpuTarget
from mlc.ir.types import BF16, F32, F64, I8

EMPTY = 'target triple = "nvptx64-nvidia-cuda"\ndefine ptx_kernel void @k() { ret void }'
EACH = pytest.mark.parametrize("target", GPU_TARGETS.values(), ids=lambda t: t.name)


@EACH
def test_llvm_writes_for_it(target: GpuTarget) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, features=target.features)
    text = machine.emit_assembly(llvm.parse_assembly(EMPTY))
    version = target.features.removeprefix("+ptx")
    assert f".target {target.name}\n" in text
    assert f".version {version[:-1]}.{version[-1]}\n" in text


@EACH
def test_numbers_fit_together(target: GpuTarget) -> None:
    assert target.shared_bytes > STATIC_SHARED_BYTES
    assert target.max_threads % target.warp == 0
    assert [target.lanes(t) for t in (F32, F64, BF16, I8)] == [4, 2, 8, 16]
