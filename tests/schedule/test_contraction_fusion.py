"""What is fused into a contraction: operands that are expressions, epilogues with several results, shared memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mlc.errors import InternalError
from mlc.ir.dims import dim
from mlc.ir.graph import ADD, CONVERT, TANH, Graph, Node, Table, dot_general, evaluate_graph
from mlc.ir.kernel import interpret_kernel
from mlc.ir.target import X86_64_V3, X86_64_V4
from mlc.ir.types import F16, F32, F64, DType, TensorType
from mlc.passes.schedule import schedule_region

from .contraction_bodies import (
    Epilogue,
    Parameters,
    Prologue,
    adam,
    arrays_for,
    bias_relu,
    contraction,
    masked_columns,
    masked_rows,
    residual,
    transposed,
)
from .running import check_in_place, check_region

LAYOUTS = [("mk", "kn"), ("km", "kn"), ("mk", "nk"), ("km", "nk")]
GOLDENS = Path(__file__).parent / "goldens"


@pytest.mark.parametrize("epilogue", [bias_relu, residual, adam, lambda new, dot: [TANH(dot)]])
@pytest.mark.parametrize("m", [1, 16, 52])
def test_epilogues(epilogue: Epilogue, m: int) -> None:
    for rhs in ("kn", "nk"):
        body = contraction({"m": m, "k": 3, "n": 17}, "mk", rhs, epilogue=epilogue)
        check_region("contraction", body, arrays_for(body), 2e-5)


@pytest.mark.parametrize("value", [1, 13, 45])
def test_epilogue_with_symbolic_rows(value: int) -> None:
    body = contraction({"m": dim("m", 1, 64), "k": 7, "n": 35}, epilogue=bias_relu)
    check_region("contraction", body, arrays_for(body, {"m": value}), 3e-6)


@pytest.mark.parametrize("extents", [(21, 9, 1), (1, 9, 21), (0, 9, 5), (5, 0, 6)], ids=str)
def test_epilogue_of_thin_and_empty(extents: tuple[int, int, int]) -> None:
    body = contraction(dict(zip("mkn", extents, strict=True)), epilogue=bias_relu)
    check_region("contraction", body, arrays_for(body), 3e-6)


def test_deep_epilogue() -> None:
    """K in chunks: the epilogue reads the sums from scratch."""
    body = contraction({"m": 61, "k": 2500, "n": 150}, epilogue=adam)
    check_region("contraction", body, arrays_for(body), 2e-4, interpreted=False)


@pytest.mark.parametrize("epilogue", [bias_relu, residual, adam])
@pytest.mark.parametrize("dtype", [F32, F64, F16], ids=str)
def test_epilogue_of_a_sum_in_parts(epilogue: Epilogue, dtype: DType) -> None:
    """K is deep and the results few: the epilogue follows the sum over the parts, in place where it may."""
    body = contraction({"m": 17, "k": 20_000, "n": 22}, "km", "kn", dtype, epilogue=epilogue)
    check_region("contraction", body, arrays_for(body), 2e-3, interpreted=False)
    if epilogue is adam and dtype is F64:
        check_in_place("contraction", body, arrays_for(body), {0: 2, 1: 3, 2: 4}, 1e-9)


@pytest.mark.parametrize("prologue", [masked_rows, masked_columns, transposed])
@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
@pytest.mark.parametrize("m", [4, 53])
def test_prologues(prologue: Prologue, lhs: str, rhs: str, m: int) -> None:
    body = contraction({"m": m, "k": 11, "n": 21}, lhs, rhs, prologue=prologue)
    check_region("contraction", body, arrays_for(body), 3e-6)


@pytest.mark.parametrize("lhs, rhs", LAYOUTS)
def test_converted_operands(lhs: str, rhs: str) -> None:
    def widened(new: Parameters, x: Node, y: Node) -> tuple[Node, Node]:
        return CONVERT(x, dtype=F32), CONVERT(y, dtype=F32)

    body = contraction({"m": 15, "k": 11, "n": 21}, lhs, rhs, F16, prologue=widened)
    check_region("contraction", body, arrays_for(body), 3e-6)


def test_one_operand_twice() -> None:
    """x @ x.T, and x again in the epilogue."""
    table = Table()
    with table.active():
        x = table.parameter(TensorType((18, 18), F32), "x")
        body = Graph("gram", (x,), (ADD(dot_general(x, x, [1], [1]), x),), table)
    check_region("contraction", body, arrays_for(body), 3e-6)
    assert schedule_region("contraction", body, X86_64_V4).in_place == frozenset()


def test_optimizer_state_is_updated_in_place() -> None:
    """Each of w, m and v may share memory with any result; the operands of the dot may not."""
    body = contraction({"m": 20, "k": 6, "n": 19}, "km", "kn", F64, epilogue=adam)
    values = arrays_for(body)
    expected = evaluate_graph(body, values)
    for target in (X86_64_V3, X86_64_V4):
        region = schedule_region("contraction", body, target)
        assert region.in_place == {(p, r) for p in (2, 3, 4) for r in range(3)}
        (call,) = region.calls
        inputs = [v.copy() for v in values]
        memory = {"parameter": inputs, "result": inputs[2:]}  # results lie where w, m and v do
        interpret_kernel(call.kernel, [memory[o.kind][o.index].reshape(-1) for o in call.operands])
        for found, want in zip(inputs[2:], expected, strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-12)


def test_schedule_depends_on_shape_and_target_alone() -> None:
    """And each element belongs to one task, so that a plan gives the same bits on any number of threads."""
    body = contraction({"m": 40, "k": 30, "n": 70})
    for target in (X86_64_V3, X86_64_V4):
        assert schedule_region("contraction", body, target) == schedule_region("contraction", body, target)


def test_equal_regions_have_equal_kernels() -> None:
    """Whatever the names of parameters and symbols."""
    left = contraction({"m": dim("rows", 1, 64), "k": 7, "n": 35}, epilogue=bias_relu)
    right = contraction({"m": dim("batch", 1, 64), "k": 7, "n": 35}, epilogue=bias_relu)
    kernels = [schedule_region("contraction", body, X86_64_V4).calls[0].kernel for body in (left, right)]
    assert kernels[0].canonical_text() == kernels[1].canonical_text()
    assert kernels[0].name == "dot_add_max"


def test_expression_of_rows_is_computed_once() -> None:
    body = contraction({"m": 20, "k": 8, "n": 70}, prologue=masked_rows)
    region = schedule_region("contraction", body, X86_64_V4)
    assert region.temporaries == (20 * 8 * 4,)
    assert [o.kind for o in region.calls[0].operands][-1] == "temporary"


def test_body_in_another_form_is_refused() -> None:
    table = Table()
    with table.active():
        x = table.parameter(TensorType((4,), F32))
        body = Graph("sum", (x,), (ADD(x, x),), table)
    with pytest.raises(InternalError, match="contraction sum: 0 dot_generals, not one"):
        schedule_region("contraction", body, X86_64_V4)


@pytest.mark.parametrize("name", ["outer_product", "inner_product", "transposed_panel"])
def test_goldens(name: str) -> None:
    """The kernels of three typical contractions, as text; MLC_BLESS=1 writes them anew."""
    body = {
        "outer_product": lambda: contraction({"m": 3, "k": 8, "n": 20}, epilogue=bias_relu),
        "inner_product": lambda: contraction({"m": 2, "k": 40, "n": 6}, "mk", "nk"),
        "transposed_panel": lambda: contraction({"m": 60, "k": 9, "n": 4}, "mk", "nk", F64),
    }[name]()
    region = schedule_region("contraction", body, X86_64_V3)
    text = "\n".join(str(call.kernel) for call in region.calls)
    golden = GOLDENS / f"contraction_{name}.txt"
    if os.environ.get("MLC_BLESS"):
        golden.write_text(text)
    assert text == golden.read_text()
