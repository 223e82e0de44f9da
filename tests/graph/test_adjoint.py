"""The transpose of every linear row is its adjoint: <ct, A t> == <A^T ct, t> for each operand that it is linear in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc.ir import graph as g
from mlc.ir.graph import Graph, Op, Table, evaluate_graph
from mlc.ir.types import BOOL, F32, F64, I32, TensorType

DOT = {"lhs_contracting": (1,), "rhs_contracting": (0,), "lhs_batch": (), "rhs_batch": ()}
MANY = {"lhs_contracting": (3, 0), "rhs_contracting": (1, 2), "lhs_batch": (2,), "rhs_batch": (3,)}
WINDOW = {"window_strides": (2, 1), "padding": ((1, 2), (0, -1)), "lhs_dilation": (1, 2), "rhs_dilation": (2, 1),
          "window_reversal": (False, True)}  # fmt: skip
GROUPS = {**WINDOW, "dimension_numbers": "b01f_01io->b01f", "feature_group_count": 2, "batch_group_count": 1}
BATCHES = {**WINDOW, "dimension_numbers": "bf01_oi10->f01b", "feature_group_count": 1, "batch_group_count": 2}
ROWS = {"index_vector_dim": 1, "indices_are_sorted": False}
TAKEN = {**ROWS, "offset_dims": (1,), "collapsed_slice_dims": (0,), "operand_batching_dims": (),
         "start_indices_batching_dims": (), "start_index_map": (0,), "slice_sizes": (1, 3)}  # fmt: skip
PUT = {**ROWS, "update_window_dims": (1,), "inserted_window_dims": (0,), "input_batching_dims": (),
       "scatter_indices_batching_dims": (), "scatter_dims_to_operand_dims": (0,), "unique_indices": False}  # fmt: skip
INDICES = {g.GATHER: (1,), g.SCATTER: (1,), g.DYNAMIC_SLICE: (1, 2), g.DYNAMIC_UPDATE_SLICE: (2, 3)}
POOL = {"window_dimensions": (3, 2), "window_strides": (2, 1), "padding": ((1, 1), (0, -1))}
SELECT = {**POOL, "select": g.select_of("GE", F64)}
CASES: list[tuple[Op, list[tuple[int, ...]], dict[str, Any], tuple[int, ...]]] = [
    (g.ADD, [(3,), (3,)], {}, (0, 1)),
    (g.SUBTRACT, [(3,), (3,)], {}, (0, 1)),
    (g.MULTIPLY, [(3, 2), (3, 2)], {}, (0,)),
    (g.MULTIPLY, [(3, 2), (3, 2)], {}, (1,)),
    (g.DIVIDE, [(), ()], {}, (0,)),
    (g.NEGATE, [(5,)], {}, (0,)),
    (g.SELECT, [(4,), (4,), (4,)], {}, (1, 2)),
    (g.CONVERT, [(4,)], {"dtype": F64}, (0,)),
    (g.BROADCAST_IN_DIM, [(1, 3)], {"shape": (4, 2, 3), "dimensions": (0, 2)}, (0,)),
    (g.BROADCAST_IN_DIM, [(1,)], {"shape": (1, 0), "dimensions": (0,)}, (0,)),
    (g.BROADCAST_IN_DIM, [()], {"shape": (2, 3), "dimensions": ()}, (0,)),
    (g.RESHAPE, [(2, 3)], {"shape": (3, 2)}, (0,)),
    (g.TRANSPOSE, [(2, 3, 4)], {"permutation": (2, 0, 1)}, (0,)),
    (g.SLICE, [(7, 3)], {"start": (1, 0), "limit": (6, 3), "strides": (3, 1)}, (0,)),
    (g.SLICE, [(8,)], {"start": (1,), "limit": (7,), "strides": (2,)}, (0,)),
    (g.SLICE, [(8,)], {"start": (3,), "limit": (3,), "strides": (2,)}, (0,)),
    (g.SLICE, [(8,)], {"start": (0,), "limit": (8,), "strides": (5,)}, (0,)),
    (g.PAD, [(3,), ()], {"low": (1,), "high": (2,), "interior": (2,)}, (0,)),
    (g.PAD, [(3,), ()], {"low": (1,), "high": (2,), "interior": (2,)}, (0, 1)),
    (g.PAD, [(4,), ()], {"low": (-1,), "high": (2,), "interior": (1,)}, (0,)),
    (g.PAD, [(4, 3), ()], {"low": (1, -1), "high": (-2, -1), "interior": (0, 2)}, (0, 1)),
    (g.PAD, [(0, 2), ()], {"low": (1, 0), "high": (0, 0), "interior": (1, 0)}, (0, 1)),
    (g.CONCATENATE, [(2, 3), (2, 1), (2, 2)], {"dimension": 1}, (0, 1, 2)),
    (g.CONCATENATE, [(2,), (0,)], {"dimension": 0}, (1,)),
    (g.REVERSE, [(2, 3)], {"dimensions": (1,)}, (0,)),
    (g.OPTIMIZATION_BARRIER, [(3,)], {}, (0,)),
    (g.COPY, [(3,)], {}, (0,)),
    (g.DOT_GENERAL, [(2, 3), (3, 4)], DOT, (0,)),
    (g.DOT_GENERAL, [(2, 3), (3, 4)], DOT, (1,)),
    (g.DOT_GENERAL, [(2, 5, 3, 4), (7, 4, 2, 3)], MANY, (0,)),
    (g.DOT_GENERAL, [(2, 5, 3, 4), (7, 4, 2, 3)], MANY, (1,)),
    (g.CONVOLUTION, [(2, 5, 4, 4), (2, 3, 2, 6)], GROUPS, (0,)),
    (g.CONVOLUTION, [(2, 5, 4, 4), (2, 3, 2, 6)], GROUPS, (1,)),
    (g.CONVOLUTION, [(4, 3, 5, 4), (6, 3, 2, 3)], BATCHES, (0,)),
    (g.CONVOLUTION, [(4, 3, 5, 4), (6, 3, 2, 3)], BATCHES, (1,)),
    (
        g.REDUCE_WINDOW,
        [(5, 6), ()],
        {**POOL, "base_dilations": (1, 2), "window_dilations": (2, 3), "body": g.body_of(g.ADD, F64)},
        (0,),
    ),
    (g.SELECT_AND_GATHER, [(5, 6), (5, 6)], SELECT, (0,)),
    (g.SELECT_AND_SCATTER, [(5, 6), (3, 4), ()], {**SELECT, "scatter": g.body_of(g.ADD, F64)}, (1,)),
    (g.REDUCE, [(2, 3, 4), ()], {"dimensions": (0, 2), "body": g.body_of(g.ADD, F64)}, (0,)),
    (g.GATHER, [(3, 3), (6, 1)], TAKEN, (0,)),
    (g.SCATTER, [(3, 3), (6, 1), (6, 3)], {**PUT, "body": g.body_of(g.ADD, F64)}, (0, 2)),
    (g.SCATTER, [(3, 3), (6, 1), (6, 3)], {**PUT, "body": g.overwrite_of(F64)}, (0, 2)),
    (g.DYNAMIC_SLICE, [(5, 4), (), ()], {"slice_sizes": (2, 3)}, (0,)),
    (g.DYNAMIC_UPDATE_SLICE, [(5, 4), (2, 3), (), ()], {}, (0,)),
    (g.DYNAMIC_UPDATE_SLICE, [(5, 4), (2, 3), (), ()], {}, (1,)),
]


@pytest.mark.parametrize("op, shapes, attributes, linear", CASES, ids=[f"{c[0].name} {c[1]} {c[3]}" for c in CASES])
def test_transpose_is_adjoint(op: Op, shapes: Any, attributes: Any, linear: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    dtypes = [
        I32 if i in INDICES.get(op, ()) else BOOL if op is g.SELECT and i == 0 else F32 if op is g.CONVERT else F64
        for i in range(len(shapes))
    ]
    values = [np.asarray(rng.integers(1, 5, s)).astype(t.numpy) for s, t in zip(shapes, dtypes, strict=True)]
    table = Table()
    with table.active():
        x = [table.parameter(TensorType(s, t)) for s, t in zip(shapes, dtypes, strict=True)]
        node = op(*x, **attributes)
        ct = table.parameter(node.type)
        wanted = tuple(i in linear for i in range(len(x)))
        back = op.transpose(ct, node, wanted) if op.transpose else ()
        assert len(back) == len(x) and all(back[i] is not None for i in linear)
        results = [b for i in linear if (b := back[i]) is not None]
        forward, reverse = Graph("forward", x, (node,), table), Graph("reverse", (*x, ct), results, table)
    g.verify_graph(reverse)
    assert [r.type for r in results] == [x[i].type for i in linear]
    # an operand that is added, not multiplied, is linear together with the others: the fixed ones are zero
    added = (g.REDUCE, g.REDUCE_WINDOW, g.SELECT_AND_SCATTER, g.PAD, g.CONCATENATE, g.SCATTER, g.DYNAMIC_UPDATE_SLICE)
    joint = op in added
    at = [np.zeros_like(v) if joint and i not in linear else v for i, v in enumerate(values)]
    (out,) = evaluate_graph(forward, at)
    cotangent = np.asarray(rng.integers(-4, 5, out.shape)).astype(out.dtype)
    shares = evaluate_graph(reverse, [*at, cotangent])
    left = float(np.sum(cotangent * out))
    right = sum(float(np.sum(share.astype(np.float64) * at[i])) for i, share in zip(linear, shares, strict=True))
    assert left == pytest.approx(right, rel=1e-12)


def test_every_transpose_is_tested() -> None:
    collectives = {op.name for op in g.COLLECTIVES}  # tests/distributed/test_rows.py: they need several ranks
    tested = {op.name for op, *_ in CASES} | collectives
    assert tested == {name for name, op in g.OPS.items() if op.transpose is not None}
