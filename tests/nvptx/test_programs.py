"""Random programs through NVPTX: none ends the process, and what they compute is what the CPU's reference says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlc.codegen.nvptx import ptx_of
from mlc.errors import InternalError, UnsupportedError
from mlc.ir.graph.tolerance import expected
from mlc.ir.target import SM_80, SM_90A
from tests.fuzz.programs import program
from tests.gpu.running import OnGpu

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = int(os.environ.get("MLC_FUZZ_PTX", "500"))
RUN = int(os.environ.get("MLC_FUZZ_PTX_RUN", "40"))
BLOCK = 100
COMPILED = max(0, PROGRAMS - RUN)  # those that run are compiled too
TARGETS = ("sm_80", "sm_80", "sm_80", "sm_90a", "sm_100a")  # of blocks of programs, in turn


@pytest.mark.parametrize("block", range(-(-COMPILED // BLOCK)))
def test_no_program_ends_the_process(block: int) -> None:
    """In a process of its own; one that is refused names what no schedule takes."""
    seeds = range(block * BLOCK, min(COMPILED, (block + 1) * BLOCK))
    target = TARGETS[block % len(TARGETS)]
    command = [sys.executable, "-m", "tests.nvptx.programs", str(seeds.start), str(seeds.stop), target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1:]}: {done.stderr[-2000:]}"
    assert [int(line.split()[0]) for line in lines] == list(seeds)
    refused = [line for line in lines if re.fullmatch(r"\d+ \d+ bytes", line) is None]
    assert not refused


@pytest.mark.parametrize("first", range(0, RUN, 10))
def test_programs_mean_the_same_on_a_gpu(first: int) -> None:
    for seed in range(1000 + first, 1000 + first + 10):
        graph, arrays = program(seed, without=("fusion",))
        wanted, got = expected(graph, arrays), OnGpu.of(graph, SM_80)(arrays)
        for i, (have, want) in enumerate(zip(got, wanted, strict=True)):
            want.check(np.asarray(have), f"program {seed}: result {i} of\n{graph}\n{arrays}")


CALL = """target triple = "nvptx64-nvidia-cuda"
declare float @{0}(float)
define ptx_kernel void @k(ptr addrspace(1) %p) {{
  %x = load float, ptr addrspace(1) %p
  %y = call float @{0}(float %x)
  store float %y, ptr addrspace(1) %p
  ret void
}}"""


@pytest.mark.parametrize("name", ("llvm.exp.f32", "llvm.log.f32", "llvm.tanh.f32", "llvm.nvvm.ex3.approx.f"))
def test_an_intrinsic_that_nobody_selects_is_an_error(name: str) -> None:
    """LLVM would end the process over the first three, and take the last for a function of somebody else's."""
    with pytest.raises(InternalError, match=f"is not known to select {re.escape(name)}"):
        ptx_of(CALL.format(name), SM_80)


def test_an_intrinsic_of_another_target_names_it() -> None:
    text = "declare void @llvm.nvvm.wgmma.fence.sync.aligned()\n"
    with pytest.raises(UnsupportedError, match=r"sm_80 has no llvm.nvvm.wgmma.fence.sync.aligned"):
        ptx_of(text, SM_80)
    assert ".target sm_90a" in ptx_of('target triple = "nvptx64-nvidia-cuda"\n' + text, SM_90A)
