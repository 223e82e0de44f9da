"""CUDA's assembler takes every kernel of the MNIST training steps at the sizes of the models, and none spills."""

from __future__ import annotations

from typing import Any

import pytest

import mlc
from mlc.codegen.nvptx import find_ptxas
from mlc.ir.graph import Graph
from mlc.ir.target import named_gpu_target
from tests.device.training import make_step

from .report import kernels_of, usage

SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "softmax": ((64, 10),),
    "mlp": ((64, 512), (512, 10)),
    "cnn": ((5, 5, 1, 32), (5, 5, 32, 64), (256, 1024), (1024, 10)),
}


def step(model: str, dtype: str) -> Graph:
    """A step of Adam on 64 images of 8x8, as large as in ``models/mnist_MODEL.py``."""
    params = [{"weight": mlc.ShapeDtype(s, dtype), "bias": mlc.ShapeDtype(s[-1:], dtype)} for s in SHAPES[model]]
    optimizer = mlc.optim.adam(1e-3)
    state: Any = mlc.eval_shape(optimizer.init, params)
    images, labels = mlc.ShapeDtype((64, 64), dtype), mlc.ShapeDtype((64,), "int64")
    return make_step(model, optimizer, "cpu:0").lower(params, state, images, labels).graph


@pytest.mark.skipif(find_ptxas() is None, reason="there is no ptxas (pip install -e '.[ptxas]')")
@pytest.mark.parametrize(
    "model, dtype, name",
    [("cnn", "f32", "sm_80"), ("cnn", "f32", "sm_90a-tf32"), ("cnn", "bf16", "sm_100a"), ("mlp", "f16", "sm_80"),
     ("mlp", "f32", "sm_100a"), ("softmax", "f32", "sm_90a")],
)  # fmt: skip
def test_steps_assemble_without_spills(model: str, dtype: str, name: str) -> None:
    target = named_gpu_target(name)
    assert target is not None
    kernels = kernels_of(step(model, dtype), target)
    found = usage(kernels, target)
    assert set(found) == {k.name for k in kernels}
    assert not any(u.spills for u in found.values()), found
