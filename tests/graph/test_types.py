"""The type rule of every row: what it gives, and the words with which it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from mlc.errors import DTypeError, MlcError, ShapeError, UnsupportedError
from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Literal, Location, Op, Table, body_of
from mlc.ir.types import BF16, BOOL, DTYPES, F32, I32, I64, U8, U32, U64, DType, TensorType, ValueType

from .support import graph_of

B = dim("batch", 1, 64)
KINDS = {
    "float": "sqrt rsqrt exponential exponential_minus_one log log_plus_one tanh logistic sine cosine tan erf floor "
    "ceil round_nearest_even round_nearest_afz cbrt atan2 is_finite",
    "float int uint": "subtract divide remainder power negate abs sign clamp",
    "float int uint bool": "add multiply maximum minimum compare select convert",
    "int uint bool": "and or xor not",
    "int uint": "shift_left shift_right_logical shift_right_arithmetic popcnt count_leading_zeros",
}
ALLOWED = {name: kinds.split() for kinds, names in KINDS.items() for name in names.split()}


def t(text: str) -> TensorType:
    """`f32[2,batch]` as a type."""
    name, _, sizes = text[:-1].partition("[")
    return TensorType(tuple(B if s == "batch" else int(s) for s in sizes.split(",") if s), DTYPES[name])


def row_type(op: Op, *types: str, **attributes: Any) -> ValueType:
    table = Table()
    with table.active():
        return op(*(table.parameter(t(x)) for x in types), **attributes).type


def test_every_elementwise_row_is_listed() -> None:
    assert set(ALLOWED) | {"bitcast_convert"} == {n for n, op in g.OPS.items() if op.elementwise}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_elementwise(name: str, dtype: DType) -> None:
    """The result has the operands' type (or bool), for exactly the kinds of elements that the row is for."""
    op = g.OPS[name]
    special: dict[str, dict[str, Any]] = {"compare": {"direction": "EQ"}, "convert": {"dtype": BF16}}
    attributes = special.get(name, {})
    operand = TensorType((2, B), dtype)
    types = [operand] * (op.arity or 0)
    if name == "select":
        types[0] = operand.with_dtype(BOOL)
    if dtype.kind not in ALLOWED[name]:
        with pytest.raises(DTypeError, match=rf"{name}: operand is {dtype}\[2,batch\]; it takes"):
            graph_of(op, types, **attributes)
        return
    result = {"compare": BOOL, "is_finite": BOOL, "convert": BF16}.get(name, dtype)
    assert graph_of(op, types, **attributes).results[0].type == operand.with_dtype(result)


@pytest.mark.parametrize("name", sorted(n for n in ALLOWED if (g.OPS[n].arity or 0) >= 2))
def test_operands_of_two_types(name: str) -> None:
    op = g.OPS[name]
    bool_or_float = "i32" if ALLOWED[name][0] != "float" else "f32"
    attributes = {"direction": "EQ"} if name == "compare" else {}
    first = [f"bool[{2}]"] if name == "select" else [f"{bool_or_float}[2]"] * ((op.arity or 0) - 2)
    with pytest.raises(ShapeError, match=r"axis 0 has 2 and 3"):
        row_type(op, *first, f"{bool_or_float}[2]", f"{bool_or_float}[3]", **attributes)
    with pytest.raises(ShapeError, match=r"ranks 1 and 2"):
        row_type(op, *first, f"{bool_or_float}[2]", f"{bool_or_float}[2,1]", **attributes)
    with pytest.raises(DTypeError, match=r"element types differ"):
        row_type(op, *first, f"{bool_or_float}[2]", "u8[2]", **attributes)
    with pytest.raises(MlcError, match=rf"takes {op.arity} operands, was given 1"):
        row_type(op, "i32[2]", **attributes)


