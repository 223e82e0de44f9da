"""CUDA's assembler takes what is emitted, for all targets; contractions do not spill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlc.codegen.nvptx import assemble_ptx, compile_ptx, find_ptxas
from mlc.errors import InternalError, UnsupportedError
from mlc.ir.target import GPU_TARGETS, SM_80, SM_90A, SM_100A, GpuTarget
from mlc.ir.types import BF16, F32, F64, I8, I64
from mlc.passes.kernels import lower_kernel
from tests.codegen.test_operations import operations
from tests.kernel.golden_kernels import golden
from tests.rows.cases import CASES

from .assembling import assembled
from .test_kernels import block_sum, copy, one_store, turned
from .test_operations import elementwise

PTXAS = find_ptxas()
needs_ptxas = pytest.mark.skipif(PTXAS is None, reason="there is no ptxas (pip install -e '.[ptxas]')")
EACH = pytest.mark.parametrize("target", GPU_TARGETS.values(), ids=lambda t: t.name)


@needs_ptxas
@EACH
def test_every_operation_assembles(target: GpuTarget) -> None:
    kernels = [elementwise(name, dtype, 2) for dtype in (F32, I8) for name in operations(dtype)]
    kernels += [elementwise(name, dtype, 1) for dtype in (F64, I64) for name in operations(dtype)]
    text = compile_ptx([lower_kernel(k, target) for k in kernels], target)
    usage = assemble_ptx(text, target).usage
    assert set(usage) == {k.name for k in kernels}
    assert not any(u.spills for u in usage.values())


@needs_ptxas
@EACH
def test_blocks_assemble(target: GpuTarget) -> None:
    kernels = [block_sum(128), copy(F32, 4, 0), turned(BF16, 8, 64, 32), golden("gemm_sm80")]
    cubin = assemble_ptx(compile_ptx([lower_kernel(k, target) for k in kernels], target), target)
    assert cubin.code.startswith(b"\x7fELF")
    product = cubin.usage["gemm_sm80"]
    assert not product.spills and product.stack == 0
    assert product.shared >= golden("gemm_sm80").shared_bytes
    assert 32 <= product.registers <= 168


@needs_ptxas
def test_text_that_it_refuses() -> None:
    with pytest.raises(InternalError, match="ptxas refuses the text for sm_80"):
        assemble_ptx("no ptx", SM_80, PTXAS)


@pytest.mark.parametrize(
    "words", ["Value 'sm_100a' is not defined for option 'gpu-name'", "x.ptx, line 5; fatal : Unsupported .version 8.6"]
)
def test_an_assembler_that_is_too_old(words: str, tmp_path: Path) -> None:
    old = tmp_path / "ptxas"
    old.write_text(f'#!/bin/sh\necho "{words}" >&2\nexit 1\n')
    old.chmod(0o755)
    with pytest.raises(UnsupportedError, match="does not know sm_100a"):
        assemble_ptx("", SM_100A, old)


def test_no_assembler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is looked for where it may be, in order."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("mlc.codegen.nvptx.ptxas._wheels", list)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    monkeypatch.setattr("mlc.codegen.nvptx.ptxas.os.access", lambda path, _: str(path).startswith(str(tmp_path)))
    assert find_ptxas([tmp_path / "cuda"]) == tmp_path / "cuda" / "bin" / "ptxas"
    assert find_ptxas() is None
    with pytest.raises(UnsupportedError, match="there is no ptxas on this machine"):
        assemble_ptx(compile_ptx([lower_kernel(one_store(), SM_80)], SM_80), SM_80)


def test_the_product_of_sm90a() -> None:
    """Tensor maps, barriers in shared memory, roles of warps and wgmma: its text, and that no other target has them."""
    kernel = golden("gemm_sm90a")
    text = compile_ptx([lower_kernel(kernel, SM_90A)], SM_90A)
    assert text.count("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16") == 8
    assert text.count("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier") == 2
    assert text.count("setmaxnreg.inc.sync.aligned.u32 \t232") == 2
    if PTXAS is not None:
        usage = assemble_ptx(text, SM_90A).usage["gemm_sm90a"]
        assert not usage.spills and usage.stack == 0
    with pytest.raises(UnsupportedError, match="gemm_sm90a: barrier_init is of sm_90a and sm_100a, not of sm_80"):
        compile_ptx([lower_kernel(kernel, SM_80)], replace(SM_80, shared_bytes=SM_90A.shared_bytes))
    with pytest.raises(UnsupportedError, match="gemm_sm90a: mma_fence is of sm_90a, not of sm_100a"):
        compile_ptx([lower_kernel(kernel, SM_100A)], SM_100A)


@needs_ptxas
@EACH
def test_rows_assemble(target: GpuTarget) -> None:
    """Each row of f32 for one of the targets; ``tests.nvptx.assembling`` does them all, of every type."""
    turn = list(GPU_TARGETS.values()).index(target)
    for name in sorted(CASES)[turn :: len(GPU_TARGETS)]:
        for kernel, usage in assembled(name, F32, target).items():
            assert not usage.spills, f"{name}: {kernel} {usage}"
