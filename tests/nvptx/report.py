"""What kernels take of a GPU, as ptxas says: ``python -m tests.nvptx.report`` writes ``docs/ptxas-report.txt``.

Kernels written by hand, and those of whole programs: training steps of the models, products, rows, sorts.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import mlc
import mlc.numpy as mnp
from mlc.codegen.nvptx import Usage, assemble_ptx, compile_ptx, find_ptxas
from mlc.ir.graph import Graph
from mlc.ir.kernel import Kernel
from mlc.ir.target import GPU_TARGETS, GpuTarget
from mlc.passes.kernels import lower_kernel
from mlc.passes.plan import make_plan
from mlc.passes.runner import CPU_PIPELINE, run_passes
from tests.kernel.golden_kernels import golden

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "ptxas-report.txt"
MODELS = ("mnist_softmax", "mnist_mlp", "mnist_cnn")
Array = mlc.Array


def matmul(x: Array, y: Array) -> Array:
    return x @ y


def convolution(x: Array, w: Array) -> Array:
    return mlc.nn.relu(mlc.nn.conv(x, w))


def convolution_gradients(x: Array, w: Array) -> Any:
    return mlc.grad(lambda x, w: convolution(x, w).sum(), argnums=(0, 1))(x, w)


def layer_norm(x: Array) -> Array:
    return (x - x.mean(axis=-1, keepdims=True)) / mnp.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


PROGRAMS: dict[str, tuple[Any, tuple[tuple[int, ...], ...], str]] = {
    "product f32": (matmul, ((1000, 512), (512, 768)), "f32"),
    "product bf16": (matmul, ((1000, 512), (512, 768)), "bf16"),
    "product f16, batched": (matmul, ((8, 200, 64), (8, 64, 200)), "f16"),
    "product f64": (matmul, ((1000, 512), (512, 768)), "f64"),
    "product f64, small": (matmul, ((13, 12), (12, 9)), "f64"),
    "convolution f32": (convolution, ((8, 28, 28, 32), (5, 5, 32, 64)), "f32"),
    "convolution bf16": (convolution, ((8, 28, 28, 32), (5, 5, 32, 64)), "bf16"),
    "convolution gradients f32": (convolution_gradients, ((8, 28, 28, 32), (5, 5, 32, 64)), "f32"),
    "softmax f32": (lambda x: mlc.nn.softmax(x), ((512, 1000),), "f32"),
    "layer norm bf16": (layer_norm, ((512, 1024),), "bf16"),
    "sum of columns f32": (lambda x: x.sum(axis=0), ((4096, 512),), "f32"),
    "sort f32": (lambda x: mnp.sort(x), ((16, 5000),), "f32"),
    "sums up to each f32": (lambda x: mnp.cumulative_sum(x, axis=1), ((16, 5000),), "f32"),
    "transposed f32": (lambda x: mnp.exp(x.T) + 1, ((1000, 700),), "f32"),
}


def traced(name: str) -> Graph:
    function, shapes, dtype = PROGRAMS[name]
    return mlc.jit(function).lower(*(mlc.ShapeDtype(s, dtype) for s in shapes)).graph


def training_step(model: str) -> Graph:
    """The step of a model, after it has run once."""
    program = ROOT / "models" / f"{model}.py"
    with mock.patch.object(sys, "argv", [str(program), "1"]), contextlib.redirect_stdout(io.StringIO()):
        names = runpy.run_path(str(program))
    step, known = names["step"], {**names, "key": mlc.random.key(1)}
    own = [p.name for p in inspect.signature(step).parameters.values() if p.default is p.empty]
    return step.lower(*map(known.__getitem__, own)).graph


def kernels_of(graph: Graph, target: GpuTarget) -> list[Kernel]:
    optimized, _ = run_passes(graph, CPU_PIPELINE)
    return list(make_plan(optimized, target).kernels)


def usage(kernels: list[Kernel], target: GpuTarget) -> dict[str, Usage]:
    return assemble_ptx(compile_ptx([lower_kernel(k, target) for k in kernels], target), target).usage


def lines(title: str, found: dict[str, Usage]) -> Iterator[str]:
    yield f"\n{title}"
    for name, u in found.items():
        spilled = f"{u.spill_stores} + {u.spill_loads}" if u.spills else "-"
        yield f"  {name[:48]:48} {u.registers:4} registers {u.shared:7} shared {u.stack:5} stack {spilled:>9} spilled"


def main() -> None:
    program = find_ptxas()
    assert program is not None, "there is no ptxas"
    version = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout
    page = ["What kernels take, as ptxas says (python -m tests.nvptx.report).", version.splitlines()[-2].strip()]
    graphs = {name: traced(name) for name in PROGRAMS} | {f"{m}: step": training_step(m) for m in MODELS}
    for target in GPU_TARGETS.values():
        page.append(f"\n======== {target.name}")
        page += lines("gemm_sm80, by hand", usage([golden("gemm_sm80")], target))
        if target.name == "sm_90a":
            page += lines("gemm_sm90a, by hand", usage([golden("gemm_sm90a")], target))
        for name, graph in graphs.items():
            page += lines(name, usage(kernels_of(graph, target), target))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
