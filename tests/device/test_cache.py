"""Programs for a GPU from the cache on disk; what the stages of one say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.stages import STAGES
from tests.mock_cuda import MockDriver

X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)


def test_ptx_comes_from_the_cache(mock: MockDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_CACHE", str(tmp_path))
    found = []
    for _ in range(2):
        f = mlc.jit(lambda x: mnp.sum(mnp.exp(x), axis=1), device="gpu:0")
        compiled = f.lower(X).compile()
        found.append(compiled.origin.cached)
        np.testing.assert_allclose(np.asarray(compiled(X)), np.exp(X).sum(1), rtol=1e-5)
    assert found == [False, True]
    assert mock.images[0] == mock.images[1]
    here = mlc.jit(lambda x: mnp.sum(mnp.exp(x), axis=1)).lower(X).compile()
    assert not here.origin.cached  # the same graph for the CPU is another program


def test_every_stage_of_a_program_on_a_gpu_prints(mock: MockDriver) -> None:
    compiled = mlc.jit(lambda x: mnp.tanh(x @ x.T), device="gpu:0").lower(X).compile()
    texts = {stage: compiled.as_text(stage) for stage in STAGES}
    assert all(texts.values())
    assert ".target sm_80" in texts["ptx"] and 'device "gpu:0"' in texts["optimized"]
    memory = compiled.memory_analysis()
    assert memory.argument_size_in_bytes == 96 and memory.output_size_in_bytes == 64
    assert memory.generated_code_size_in_bytes == 0  # on the host
    assert compiled.cost_analysis()["flops"] > 0


def test_a_dump_has_the_ptx(mock: MockDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DUMP", str(tmp_path))
    mlc.jit(lambda x: x + 1, device="gpu:0")(X)
    assert [p for p in tmp_path.rglob("*sm_80.ptx") if ".entry" in p.read_text()]
