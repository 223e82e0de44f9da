"""Bodies of contraction fusions, and arrays for their parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.ir.dims import Size
from mlc.ir.graph import (
    ABS,
    ADD,
    COMPARE,
    DIVIDE,
    MAXIMUM,
    MULTIPLY,
    SELECT,
    SQRT,
    SUBTRACT,
    TRANSPOSE,
    Graph,
    Node,
    Table,
    broadcast_in_dim,
    constant,
    dot_general,
)
from mlc.ir.graph.evaluate import bind_sizes
from mlc.ir.types import F32, DType, TensorType

Array = npt.NDArray[Any]
Prologue = Callable[["Parameters", Node, Node], tuple[Node, Node]]
Epilogue = Callable[["Parameters", Node], Sequence[Node]]


class Parameters:
    """The parameters of a body that is being built."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.nodes: list[Node] = []

    def __call__(self, shape: Sequence[Size], dtype: DType, name: str) -> Node:
        self.nodes.append(self.table.parameter(TensorType(tuple(shape), dtype), name))
        return self.nodes[-1]


def contraction(
    extents: dict[str, Size],
    lhs: str = "mk",
    rhs: str = "kn",
    dtype: DType = F32,
    prologue: Prologue | None = None,
    epilogue: Epilogue | None = None,
) -> Graph:
    """The dot of two parameters whose axes are named by letters (a, b batch, m, n free, k contracted)."""
    table = Table()
    with table.active():
        new = Parameters(table)
        x, y = (new([extents[a] for a in axes], dtype, name) for axes, name in ((lhs, "x"), (rhs, "y")))
        if prologue is not None:
            x, y = prologue(new, x, y)
        batch = [[axes.index(letter) for letter in "ab" if letter in axes] for axes in (lhs, rhs)]
        dot = dot_general(x, y, [lhs.index("k")], [rhs.index("k")], *batch)
        results = [dot] if epilogue is None else epilogue(new, dot)
    return Graph("contraction", new.nodes, results, table)


def arrays_for(body: Graph, sizes: dict[str, int] | None = None, seed: int = 0) -> list[Array]:
    """Floats in -0.5 .. 1, so that sums do not cancel; integers over the whole range of their type."""
    rng = np.random.default_rng(seed)
    found: list[Array] = []
    for p in body.parameters:
        shape = [n if isinstance(n, int) else n.evaluate(sizes or {}) for n in p.shape]
        if p.dtype.is_float:
            found.append(rng.uniform(-0.5, 1.0, shape).astype(p.dtype.numpy))
        else:
            info = np.iinfo(p.dtype.numpy)
            found.append(rng.integers(info.min, info.max, shape, p.dtype.numpy, endpoint=True))
    bind_sizes(body, found, sizes or {})
    return found


def filled(value: float, like: Node) -> Node:
    return broadcast_in_dim(constant(value, like.dtype), like.shape, ())


def bias_relu(new: Parameters, dot: Node) -> list[Node]:
    """max(dot + bias, 0), the bias along the last axis."""
    bias = new(dot.shape[-1:], dot.dtype, "bias")
    total = ADD(dot, broadcast_in_dim(bias, dot.shape, (len(dot.shape) - 1,)))
    return [MAXIMUM(total, filled(0.0, dot))]


def residual(new: Parameters, dot: Node) -> list[Node]:
    """dot + residual, and the dot itself."""
    return [ADD(dot, new(dot.shape, dot.dtype, "residual")), dot]


def turned(new: Parameters, dot: Node) -> list[Node]:
    """A result whose rows are stored in another order than that of the batches."""
    bias = new(dot.shape[-1:], dot.dtype, "bias")
    total = ADD(dot, broadcast_in_dim(bias, dot.shape, (len(dot.shape) - 1,)))
    return [TRANSPOSE(total, permutation=(0, 2, 1, 3))]


def adam(new: Parameters, gradient: Node) -> list[Node]:
    """New w, m and v from the old ones and a gradient."""
    w, m, v = (new(gradient.shape, gradient.dtype, name) for name in ("w", "m", "v"))
    decayed = MULTIPLY(m, filled(0.9, m))
    m2 = ADD(decayed, MULTIPLY(gradient, filled(0.1, m)))
    v2 = ADD(MULTIPLY(v, filled(0.99, v)), MULTIPLY(MULTIPLY(gradient, gradient), filled(0.01, v)))
    step = DIVIDE(m2, ADD(SQRT(ABS(v2)), filled(1e-3, v)))
    return [SUBTRACT(w, MULTIPLY(filled(0.01, w), step)), m2, v2]


def masked_rows(new: Parameters, x: Node, y: Node) -> tuple[Node, Node]:
    """x where an activation is positive."""
    activation = new(x.shape, x.dtype, "activation")
    return SELECT(COMPARE(activation, filled(0.0, x), direction="GT"), x, filled(0.0, x)), y


def transposed(new: Parameters, x: Node, y: Node) -> tuple[Node, Node]:
    """Operands that lie the other way round from what the body says."""
    left, right = (new(n.shape[::-1], n.dtype, "turned") for n in (x, y))
    return ADD(x, TRANSPOSE(left, permutation=(1, 0))), MULTIPLY(TRANSPOSE(right, permutation=(1, 0)), filled(2.0, y))


def masked_columns(new: Parameters, x: Node, y: Node) -> tuple[Node, Node]:
    """y where an activation is positive, and 3 elsewhere."""
    activation = new(y.shape, y.dtype, "activation")
    return x, SELECT(COMPARE(activation, filled(0.0, y), direction="GT"), y, filled(3.0, y))
