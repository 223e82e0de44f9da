"""Every row of the op table with operands that try it: odd, empty and 0-d shapes, each element type it takes.

A row without cases here fails the tests, so that no op is added untried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import mlc.ir.graph as g
from mlc.ir.graph import (
    COLLECTIVE_DONE,
    COLLECTIVE_START,
    COLLECTIVES,
    OPS,
    SHARDED_CALL,
    Graph,
    Literal,
    Node,
    Op,
    Table,
)
from mlc.ir.graph.reduction import REDUCERS, identity_of
from mlc.ir.graph.windows import Windows
from mlc.ir.types import BOOL, DTYPES, F64, I32, U32, U64, DType, TensorType
from tests.fuzz.programs import allowed, values

EVERY = tuple(DTYPES.values())
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (5,), (3, 0, 2), (17, 3), (2, 1, 9))
Array = Any
Formula = Callable[..., Node]


@dataclass(frozen=True)
class Case:
    """A formula of one row, and the types of its operands."""

    formula: Formula
    operands: tuple[TensorType, ...]

    def arrays(self, rng: np.random.Generator) -> list[Array]:
        return [values(rng, _static(t), t.dtype) for t in self.operands]


def _static(type: TensorType) -> tuple[int, ...]:
    return tuple(n for n in type.shape if isinstance(n, int))


def elementwise(op: Op) -> Callable[[DType], list[Case]]:
    def cases(dtype: DType) -> list[Case]:
        if dtype not in allowed(op):
            return []
        attributes: list[dict[str, Any]] = [{}]
        if "direction" in op.attributes:
            attributes = [{"direction": d} for d in ("EQ", "NE", "LT", "LE", "GT", "GE")]
        if "dtype" in op.attributes:
            results = EVERY if op is g.CONVERT else [t for t in EVERY if t.bits == dtype.bits]
            attributes = [{"dtype": t} for t in results]
        return [
            Case(lambda *x, a=a: op(*x, **a), (TensorType(shape, dtype),) * (op.arity or 1))
            for shape in SHAPES
            for a in attributes
        ]

    return cases


def moves(*uses: tuple[Callable[..., Node], Sequence[tuple[int, ...]]]) -> Callable[[DType], list[Case]]:
    """Uses of a row that moves elements of any type: a formula and the shapes of its operands."""
    return lambda dtype: [Case(f, tuple(TensorType(s, dtype) for s in shapes)) for f, shapes in uses]


def _select(dtype: DType) -> list[Case]:
    return [Case(g.SELECT, (TensorType(s, BOOL), TensorType(s, dtype), TensorType(s, dtype))) for s in SHAPES]


def _constant(dtype: DType) -> list[Case]:
    rng = np.random.default_rng(1)
    literals = [Literal(values(rng, s, dtype), dtype) for s in SHAPES]
    return [Case(lambda v=v: g.CONSTANT(value=v), ()) for v in literals]


def _iota(dtype: DType) -> list[Case]:
    shapes = [(s, i) for s in SHAPES for i in range(len(s))]
    return (
        []
        if dtype == BOOL
        else [Case(lambda s=s, i=i: g.IOTA(shape=s, dtype=dtype, dimension=i), ()) for s, i in shapes]
    )


def _reduce(dtype: DType) -> list[Case]:
    found = []
    for reducer in REDUCERS:
        if dtype not in allowed(reducer):
            continue
        body, start = g.body_of(reducer, dtype), Literal(identity_of(reducer, dtype), dtype)
        for shape, axes in (
            ((5,), (0,)),
            ((3, 0), (1,)),
            ((0, 4), (1,)),
            ((2, 9, 3), (0, 2)),
            ((17, 3), (1,)),
            ((4,), ()),
        ):
            operand = TensorType(shape, dtype)
            found.append(
                Case(
                    lambda x, i, b=body, a=axes: g.REDUCE(x, i, dimensions=a, body=b), (operand, TensorType((), dtype))
                )
            )
            found.append(
                Case(
                    lambda x, b=body, a=axes, s=start: g.REDUCE(x, g.CONSTANT(value=s), dimensions=a, body=b),
                    (operand,),
                )
            )
    return found


def _dot_general(dtype: DType) -> list[Case]:
    if dtype == BOOL:
        return []
    uses = (((3, 5), (5, 4), [1], [0], [], []), ((5, 3), (4, 5), [0], [1], [], []), ((7,), (7,), [0], [0], [], []),
            ((2, 3, 5), (2, 5, 1), [2], [1], [0], [0]), ((3, 0), (0, 4), [1], [0], [], []), ((), (), [], [], [], []),
            ((0, 3), (3, 17), [1], [0], [], []), ((3, 2, 5), (5, 7, 3), [0, 2], [2, 0], [], []))  # fmt: skip
    return [
        Case(lambda x, y, a=axes: g.dot_general(x, y, *a), (TensorType(lhs, dtype), TensorType(rhs, dtype)))
        for lhs, rhs, *axes in uses
    ]


def _convolution(dtype: DType) -> list[Case]:
    if dtype == BOOL:
        return []
    uses: list[tuple[tuple[int, ...], tuple[int, ...], str, dict[str, Any]]] = [
        ((2, 5, 6, 3), (3, 2, 3, 4), "b01f_01io->b01f", {}),
        ((1, 3, 7), (2, 3, 4), "bf0_oi0->bf0", {"window_strides": (2,), "padding": ((1, 2),)}),
        ((2, 4, 4, 4), (3, 3, 2, 6), "b01f_01io->b01f", {"feature_group_count": 2, "padding": ((1, 1), (1, 1))}),
        ((2, 5, 4), (3, 4, 1), "b0f_0io->b0f",
         {"lhs_dilation": (2,), "rhs_dilation": (2,), "window_reversal": (True,)}),
        ((0, 5, 2), (3, 2, 3), "b0f_0io->b0f", {}), ((3, 2), (2, 4), "bf_io->bf", {}),
        ((4, 5, 2), (3, 2, 6), "b0f_0io->b0f", {"batch_group_count": 2}),
    ]  # fmt: skip
    return [
        Case(lambda x, w, d=dims, k=more: g.convolution(x, w, d, **k), (TensorType(lhs, dtype), TensorType(rhs, dtype)))
        for lhs, rhs, dims, more in uses
    ]


def _random(dtype: DType) -> list[Case]:
    if dtype not in (U32, U64):
        return []
    return [
        Case(lambda key, s=s: g.results_of(g.RNG_BIT_GENERATOR(key, shape=s, dtype=dtype, algorithm="THREE_FRY"))[1],
             (TensorType((2,), of_key),)) for s in SHAPES for of_key in (U32, U64)]  # fmt: skip


def region(function: Formula, *types: TensorType) -> Graph:
    """A closed graph of its own."""
    table = Table()
    with table.active():
        parameters = [table.parameter(t) for t in types]
        result = function(*parameters)
        return Graph("region", parameters, [result], table)


def _called(call: Callable[..., Node]) -> Callable[[DType], list[Case]]:
    def cases(dtype: DType) -> list[Case]:
        found = []
        for t in [TensorType(s, dtype) for s in SHAPES]:
            body = region(lambda a, b: g.SELECT(g.COMPARE(a, b, direction="EQ"), b, a), t, t)
            found.append(Case(lambda x, y, body=body: call(body, x, y), (t, t)))
        return found

    return cases


def _case(dtype: DType) -> list[Case]:
    """Every branch, and indices outside of them, which take the last."""
    found = []
    for shape in SHAPES:
        t = TensorType(shape, dtype)
        branches = (region(lambda a, b: a, t, t), region(lambda a, b: b, t, t))
        for index in (0, 1, -1, 7):
            at = Literal(np.int32(index), I32)
            found.append(
                Case(lambda x, y, at=at, b=branches: _first(g.CASE(g.CONSTANT(value=at), x, y, branches=b)), (t, t))
            )
    return found


def _while(dtype: DType) -> list[Case]:
    """The operand reversed as often as a counter says."""
    found = []
    for trips in (0, 1, 3):
        for shape in ((), (0,), (5,), (17, 3)):
            counter, t = TensorType((), I32), TensorType(shape, dtype)
            cond = region(lambda i, x, n=trips: g.COMPARE(i, g.constant(n, I32), direction="LT"), counter, t)
            table = Table()
            with table.active():
                i, x = table.parameter(counter), table.parameter(t)
                turned = g.REVERSE(x, dimensions=tuple(range(len(shape))))
                body = Graph("body", (i, x), (g.ADD(i, g.constant(1, I32)), turned), table)
            found.append(
                Case(lambda x, c=cond, b=body: g.results_of(g.WHILE(g.constant(0, I32), x, cond=c, body=b))[1], (t,))
            )
    return found


def _numbers(*values: int, shape: tuple[int, ...]) -> Node:
    return g.CONSTANT(value=Literal(np.array(values, np.int32).reshape(shape), I32))


# operand, indices and their values, window and dropped axes, index map, sizes
WINDOWS: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((7, 3), (4, 1), (0, 6, 9, -2), (1,), (0,), (0,), (1, 3)),
    ((7, 3), (3, 2), (6, 2, 0, 0, 2, -9), (), (0, 1), (0, 1), (1, 1)),
    ((9,), (2, 1), (3, 8), (1,), (), (0,), (4,)),
    ((5, 2), (0, 1), (), (1,), (0,), (0,), (1, 2)),
)
STARTS: tuple[tuple[tuple[int, ...], ...], ...] = (  # operand, window, where it starts
    ((7, 5), (3, 5), (2, 0)), ((7, 5), (7, 1), (-3, 9)), ((9,), (0,), (4,)), ((), (), ()), ((0, 3), (0, 2), (1, 1)),
)  # fmt: skip


def _windows(dtype: DType) -> Iterator[tuple[Windows, tuple[int, ...]]]:
    """Whole rows, single elements, windows, no windows at all; some start outside of the operand."""
    for shape, of_indices, at, window_dims, dropped, index_map, sizes in WINDOWS:
        operand, indices = TensorType(shape, dtype), TensorType(of_indices, I32)
        yield Windows(operand, indices, sizes, window_dims, dropped, (), (), index_map, len(of_indices) - 1), at


POOLS: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 6, 4, 3), {"window_dimensions": (1, 2, 2, 1), "window_strides": (1, 2, 2, 1), "padding": ((0, 0),) * 4}),
    ((9,), {"window_dimensions": (3,), "window_strides": (2,), "padding": ((1, 2),)}),
    ((5, 3), {"window_dimensions": (2, 3), "window_strides": (1, 1), "padding": ((1, 0), (1, 1))}),
    ((0, 4), {"window_dimensions": (1, 2), "window_strides": (1, 2), "padding": ((0, 0), (0, 0))}),
    ((), {"window_dimensions": (), "window_strides": (), "padding": ()}),
)


CUMULATIVE = (((12,), 0, (11, 0)), ((2, 17), 1, (0, 16)), ((13, 3), 0, (12, 0)), ((0, 4), 0, (11, 0)))


def _reduce_window(dtype: DType) -> list[Case]:
    found = []
    known = [r for r in REDUCERS if r is not g.MULTIPLY] if dtype == F64 else REDUCERS  # those with derivatives
    for reducer in (r for r in known if dtype in allowed(r)):
        for shape, window in POOLS:
            for dilation in (1, 2) if shape == (9,) and (dtype != F64 or reducer is g.ADD) else (1,):
                dilations = {"base_dilations": (1,) * len(shape), "window_dilations": (dilation,) * len(shape)}
                attributes = {**window, **dilations, "body": g.body_of(reducer, dtype)}
                operands = (TensorType(shape, dtype), TensorType((), dtype))
                start = Literal(identity_of(reducer, dtype), dtype)
                found.append(
                    Case(lambda x, a=attributes, s=start: g.REDUCE_WINDOW(x, g.CONSTANT(value=s), **a), operands[:1])
                )
                if reducer is g.ADD and dtype != F64:  # its derivative is that of a start that changes nothing
                    found.append(Case(lambda x, i, a=attributes: g.REDUCE_WINDOW(x, i, **a), operands))
    for reducer in (r for r in (g.ADD, g.MULTIPLY, g.MAXIMUM) if dtype in allowed(r)):
        for shape, axis, padding in CUMULATIVE:
            window = tuple(max(n, 12) if a == axis else 1 for a, n in enumerate(shape))
            pads = tuple(padding if a == axis else (0, 0) for a in range(len(shape)))
            found.append(Case(lambda x, o=reducer, w=window, p=pads: g.reduce_window(o, x, w, padding=p),
                              (TensorType(shape, dtype),)))  # fmt: skip
    return found


def _select_and_gather(dtype: DType) -> list[Case]:
    if dtype == BOOL:
        return []
    return [
        Case(lambda x, y, w=window, d=direction: g.select_and_gather(x, y, d, **w), (TensorType(shape, dtype),) * 2)
        for shape, window in POOLS
        for direction in ("GE", "LE")
    ]


def _select_and_scatter(dtype: DType) -> list[Case]:
    found = []
    for case in _select_and_gather(dtype):
        table = Table()
        with table.active():
            gathered = case.formula(*(table.parameter(t) for t in case.operands))
        attributes = {**gathered.attributes, "scatter": g.body_of(g.ADD, dtype)}
        zero = Literal(np.asarray(0, dtype.numpy), dtype)
        operands = (case.operands[0], gathered.tensor)
        found.append(
            Case(lambda x, y, a=attributes, z=zero: g.SELECT_AND_SCATTER(x, y, g.CONSTANT(value=z), **a), operands)
        )
    return found


def _gather(dtype: DType) -> list[Case]:
    return [
        Case(lambda x, w=w, at=at: g.gather(x, _numbers(*at, shape=_static(w.indices)), w), (w.operand,))
        for w, at in _windows(dtype)
    ]


def _scatter(dtype: DType) -> list[Case]:
    """Sums meet in one place and in none; what overwrites has a place of its own, so that its gradient is known."""
    found = []
    for op in (g.ADD, None) if dtype == F64 else (g.ADD, None, g.MAXIMUM):  # the maximum is not differentiated
        for w, at in _windows(dtype):

            def formula(x: Node, u: Node, w: Windows = w, at: tuple[int, ...] = at, op: Op | None = op) -> Node:
                return g.scatter_windows(
                    x, _numbers(*at, shape=_static(w.indices)), u, w, op, unique_indices=op is None
                )

            found.append(Case(formula, (w.operand, w.operand.with_shape(w.shape))))
    return found


def _dynamic_slice(dtype: DType) -> list[Case]:
    """Starts inside, before and behind the operand: the last two are clamped."""
    found = []
    for shape, sizes, at in STARTS:

        def formula(x: Node, sizes: tuple[int, ...] = sizes, at: tuple[int, ...] = at) -> Node:
            return g.DYNAMIC_SLICE(x, *(g.constant(i, I32) for i in at), slice_sizes=sizes)

        found.append(Case(formula, (TensorType(shape, dtype),)))
    return found


def _dynamic_update_slice(dtype: DType) -> list[Case]:
    found = []
    for shape, sizes, at in STARTS:

        def formula(x: Node, update: Node, at: tuple[int, ...] = at) -> Node:
            return g.DYNAMIC_UPDATE_SLICE(x, update, *(g.constant(i, I32) for i in at))

        found.append(Case(formula, (TensorType(shape, dtype), TensorType(sizes, dtype))))
    return found


def _sort(dtype: DType) -> list[Case]:
    """Along the last axis and another; up and down; alone, and with what goes along with the key."""
    found = []
    for shape in SHAPES[1:]:
        axis, down, stable = len(shape) // 2, len(found) % 4 < 2, len(found) % 3 > 0
        of = TensorType(shape, dtype)
        found.append(Case(lambda x, a=axis, d=down, s=stable: g.sort(x, axis=a, descending=d, stable=s)[0], (of,)))
        found.append(Case(lambda x, y, a=axis, d=down: g.sort(x, y, axis=a, descending=d)[1], (of, of)))
        found.append(Case(lambda x, a=axis, d=down: g.argsort(x, a, descending=d), (of,)))
    return found


def _first(node: Node) -> Node:
    return g.results_of(node)[0]


CASES: dict[str, Callable[[DType], list[Case]]] = {
    **{name: elementwise(op) for name, op in OPS.items() if op.elementwise},
    "select": _select,
    "constant": _constant,
    "iota": _iota,
    "reduce": _reduce,
    "dot_general": _dot_general,
    "convolution": _convolution,
    "rng_bit_generator": _random,
    "call": _called(lambda body, *x: g.CALL(*x, callee=body)),
    "composite": _called(lambda body, *x: g.COMPOSITE(*x, name="tried", decomposition=body, options={})),
    "case": _case,
    "while": _while,
    "gather": _gather,
    "reduce_window": _reduce_window,
    "select_and_gather": _select_and_gather,
    "select_and_scatter": _select_and_scatter,
    "scatter": _scatter,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "sort": _sort,
    "optimization_barrier": moves(*((lambda x: g.OPTIMIZATION_BARRIER(x), [s]) for s in SHAPES)),
    "copy": moves(*((lambda x: g.COPY(x), [s]) for s in SHAPES)),
    "get_dimension_size": moves(*((lambda x, i=i: g.GET_DIMENSION_SIZE(x, dimension=i), [s]) for s in SHAPES
                                  for i in range(len(s)))),
    "broadcast_in_dim": moves(
        (lambda x: g.BROADCAST_IN_DIM(x, shape=(3, 4), dimensions=()), [()]),
        (lambda x: g.BROADCAST_IN_DIM(x, shape=(4, 3), dimensions=(1,)), [(3,)]),
        (lambda x: g.BROADCAST_IN_DIM(x, shape=(3, 17), dimensions=(0,)), [(3,)]),
        (lambda x: g.BROADCAST_IN_DIM(x, shape=(2, 5, 3), dimensions=(0, 2)), [(2, 1)]),
        (lambda x: g.BROADCAST_IN_DIM(x, shape=(0, 3), dimensions=(1,)), [(3,)]),
    ),
    "reshape": moves(
        (lambda x: g.RESHAPE(x, shape=(15,)), [(3, 5)]), (lambda x: g.RESHAPE(x, shape=()), [(1, 1)]),
        (lambda x: g.RESHAPE(x, shape=(4, 0)), [(0,)]), (lambda x: g.RESHAPE(x, shape=(2, 1, 9)), [(18,)]),
    ),
    "transpose": moves(
        (lambda x: g.TRANSPOSE(x, permutation=(1, 0)), [(17, 19)]), (lambda x: g.TRANSPOSE(x, permutation=()), [()]),
        (lambda x: g.TRANSPOSE(x, permutation=(2, 0, 1)), [(3, 4, 5)]),
        (lambda x: g.TRANSPOSE(x, permutation=(1, 0)), [(3, 0)]),
    ),
    "reverse": moves(
        (lambda x: g.REVERSE(x, dimensions=(0,)), [(17,)]), (lambda x: g.REVERSE(x, dimensions=(0, 1)), [(3, 9)]),
        (lambda x: g.REVERSE(x, dimensions=()), [()]), (lambda x: g.REVERSE(x, dimensions=(1,)), [(3, 0)]),
    ),
    "slice": moves(
        (lambda x: g.SLICE(x, start=(1, 0), limit=(6, 9), strides=(2, 1)), [(7, 9)]),
        (lambda x: g.SLICE(x, start=(), limit=(), strides=()), [()]),
        (lambda x: g.SLICE(x, start=(3,), limit=(3,), strides=(1,)), [(5,)]),
        (lambda x: g.SLICE(x, start=(1, 2), limit=(3, 33), strides=(1, 3)), [(3, 33)]),
    ),
    "pad": moves(
        (lambda x, v: g.PAD(x, v, low=(1, 2), high=(0, 3), interior=(0, 1)), [(3, 4), ()]),
        (lambda x, v: g.PAD(x, v, low=(-1,), high=(-2,), interior=(2,)), [(9,), ()]),
        (lambda x, v: g.PAD(x, v, low=(2,), high=(1,), interior=(0,)), [(0,), ()]),
        (lambda x, v: g.PAD(x, v, low=(), high=(), interior=()), [(), ()]),
    ),
    "concatenate": moves(
        (lambda x, y: g.CONCATENATE(x, y, dimension=0), [(3,), (17,)]),
        (lambda x, y, z: g.CONCATENATE(x, y, z, dimension=1), [(2, 3), (2, 0), (2, 5)]),
        (lambda x: g.CONCATENATE(x, dimension=0), [(0, 2)]),
    ),
}  # fmt: skip
ELSEWHERE = {
    "parameter": "every case has some",
    "get_tuple_element": "of every row with several results",
    "fusion": "made by the compiler, of every case",
    "size": "needs a symbolic size: tests/front/test_sizes.py",
    **dict.fromkeys(
        (op.name for op in (*COLLECTIVES, COLLECTIVE_START, COLLECTIVE_DONE, SHARDED_CALL)),
        "needs several ranks: tests/distributed",
    ),
}
