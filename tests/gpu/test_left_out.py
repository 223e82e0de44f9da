"""Every barrier, wait and commit of products, convolutions and sorted scatters is needed: without it, it is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.ir.graph import CONVERT, Graph
from mlc.ir.graph.tolerance import assert_close
from mlc.ir.target import SM_80, named_gpu_target
from mlc.ir.types import BF16, F16, F32, F64, I8, I32
from mlc.passes.schedule.gpu import scatter_sorted
from tests.gpu.running import OnGpu
from tests.ptx.errors import PtxError
from tests.ptx.mutate import mutations
from tests.schedule.running import random_array
from tests.schedule.test_convolution import NHWC, TAPS, body_of

from .test_contraction import dot, layer
from .test_products import SAME, typed
from .test_scatter import scattered

BARRIER = {"bar.sync"}
ASYNC = {*BARRIER, "cp.async.commit_group", "cp.async.wait_group"}
TURNED: dict[str, Any] = {"window_reversal": (True, True), "lhs_dilation": (2, 2), **SAME}


def widened(x: g.Node, y: g.Node) -> g.Node:
    return dot(CONVERT(x, dtype=I32), CONVERT(y, dtype=I32), 1, 1)


def fused(x: g.Node, y: g.Node, function: Callable[..., g.Node]) -> g.Node:
    """``function`` as one region."""
    return g.FUSION(x, y, kind="contraction", body=typed(function, x.dtype, x.shape, y.shape))  # type: ignore[arg-type]


# In more than one tile of products where no other number is said; what each leaves out
CASES: dict[str, tuple[Callable[[], Graph], set[str]]] = {
    "f32": (lambda: typed(dot, F32, (32, 48), (48, 32)), BARRIER),
    "tails": (lambda: typed(lambda x, y: dot(x, y, 0, 1), F32, (37, 5), (6, 37)), BARRIER),
    "parts": (lambda: typed(lambda x, y: dot(x, y, 0, 0), F32, (300, 20), (300, 20)), BARRIER),
    "doubles": (lambda: typed(lambda x, y: dot(x, y, batch=1), F64, (1, 5, 20), (1, 20, 6)), BARRIER),
    "bf16": (lambda: typed(dot, BF16, (40, 136), (136, 24)), ASYNC),
    "bf16, two tiles": (lambda: typed(dot, BF16, (40, 64), (64, 24)), ASYNC),
    "bf16, one tile": (lambda: typed(dot, BF16, (40, 32), (32, 24)), ASYNC),
    "f16 layer, less than a tile": (lambda: typed(layer, F16, (35, 24), (24, 48), (48,)), ASYNC),
    "f16 through registers": (lambda: typed(lambda x, y: dot(x, y, 0, 1), F16, (71, 33), (35, 71)), BARRIER),
    "whole numbers": (lambda: typed(widened, I8, (8, 48), (8, 48)), BARRIER),
    "i8": (lambda: typed(lambda x, y: fused(x, y, widened), I8, (8, 144), (8, 144)), ASYNC),
    "i8, one tile": (lambda: typed(lambda x, y: fused(x, y, widened), I8, (8, 32), (8, 32)), ASYNC),
    "tf32": (lambda: typed(dot, F32, (8, 72), (72, 8)), ASYNC),
    "tf32, one tile": (lambda: typed(dot, F32, (8, 16), (16, 8)), ASYNC),
    "windows": (lambda: body_of((1, 3, 3, 4), (3, 3, 4, 4), NHWC, **SAME), BARRIER),
    "windows of bf16": (lambda: body_of((1, 3, 3, 8), (3, 3, 8, 8), NHWC, BF16, **SAME), ASYNC),
    "gradient of an image": (lambda: body_of((1, 3, 3, 4), (3, 3, 5, 4), "b01f_01oi->b01f", **TURNED), BARRIER),
    "gradient of a kernel": (lambda: body_of((2, 4, 4, 3), (2, 4, 4, 5), TAPS, **SAME), BARRIER),
    "gradient of a kernel in parts": (lambda: body_of((6, 10, 10, 1), (6, 10, 10, 4), TAPS, **SAME), BARRIER),
    "gradient of a kernel of bf16": (lambda: body_of((1, 5, 6, 8), (1, 5, 6, 8), TAPS, BF16, **SAME), ASYNC),
    "scatter": (lambda: scattered((5, 2), 40, F32, I32, g.ADD), BARRIER),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_left_out_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Barriers, waits and commits, each by itself."""
    monkeypatch.setattr(scatter_sorted, "FEWEST", 40)
    make, expected = CASES[name]
    graph = make()
    arrays = [numbers(p, k) for k, p in enumerate(graph.parameters)]
    target = named_gpu_target("sm_80-tf32") if name.startswith("tf32") else SM_80
    assert target is not None
    whole = OnGpu.of(graph, target)
    assert_close(graph, arrays, whole(arrays), name)
    tried = set()
    for line, left_out, text in mutations(whole.ptx):
        with pytest.raises((PtxError, AssertionError)), np.errstate(all="ignore"):
            assert_close(graph, arrays, replace(whole, ptx=text)(arrays), f"without {left_out} at line {line}")
        tried.add(left_out.split()[0].rstrip(";"))
    assert tried == expected


def numbers(parameter: g.Node, seed: int) -> Any:
    """Indices are of five rows, and of one on each side; f32 is what tf32 holds, too: multiples of an eighth."""
    found = random_array(parameter.shape, parameter.dtype, seed)  # type: ignore[arg-type]
    if parameter.dtype is I32:
        return np.random.default_rng(seed).integers(-1, 6, found.shape).astype(np.int32)
    return np.rint(found * 8) / 8 if parameter.dtype is F32 else found
