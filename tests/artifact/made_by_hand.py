"""Functions built by hand from kernels and Plans, so that artifacts are tested apart from the compiler before them.

predict(x: f32[batch,5]) -> probs: f32[batch,5] = x * w + b, with w and b as weights;
elements(x: f32[batch,3]) -> i64[] = 5 * batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlc.artifact.functions import Function, Variant
from mlc.artifact.signature import signature_of
from mlc.codegen import emit_llvm
from mlc.ir.dims import dim
from mlc.ir.kernel import Kernel, KernelBuilder, print_kernel
from mlc.ir.plan import BufferRef, Launch, Plan, PlanConstant, PlanInput, PlanOutput
from mlc.ir.target import TARGETS, Target
from mlc.ir.types import F32, I64, TensorType
from mlc.passes.kernels import lower_kernel

COLUMNS = 5
BATCH = dim("batch", 1, 64)
W = np.linspace(-1, 1, COLUMNS, dtype=np.float32)
B = np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)


def expected(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """One fused multiply-add an element: the product of two f32 is exact in f64, and one rounding is left."""
    return (x.astype(np.float64) * W + B).astype(np.float32)


def kernels() -> list[Kernel]:
    affine = KernelBuilder("affine", sizes=1)
    batch = affine.sizes[0]
    x = affine.buffer("x", F32, (batch, COLUMNS))
    w, b = affine.buffer("w", F32, (COLUMNS,)), affine.buffer("b", F32, (COLUMNS,))
    y = affine.buffer("y", F32, (batch, COLUMNS), access="write")
    with affine.parallel((batch, 1)) as (i,), affine.loop(0, COLUMNS) as loop:
        j = loop.index
        value = affine.op("fma", affine.load(x, (i, j)), affine.load(w, (j,)), affine.load(b, (j,)))
        affine.store(y, (i, j), value)
    count = KernelBuilder("count", sizes=1)
    n = count.buffer("n", I64, (1,), access="write")
    with count.parallel((1, 1)) as (k,):
        count.store(n, (k,), count.index_value(count.sizes[0] * COLUMNS))
    return [affine.build(), count.build()]


def predict_plan() -> Plan:
    matrix, row = TensorType((BATCH, COLUMNS), F32), TensorType((COLUMNS,), F32)
    operands = (BufferRef("input", 0), BufferRef("constant", 0), BufferRef("constant", 1), BufferRef("output", 0))
    step = Launch(0, operands, (BATCH,), ((BATCH, 1),), label="affine")
    constants = (PlanConstant("w", row), PlanConstant("b", row))
    return Plan(
        "predict", BATCH.symbols, (PlanInput("x", matrix),), (PlanOutput("probs", matrix),), constants, 0, 0,
        ("affine",), (step,),
    )  # fmt: skip


def elements_plan() -> Plan:
    step = Launch(0, (BufferRef("output", 0),), (BATCH,), ((1, 1),), serial=True, label="count")
    inputs, outputs = (PlanInput("x", TensorType((BATCH, 3), F32)),), (PlanOutput("result", TensorType((), I64)),)
    return Plan("elements", BATCH.symbols, inputs, outputs, (), 0, 0, ("count",), (step,))


def functions(targets: Sequence[str] = tuple(TARGETS)) -> list[Function]:
    """predict and elements, for the targets."""
    affine, count = kernels()
    weights = (("w", W), ("b", B))
    predict = signature_of("predict", predict_plan(), {"x": 0}, {"dict": {"probs": 0}})
    elements = signature_of("elements", elements_plan(), {"x": 0}, 0)
    found = [TARGETS[t] for t in targets]
    return [
        Function(predict, tuple(_variant(predict_plan(), affine, t) for t in found), weights),
        Function(elements, tuple(_variant(elements_plan(), count, t) for t in found), ()),
    ]


def _variant(plan: Plan, kernel: Kernel, target: Target) -> Variant:
    return Variant(target, plan, emit_llvm([lower_kernel(kernel, target)], target), print_kernel(kernel))