DOT = {"lhs_contracting": (1,), "rhs_contracting": (0,), "lhs_batch": (), "rhs_batch": ()}
CONVOLUTION = {
    "window_strides": (2, 1), "padding": ((1, 1), (0, 0)), "lhs_dilation": (1, 1), "rhs_dilation": (1, 2),
    "window_reversal": (False, False), "dimension_numbers": "b01f_01io->b01f", "feature_group_count": 1,
    "batch_group_count": 1,
}  # fmt: skip
TAKE = {"offset_dims": (1,), "collapsed_slice_dims": (0,), "operand_batching_dims": (),
        "start_indices_batching_dims": (), "start_index_map": (0,), "index_vector_dim": 1, "slice_sizes": (1, 3),
        "indices_are_sorted": False}  # fmt: skip
PUT = {"update_window_dims": (1,), "inserted_window_dims": (0,), "input_batching_dims": (),
       "scatter_indices_batching_dims": (), "scatter_dims_to_operand_dims": (0,), "index_vector_dim": 1,
       "indices_are_sorted": False, "unique_indices": False, "body": body_of(g.ADD, F32)}  # fmt: skip
POOL = {"window_dimensions": (1, 2, 2, 1), "window_strides": (1, 2, 2, 1), "padding": ((0, 0), (0, 1), (0, 0), (0, 0))}
ONE = {"base_dilations": (1, 1, 1, 1), "window_dilations": (1, 1, 1, 1)}
SORTED = {"dimension": 0, "is_stable": True}
GOOD: list[tuple[Op, list[str], dict[str, Any], str]] = [
    (g.GATHER, ["f32[5,3]", "u8[batch,1]"], TAKE, "f32[batch,3]"),
    (g.GATHER, ["bool[batch,3]", "i64[4,1]"], TAKE, "bool[4,3]"),
    (g.SCATTER, ["f32[batch,3]", "i32[4,1]", "f32[4,3]"], PUT, "f32[batch,3]"),
    (g.SCATTER, ["f32[0,3]", "i32[4,1]", "f32[4,3]"], PUT, "f32[0,3]"),
    (g.DYNAMIC_SLICE, ["f32[5,batch]", "i32[]", "u8[]"], {"slice_sizes": (2, B)}, "f32[2,batch]"),
    (g.DYNAMIC_UPDATE_SLICE, ["f32[5,batch]", "f32[2,1]", "i32[]", "u8[]"], {}, "f32[5,batch]"),
    (g.BROADCAST_IN_DIM, ["f32[batch]"], {"shape": (3, B), "dimensions": (1,)}, "f32[3,batch]"),
    (g.BROADCAST_IN_DIM, ["u8[1,2]"], {"shape": (4, 2), "dimensions": (0, 1)}, "u8[4,2]"),
    (g.RESHAPE, ["f32[batch,4]"], {"shape": (2, B, 2)}, "f32[2,batch,2]"),
    (g.TRANSPOSE, ["f32[2,3,batch]"], {"permutation": (2, 0, 1)}, "f32[batch,2,3]"),
    (g.SLICE, ["f32[batch]"], {"start": (0,), "limit": (1,), "strides": (1,)}, "f32[1]"),
    (g.SLICE, ["f32[7,batch]"], {"start": (1, 0), "limit": (6, B), "strides": (2, 1)}, "f32[3,batch]"),
    (g.PAD, ["f32[3]", "f32[]"], {"low": (1,), "high": (-2,), "interior": (1,)}, "f32[4]"),
    (g.PAD, ["f32[0]", "f32[]"], {"low": (1,), "high": (0,), "interior": (3,)}, "f32[1]"),
    (g.CONCATENATE, ["f32[2,3]", "f32[2,4]"], {"dimension": 1}, "f32[2,7]"),
    (g.SORT, ["f32[2,batch]"], {**SORTED, "comparator": g.comparator_of([F32])}, "f32[2,batch]"),
    (g.REVERSE, ["f32[2,3]"], {"dimensions": (1,)}, "f32[2,3]"),
    (g.IOTA, [], {"shape": (2, 3), "dtype": U8, "dimension": 0}, "u8[2,3]"),
    (g.GET_DIMENSION_SIZE, ["f32[2,batch]"], {"dimension": 1}, "i64[]"),
    (g.SIZE, [], {"value": B}, "i64[]"),
    (g.CONSTANT, [], {"value": Literal([1, 2], I32)}, "i32[2]"),
    (g.BITCAST_CONVERT, ["f32[2]"], {"dtype": U32}, "u32[2]"),
    (g.OPTIMIZATION_BARRIER, ["f32[2]"], {}, "f32[2]"),
    (g.COPY, ["f32[2]"], {}, "f32[2]"),
    (g.DOT_GENERAL, ["f32[batch,3]", "f32[3,5]"], DOT, "f32[batch,5]"),
    (
        g.DOT_GENERAL,
        ["i8[4,2,3]", "i8[4,3,5]"],
        {"lhs_contracting": (2,), "rhs_contracting": (1,), "lhs_batch": (0,), "rhs_batch": (0,)},
        "i8[4,2,5]",
    ),
    (g.CONVOLUTION, ["f32[batch,8,9,3]", "f32[3,3,3,16]"], CONVOLUTION, "f32[batch,4,5,16]"),
    (
        g.REDUCE_WINDOW,
        ["f32[batch,7,8,3]", "f32[]"],
        {**POOL, **ONE, "body": body_of(g.MAXIMUM, F32)},
        "f32[batch,4,4,3]",
    ),
    (
        g.SELECT_AND_SCATTER,
        ["f32[batch,7,8,3]", "f32[batch,4,4,3]", "f32[]"],
        {**POOL, "select": g.select_of("GE", F32), "scatter": body_of(g.ADD, F32)},
        "f32[batch,7,8,3]",
    ),
    (
        g.SELECT_AND_GATHER,
        ["f32[batch,7,8,3]", "f32[batch,7,8,3]"],
        {**POOL, "select": g.select_of("GE", F32)},
        "f32[batch,4,4,3]",
    ),
    (g.REDUCE, ["f32[batch,3]", "f32[]"], {"dimensions": (1,), "body": body_of(g.ADD, F32)}, "f32[batch]"),
]
BAD: list[tuple[Op, list[str], dict[str, Any], type[MlcError], str]] = [
    (g.GATHER, ["f32[5,3]", "f32[4,1]"], TAKE, DTypeError, "start indices are f32.4,1.; they must be integers"),
    (g.GATHER, ["f32[0,3]", "i32[4,1]"], TAKE, ShapeError, "windows of 1 elements do not fit axis 0 of f32.0,3."),
    (g.GATHER, ["f32[5,3]", "i32[4,2]"], TAKE, ShapeError, "have 2 elements, .0. names 1 axes"),
    (g.GATHER, ["f32[5,3]", "i32[4,1]"], {**TAKE, "index_vector_dim": 3}, ShapeError, "index_vector_dim 3 is no axis"),
    (g.GATHER, ["f32[5,3]", "i32[4,1]"], {**TAKE, "offset_dims": ()}, ShapeError, "0 window dimensions are named"),
    (g.GATHER, ["f32[5,3]", "i32[4,1]"], {**TAKE, "offset_dims": (2,)}, ShapeError, "window dimensions .2."),
    (g.GATHER, ["f32[5,3]", "i32[4,1]"], {**TAKE, "slice_sizes": (2, 3)}, ShapeError, "axis 0, which is left out"),
    (g.GATHER, ["f32[5,3]", "i32[4,1]"], {**TAKE, "slice_sizes": (1, 4)}, ShapeError, "do not fit axis 1"),
    (g.GATHER, ["f32[5,3]", "i32[4,1]"], {**TAKE, "start_index_map": (2,)}, ShapeError, "start axes .2."),
    (
        g.SCATTER,
        ["f32[5,3]", "i32[4,1]", "f32[4,2]"],
        {**PUT, "inserted_window_dims": ()},
        ShapeError,
        "windows have 2",
    ),
    (g.SCATTER, ["f32[5,3]", "i32[4,1]", "f32[3,3]"], PUT, ShapeError, "the updates are f32.3,3., .* are f32.4,3."),
    (g.SCATTER, ["f32[5,3]", "i32[4,1]", "i32[4,3]"], PUT, DTypeError, "update is i32.4,3.; it must be f32"),
    (g.SCATTER, ["i32[5,3]", "i32[4,1]", "i32[4,3]"], PUT, ShapeError, "must take two i32.. and give one"),
    (g.DYNAMIC_SLICE, ["f32[5]", "i32[]"], {"slice_sizes": (6,)}, ShapeError, "window of 6 elements does not fit"),
    (g.DYNAMIC_SLICE, ["f32[5]", "f32[]"], {"slice_sizes": (5,)}, DTypeError, "start index 0 is f32.., not an integer"),
    (g.DYNAMIC_SLICE, ["f32[5]"], {"slice_sizes": (5,)}, ShapeError, "needs 1 start indices and sizes, was given 0"),
    (g.DYNAMIC_SLICE, ["f32[batch]", "i32[]"], {"slice_sizes": (2,)}, ShapeError, "does not fit axis 0 of f32.batch."),
    (g.DYNAMIC_UPDATE_SLICE, ["f32[5]", "i32[2]", "i32[]"], {}, DTypeError, "update is i32.2.; it must be f32"),
    (g.DYNAMIC_UPDATE_SLICE, ["f32[5]", "f32[]", "i32[]"], {}, ShapeError, "has another rank than f32.5."),
    (g.DYNAMIC_UPDATE_SLICE, ["f32[5]"], {}, ShapeError, "takes an operand, an update"),
    (
        g.BROADCAST_IN_DIM,
        ["f32[3]"],
        {"shape": (4,), "dimensions": (0,)},
        ShapeError,
        "operand axis 0 has 3, result axis 0 has 4",
    ),
    (
        g.BROADCAST_IN_DIM,
        ["f32[3]"],
        {"shape": (3,), "dimensions": ()},
        ShapeError,
        "rank 1, but 0 dimensions are named",
    ),
    (g.BROADCAST_IN_DIM, ["f32[3,4]"], {"shape": (4, 3), "dimensions": (1, 0)}, ShapeError, "not in order"),
    (g.BROADCAST_IN_DIM, ["f32[3]"], {"shape": (3,), "dimensions": (1,)}, ShapeError, "not distinct axes of rank 1"),
    (g.RESHAPE, ["f32[2,3]"], {"shape": (5,)}, ShapeError, "6 elements, f32.5. has 5"),
    (g.RESHAPE, ["f32[batch]"], {"shape": (5,)}, ShapeError, "batch elements"),
    (g.TRANSPOSE, ["f32[2,3]"], {"permutation": (0,)}, ShapeError, "does not name every axis"),
    (g.TRANSPOSE, ["f32[2,3]"], {"permutation": (0, 0)}, ShapeError, "not distinct axes"),
    (g.SLICE, ["f32[7]"], {"start": (3,), "limit": (8,), "strides": (1,)}, ShapeError, "3:8:1 is outside axis 0"),
    (g.SLICE, ["f32[7]"], {"start": (3,), "limit": (2,), "strides": (1,)}, ShapeError, "outside"),
    (g.SLICE, ["f32[7]"], {"start": (0,), "limit": (2,), "strides": (0,)}, ShapeError, "outside"),
    (g.SLICE, ["f32[7]"], {"start": (-1,), "limit": (2,), "strides": (1,)}, ShapeError, "outside"),
    (g.SLICE, ["f32[batch]"], {"start": (1,), "limit": (B,), "strides": (2,)}, ShapeError, "in steps of 1"),
    (g.SLICE, ["f32[batch]"], {"start": (B,), "limit": (B,), "strides": (1,)}, ShapeError, "symbolic place batch"),
    (g.SLICE, ["f32[batch]"], {"start": (2,), "limit": (B,), "strides": (1,)}, ShapeError, "2:batch:1 is outside axis"),
    (g.SLICE, ["f32[batch]"], {"start": (0,), "limit": (2,), "strides": (1,)}, ShapeError, "0:2:1 is outside axis"),
    (g.PAD, ["f32[batch]", "f32[]"], {"low": (-1,), "high": (-1,), "interior": (0,)}, ShapeError, "can leave -1"),
    (g.SLICE, ["f32[7]"], {"start": (), "limit": (), "strides": ()}, ShapeError, "needs 1 starts"),
    (g.PAD, ["f32[3]", "f32[1]"], {"low": (1,), "high": (0,), "interior": (0,)}, ShapeError, "not a scalar"),
    (g.PAD, ["f32[3]", "i32[]"], {"low": (1,), "high": (0,), "interior": (0,)}, DTypeError, "must be f32"),
    (g.PAD, ["f32[3]", "f32[]"], {"low": (-4,), "high": (0,), "interior": (0,)}, ShapeError, "can leave -1"),
    (g.PAD, ["f32[3]", "f32[]"], {"low": (0,), "high": (0,), "interior": (-1,)}, ShapeError, "not negative"),
    (g.CONCATENATE, [], {"dimension": 0}, ShapeError, "at least one"),
    (g.CONCATENATE, ["f32[2,3]", "f32[3,3]"], {"dimension": 1}, ShapeError, "differ outside axis 1"),
    (g.CONCATENATE, ["f32[2]", "f32[2,3]"], {"dimension": 0}, ShapeError, "differ outside axis 0"),
    (g.CONCATENATE, ["f32[2]", "i32[2]"], {"dimension": 0}, DTypeError, "element types differ"),
    (g.CONCATENATE, ["f32[]"], {"dimension": 0}, ShapeError, "not distinct axes of rank 0"),
    (g.REVERSE, ["f32[2]"], {"dimensions": (1,)}, ShapeError, "not distinct axes"),
    (g.IOTA, [], {"shape": (2,), "dtype": U8, "dimension": 1}, ShapeError, "not distinct axes"),
    (g.IOTA, [], {"shape": (2,), "dtype": BOOL, "dimension": 0}, DTypeError, "iota: .*bool"),
    (g.GET_DIMENSION_SIZE, ["f32[2]"], {"dimension": 1}, ShapeError, "not distinct axes"),
    (g.BITCAST_CONVERT, ["f32[2]"], {"dtype": U64}, DTypeError, "32 bits an element, u64 has 64"),
    (g.COMPARE, ["f32[2]", "f32[2]"], {"direction": "XX"}, ShapeError, "direction 'XX' is none of"),
    (g.SELECT, ["f32[2]", "f32[2]", "f32[2]"], {}, DTypeError, "pred is f32.2.; it must be bool"),
    (g.SELECT, ["bool[3]", "f32[2]", "f32[2]"], {}, ShapeError, "pred is bool.3., the branches are f32.2."),
    (g.DOT_GENERAL, ["f32[8,64]", "f32[32,8]"], DOT, ShapeError, "lhs axis 1 has 64, rhs axis 0 has 32"),
    (g.DOT_GENERAL, ["f32[2,3]", "bf16[3,2]"], DOT, DTypeError, "element types differ"),
    (g.DOT_GENERAL, ["bool[2,3]", "bool[3,2]"], DOT, DTypeError, "floating-point or signed or unsigned"),
    (g.DOT_GENERAL, ["f32[2,3]", "f32[3,2]"], {**DOT, "lhs_contracting": ()}, ShapeError, "0 contracted axes of lhs"),
    (
        g.DOT_GENERAL,
        ["f32[2,3]", "f32[3,2]"],
        {**DOT, "lhs_batch": (1,), "rhs_batch": (0,)},
        ShapeError,
        "lhs axes .* named twice",
    ),
    (g.REDUCE, ["f32[2]", "f32[2]"], {"dimensions": (0,), "body": body_of(g.ADD, F32)}, ShapeError, "not a scalar"),
    (g.REDUCE, ["f32[2]", "i64[]"], {"dimensions": (0,), "body": body_of(g.ADD, F32)}, DTypeError, "must be f32"),
    (g.REDUCE, ["f32[2]", "f32[]"], {"dimensions": (1,), "body": body_of(g.ADD, F32)}, ShapeError, "not distinct axes"),
    (g.REDUCE, ["f32[2]", "f32[]"], {"dimensions": (0,), "body": body_of(g.ADD, I64)}, ShapeError, "must take two"),
    (
        g.CALL,
        ["f32[3]"],
        {"callee": graph_of(g.NEGATE, [t("f32[2]")])},
        ShapeError,
        "row takes f32.2.; was given f32.3.",
    ),
    (g.GET_TUPLE_ELEMENT, ["f32[3]"], {"index": 0}, ShapeError, "has no element 0"),
    (
        g.RNG_BIT_GENERATOR,
        ["u32[3]"],
        {"shape": (2,), "dtype": U32, "algorithm": "THREE_FRY"},
        DTypeError,
        "the key is u32.3.",
    ),
    (
        g.RNG_BIT_GENERATOR,
        ["u32[2]"],
        {"shape": (2,), "dtype": F32, "algorithm": "THREE_FRY"},
        DTypeError,
        "u32 or u64, not f32",
    ),
    (
        g.RNG_BIT_GENERATOR,
        ["u32[2]"],
        {"shape": (2,), "dtype": U32, "algorithm": "PHILOX"},
        UnsupportedError,
        "mlc has THREE_FRY",
    ),
    (g.SORT, [], {**SORTED, "comparator": g.comparator_of([F32])}, ShapeError, "at least one operand"),
    (g.SORT, ["f32[]"], {**SORTED, "comparator": g.comparator_of([F32])}, ShapeError, "not distinct axes"),
    (
        g.SORT,
        ["f32[2]", "i32[3]"],
        {**SORTED, "comparator": g.comparator_of([F32, I32])},
        ShapeError,
        "shapes differ: f32.2., i32.3.",
    ),
    (
        g.SORT,
        ["f32[2]", "i32[2]"],
        {**SORTED, "comparator": g.comparator_of([F32])},
        ShapeError,
        "must take f32.., f32.., i32.., i32.. and give one bool",
    ),
    (g.NEGATE, ["f32[2]"], {"extra": 1}, MlcError, "has attributes .., was given .'extra'."),
]


