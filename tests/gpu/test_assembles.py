"""CUDA's assembler takes the kernels of every schedule, for every kind of GPU, and has registers for all they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlc.codegen.nvptx import assemble_ptx, compile_ptx, find_ptxas
from mlc.ir.target import GPU_TARGETS, GpuTarget
from mlc.ir.types import TensorType
from mlc.passes.kernels import lower_kernel
from mlc.passes.schedule import schedule_region
from tests.gpu.test_in_place import BODIES
from tests.schedule.running import body_of_types


@pytest.mark.skipif(find_ptxas() is None, reason="there is no ptxas (pip install -e '.[ptxas]')")
@pytest.mark.parametrize("target", GPU_TARGETS.values(), ids=lambda t: t.name)
def test_schedules_assemble_without_spills(target: GpuTarget) -> None:
    kernels = []
    for kind, function, shapes, dtype in BODIES.values():
        body = body_of_types(function, *(TensorType(s, dtype) for s in shapes))
        for call in schedule_region(kind, body, target).calls:
            kernels.append(lower_kernel(replace(call.kernel, name=f"{call.kernel.name}_{len(kernels)}"), target))
    usage = assemble_ptx(compile_ptx(kernels, target), target).usage
    assert set(usage) == {k.name for k in kernels}
    assert not any(u.spills for u in usage.values()), usage
    assert max(u.registers for u in usage.values()) <= 128, usage
