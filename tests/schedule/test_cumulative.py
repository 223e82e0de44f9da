"""Kernels of folds up to each element: along rows and columns, every op, whole vectors and tails."""

from __future__ import annotations

import pytest

from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Op
from mlc.ir.types import F32, F64, I8, I32, DType, TensorType

from .running import body_of_types, check_in_place, check_region, random_array


@pytest.mark.parametrize(
    "shape, axis", [((35,), 0), ((3, 16), 1), ((2, 21), 1), ((12, 5), 0), ((2, 11, 33), 1), ((0, 12), 1)]
)
@pytest.mark.parametrize("dtype", [F32, F64, I8], ids=str)
def test_sums(shape: tuple[int, ...], axis: int, dtype: DType) -> None:
    body = body_of_types(lambda x: g.cumulative(g.ADD, x, axis), TensorType(shape, dtype))
    check_region("cumulative", body, (random_array(shape, dtype),), 1e-5)


@pytest.mark.parametrize("op", [g.MULTIPLY, g.MAXIMUM, g.MINIMUM, g.AND, g.OR, g.XOR], ids=lambda op: op.name)
def test_ops(op: Op) -> None:
    dtype = I32 if op in (g.AND, g.OR, g.XOR) else F32
    for shape, axis in (((3, 19), 1), ((19, 3), 0)):
        body = body_of_types(lambda x, a=axis: g.cumulative(op, x, a), TensorType(shape, dtype))
        check_region("cumulative", body, (random_array(shape, dtype),), 1e-5)


def test_symbolic_sizes_in_place() -> None:
    n = dim("n", 1, 50)
    for shape, axis in (((2, n), 1), ((n, 3), 0), ((12, n), 0)):
        type = TensorType(shape, F32)
        x = random_array([33 if k is n else k for k in shape], F32)  # type: ignore[misc]
        check_region(
            "cumulative", body_of_types(lambda x, a=axis: g.cumulative(g.ADD, g.NEGATE(x), a), type), (x,), 1e-5
        )
        check_in_place(
            "cumulative", body_of_types(lambda x, a=axis: g.cumulative(g.ADD, x, a), type), (x,), {0: 0}, 1e-5
        )