@pytest.mark.parametrize("op, operands, attributes, want", GOOD, ids=[f"{c[0].name} {c[3]}" for c in GOOD])
def test_good(op: Op, operands: list[str], attributes: dict[str, Any], want: str) -> None:
    assert row_type(op, *operands, **attributes) == t(want)


@pytest.mark.parametrize("op, operands, attributes, error, words", BAD, ids=[f"{c[0].name}: {c[4][:30]}" for c in BAD])
def test_bad(op: Op, operands: list[str], attributes: dict[str, Any], error: type[MlcError], words: str) -> None:
    with pytest.raises(error, match=words):
        row_type(op, *operands, **attributes)


def test_a_slice_of_a_symbolic_axis() -> None:
    found = row_type(g.SLICE, "f32[batch]", start=(1,), limit=(B,), strides=(1,))
    assert str(found) == "f32[-1+batch]"


def test_rows_with_regions() -> None:
    callee = graph_of(g.RNG_BIT_GENERATOR, [t("u32[2]")], shape=(3,), dtype=U32, algorithm="THREE_FRY")
    for op, attributes in (
        (g.CALL, {"callee": callee}),
        (g.FUSION, {"kind": "loop", "body": callee}),
        (g.COMPOSITE, {"name": "bits", "decomposition": callee, "options": ()}),
    ):
        assert str(row_type(op, "u32[2]", **attributes)) == "(u32[2], u32[3])"


def test_every_row_is_tested() -> None:
    regions = {g.CALL, g.CASE, g.COMPOSITE, g.FUSION, g.WHILE, g.RNG_BIT_GENERATOR, g.GET_TUPLE_ELEMENT, g.PARAMETER}
    regions |= g.COLLECTIVES | {g.COLLECTIVE_START, g.COLLECTIVE_DONE, g.SHARDED_CALL}  # tests/distributed/test_rows.py
    assert {op.name for op in regions} | {op.name for op, *_ in GOOD} | set(ALLOWED) == set(g.OPS)


def test_errors_name_the_users_line() -> None:
    table = Table()
    with table.active(), table.at((Location("model.py", 14, "a + b"),)):
        x, y = table.parameter(t("f32[2]")), table.parameter(t("f32[3]"))
        with pytest.raises(ShapeError, match=r"^model.py:14: a \+ b\nadd: shapes differ"):
            g.ADD(x, y)
